//! The models that a worker serves, by all names that a request may give them.

use router_protocol::ServerInfo;
use std::sync::Arc;

/// The models that a worker serves, by all names that a request may give them.
///
/// Adapters (LoRA) belong to the model that they adapt, and several names with the same root are one model, which goes by the
/// first of them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ServedModels {
    names: Vec<ServedName>,
}

/// One name.
#[derive(Clone, PartialEq, Eq, Debug)]
struct ServedName {
    name: Arc<str>,
    /// The model, by its own name.
    model: Arc<str>,
}

impl ServedModels {
    /// What a worker serves by its configuration, or else by what it reports. With a configured model all that it reports are
    /// names of that model.
    pub(crate) fn new(configured: Option<&str>, reported: &ServerInfo) -> Self {
        let mut served = Self::default();
        if let Some(configured) = configured {
            served.add(configured, configured);
        }
        let listed = &reported.models;
        let bases = || listed.iter().filter(|model| model.parent.is_none());
        for model in listed {
            let adapted =
                |parent: &String| bases().find(|base| base.id == *parent).or_else(|| bases().next());
            let base = model.parent.as_ref().and_then(adapted).unwrap_or(model);
            let own = bases().find(|other| other.root.is_some() && other.root == base.root).unwrap_or(base);
            served.add(&model.id, configured.unwrap_or(&own.id));
        }
        match &reported.model {
            Some(model) if listed.is_empty() => served.add(model, configured.unwrap_or(model)),
            _ => {}
        }
        served
    }

    fn add(&mut self, name: &str, model: &str) {
        if !self.has(name) {
            self.names.push(ServedName { name: name.into(), model: model.into() });
        }
    }

    /// The models by their own names, each once.
    pub fn models(&self) -> Vec<Arc<str>> {
        let mut models: Vec<Arc<str>> = Vec::with_capacity(1);
        for ServedName { model, .. } in &self.names {
            if !models.contains(model) {
                models.push(Arc::clone(model));
            }
        }
        models
    }

    /// All names of one model, its own first if the worker has it.
    pub fn names_of<'a>(&'a self, model: &'a str) -> impl Iterator<Item = &'a Arc<str>> {
        self.names.iter().filter(move |entry| *entry.model == *model).map(|entry| &entry.name)
    }

    /// Whether a request may give this name.
    pub fn has(&self, name: &str) -> bool {
        self.names.iter().any(|entry| *entry.name == *name)
    }

    /// Whether nothing is known of what it serves.
    pub const fn is_unknown(&self) -> bool {
        self.names.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use router_protocol::parse_server_info;

    /// As vLLM lists a model with two names and an adapter.
    const VLLM: &str = r#"{"object":"list","data":[
        {"id":"llama","object":"model","owned_by":"vllm","root":"/m/llama","parent":null,"max_model_len":2048},
        {"id":"gpt-4","object":"model","owned_by":"vllm","root":"/m/llama","parent":null,"max_model_len":2048},
        {"id":"sql","object":"model","owned_by":"vllm","root":"/m/sql-lora","parent":"llama"}]}"#;

    fn served(configured: Option<&str>, body: &str) -> ServedModels {
        ServedModels::new(configured, &parse_server_info(body.as_bytes()).unwrap())
    }

    fn names(served: &ServedModels, model: &str) -> Vec<String> {
        served.names_of(model).map(ToString::to_string).collect()
    }

    #[test]
    fn aliases_and_adapters_are_names_of_their_model() {
        let served = served(None, VLLM);
        assert_eq!(served.models(), ["llama".into()]);
        assert_eq!(names(&served, "llama"), ["llama", "gpt-4", "sql"]);
    }

    #[test]
    fn models_of_different_roots_are_two() {
        let two = r#"{"data":[{"id":"a","root":"/a","parent":null},{"id":"b","root":"/b","parent":null},
            {"id":"b-lora","root":"/x","parent":"b"}]}"#;
        let served = served(None, two);
        assert_eq!(served.models(), ["a".into(), "b".into()]);
        assert_eq!(names(&served, "b"), ["b", "b-lora"]);
    }

    #[test]
    fn configured_model_has_all_reported_names() {
        let served = served(Some("main"), VLLM);
        assert_eq!(served.models(), ["main".into()]);
        assert_eq!(names(&served, "main"), ["main", "llama", "gpt-4", "sql"]);
        let untold = ServedModels::new(Some("main"), &ServerInfo::default());
        assert!(untold.has("main") && !untold.is_unknown());
    }

    #[test]
    fn server_info_alone_names_the_model() {
        let served = served(None, r#"{"served_model_name":"qwen","model_path":"/m/qwen"}"#);
        assert_eq!(served.models(), ["qwen".into()]);
        assert!(ServedModels::new(None, &ServerInfo::default()).is_unknown());
    }
}
