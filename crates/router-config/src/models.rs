//! Several models behind one router.

use crate::error::ConfigError;
use crate::model_routing::ModelRouting;
use crate::options::Options;
use std::collections::BTreeMap;

/// How requests find the workers of their model.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ModelConfig {
    /// When a request goes by the model that it names.
    pub routing: ModelRouting,
    /// Other names of models: a request for the first name is one for the second.
    pub aliases: BTreeMap<String, String>,
    /// The model of requests that name none; `None`: the only one.
    pub default: Option<String>,
}

impl Options {
    pub(crate) fn check_models(&self) -> Result<ModelConfig, ConfigError> {
        let aliases = self.check_aliases()?;
        let routing = self.model_routing;
        if routing == ModelRouting::Off && self.default_model.is_some() {
            let problem = "has no effect with --model-routing off";
            return Err(ConfigError::option("--default-model", problem));
        }
        if self.default_model.as_ref().is_some_and(String::is_empty) {
            return Err(ConfigError::option("--default-model", "must not be empty"));
        }
        Ok(ModelConfig { routing, aliases, default: self.default_model.clone() })
    }

    fn check_aliases(&self) -> Result<BTreeMap<String, String>, ConfigError> {
        let wrong = |problem: String| ConfigError::option("--model-alias", problem);
        let mut aliases = BTreeMap::new();
        for text in &self.model_alias {
            let parts = text.split_once('=').map(|(alias, model)| (alias.trim(), model.trim()));
            let Some((alias, model)) = parts.filter(|(alias, model)| !alias.is_empty() && !model.is_empty())
            else {
                return Err(wrong(format!("'{text}' is not ALIAS=MODEL")));
            };
            if alias == model {
                return Err(wrong(format!("'{alias}' is an alias of itself")));
            }
            if aliases.insert(alias.to_owned(), model.to_owned()).is_some() {
                return Err(wrong(format!("'{alias}' is given twice")));
            }
        }
        match aliases.iter().find(|(_, model)| aliases.contains_key(*model)) {
            Some((alias, model)) => {
                Err(wrong(format!("'{alias}' stands for '{model}', which is an alias itself")))
            }
            None => Ok(aliases),
        }
    }
}
