//! Options that change while the router runs: what a patch makes of them, what differs, and what may.

use crate::change_time::ChangeTime;
use crate::error::ConfigError;
use crate::known_fields::field_names;
use crate::options::Options;
use crate::sources::{Source, Sources};
use router_core::similar_name;
use serde_json::{Map, Value, json};

/// The options whose values are never shown.
const SECRETS: [&str; 4] = ["api_key", "admin_api_key", "control_plane_api_keys", "worker_api_key"];

/// An option that has another value than before. Of a secret it is only told whether there is one.
#[derive(Clone, PartialEq, Debug)]
pub struct OptionChange {
    /// The key of the option.
    pub key: &'static str,
    /// Its value before.
    pub from: Value,
    /// Its value now.
    pub to: Value,
}

/// An option that cannot change while the router runs, and why.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FixedOption {
    /// The key of the option.
    pub key: &'static str,
    /// Why it needs a restart.
    pub reason: &'static str,
}

/// Why a change is refused. Nothing of it takes effect.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The patch is no JSON object.
    #[error("the patch must be a JSON object of options, such as {{\"policy\": \"least_request\"}}: {0}")]
    NotAnObject(String),
    /// There is no such option.
    #[error("unknown option `{key}`{hint}")]
    Unknown {
        /// The key.
        key: String,
        /// What may have been meant.
        hint: String,
    },
    /// An option cannot have this value.
    #[error("{key}: {problem}")]
    Value {
        /// The key of the option.
        key: String,
        /// What is wrong with its value.
        problem: String,
    },
    /// Options need a restart; all of them are named.
    #[error("{}", fixed(.0))]
    Fixed(Vec<FixedOption>),
    /// The options do not fit each other, or a value is out of its range.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

fn fixed(options: &[FixedOption]) -> String {
    let each: Vec<_> = options.iter().map(|o| format!("{} needs a restart: {}", o.key, o.reason)).collect();
    format!("nothing was changed: {}", each.join("; "))
}

impl ChangeError {
    /// The keys of the options at fault.
    pub fn keys(&self) -> Vec<String> {
        match self {
            Self::NotAnObject(_) => Vec::new(),
            Self::Unknown { key, .. } | Self::Value { key, .. } => vec![key.clone()],
            Self::Fixed(options) => options.iter().map(|option| option.key.to_owned()).collect(),
            Self::Config(error) => error.keys(),
        }
    }
}

impl Options {
    /// The keys of all options, in the order of the documentation.
    pub fn keys() -> &'static [&'static str] {
        field_names::<Self>()
    }

    /// The value of every option, by key. Secrets are not shown: `"***"` stands for one, `null` for none.
    pub fn shown(&self) -> Map<String, Value> {
        let mut values = self.as_json();
        for key in SECRETS {
            let is_given = match key {
                "api_key" => self.api_key.is_some(),
                "admin_api_key" => self.admin_api_key.is_some(),
                "worker_api_key" => self.worker_api_key.is_some(),
                _ => !self.control_plane_api_keys.is_empty(),
            };
            values.insert(key.to_owned(), if is_given { "***".into() } else { Value::Null });
        }
        values
    }

    /// Every option with its value, where it is from, and whether it can change while the router runs. Secrets are not shown.
    pub fn described(&self, sources: &Sources) -> Value {
        let (values, defaults) = (self.shown(), Self::default().shown());
        let described = Self::keys().iter().filter_map(|&key| {
            let value = values.get(key)?;
            let source = sources.get(key, defaults.get(key) != Some(value));
            let mut option = json!({"value": value, "source": source.as_str(), "live": true});
            if let Some(ChangeTime::Restart(reason)) = Self::change_time(key) {
                (option["live"], option["restart"]) = (false.into(), reason.into());
            }
            Some((key.to_owned(), option))
        });
        Value::Object(described.collect())
    }

    /// Where the value of an option is from.
    pub fn source_of(&self, key: &str, sources: &Sources) -> Source {
        sources.get(key, Self::default().shown().get(key) != self.shown().get(key))
    }

    /// What has another value in `new`.
    pub fn changes_to(&self, new: &Self) -> Vec<OptionChange> {
        let (before, after) = (self.shown(), new.shown());
        let differs = |key: &str| match key {
            // Their keys are not shown.
            "workers" => self.workers != new.workers,
            "api_key" => self.api_key != new.api_key,
            "admin_api_key" => self.admin_api_key != new.admin_api_key,
            "worker_api_key" => self.worker_api_key != new.worker_api_key,
            "control_plane_api_keys" => self.control_plane_api_keys != new.control_plane_api_keys,
            key => before.get(key) != after.get(key),
        };
        let value = |of: &Map<String, Value>, key| of.get(key).cloned().unwrap_or_default();
        let changed = Self::keys().iter().filter(|key| differs(key));
        changed.map(|&key| OptionChange { key, from: value(&before, key), to: value(&after, key) }).collect()
    }

    /// These options with the changes of a JSON merge patch (RFC 7396), whose keys are those of the TOML file: `null` restores a
    /// default, and the members of `policy_options` are merged. A worker in `workers` without an `api_key` keeps the one that it has.
    ///
    /// # Errors
    /// When the patch names an option that there is not, or a value has the wrong type; the message names it.
    pub fn patched(&self, patch: &Value) -> Result<Self, ChangeError> {
        let Value::Object(patch) = patch else {
            return Err(ChangeError::NotAnObject("it is none".to_owned()));
        };
        if let Some(key) = patch.keys().find(|key| !Self::keys().contains(&key.as_str())) {
            let similar = similar_name(key, Self::keys().iter().copied());
            let hint = similar.map_or(String::new(), |known| format!(", did you mean `{known}`?"));
            return Err(ChangeError::Unknown { key: key.clone(), hint });
        }
        let secrets = patch.keys().filter_map(|key| SECRETS.iter().find(|secret| *secret == key));
        let secrets: Vec<_> = secrets.map(|key| fixed_option(key)).collect();
        if !secrets.is_empty() {
            return Err(ChangeError::Fixed(secrets));
        }
        let (own, defaults) = (self.as_json(), Self::default().as_json());
        let mut patched = self.clone();
        for (key, change) in patch {
            let mut value = own.get(key).cloned().unwrap_or_default();
            if change.is_null() {
                value = defaults.get(key).cloned().unwrap_or_default();
            } else {
                merge(&mut value, change);
            }
            patched = patched.with_value(key, value)?;
        }
        for worker in patched.workers.iter_mut().filter(|worker| worker.api_key.is_none()) {
            let known = self.workers.iter().find(|known| known.url == worker.url);
            worker.api_key = known.and_then(|known| known.api_key.clone());
        }
        Ok(patched)
    }

    /// These options with the values that `other` has for `keys`.
    ///
    /// # Errors
    /// A value that JSON cannot represent.
    pub fn with(&self, keys: &[&str], other: &Self) -> Result<Self, ChangeError> {
        let values = other.as_json();
        let mut new = self.clone();
        for key in keys {
            match *key {
                "workers" => new.workers.clone_from(&other.workers),
                "api_key" => new.api_key.clone_from(&other.api_key),
                "admin_api_key" => new.admin_api_key.clone_from(&other.admin_api_key),
                "worker_api_key" => new.worker_api_key.clone_from(&other.worker_api_key),
                "control_plane_api_keys" => {
                    new.control_plane_api_keys.clone_from(&other.control_plane_api_keys);
                }
                key => new = new.with_value(key, values.get(key).cloned().unwrap_or_default())?,
            }
        }
        Ok(new)
    }

    /// Refuses changes that need a restart.
    ///
    /// # Errors
    /// Names every such option.
    pub fn refuse_fixed(changes: &[OptionChange]) -> Result<(), ChangeError> {
        let fixed = changes.iter().filter(|change| Self::change_time(change.key) != Some(ChangeTime::Live));
        let fixed: Vec<_> = fixed.map(|change| fixed_option(change.key)).collect();
        if fixed.is_empty() { Ok(()) } else { Err(ChangeError::Fixed(fixed)) }
    }

    /// These options with another value of one of them. Secrets stay as they are.
    fn with_value(&self, key: &str, value: Value) -> Result<Self, ChangeError> {
        let mut values = self.as_json();
        values.insert(key.to_owned(), value);
        let new: Self = serde_json::from_value(Value::Object(values))
            .map_err(|error| ChangeError::Value { key: key.to_owned(), problem: error.to_string() })?;
        let workers = if key == "workers" { new.workers.clone() } else { self.workers.clone() };
        let merged = Self { workers, ..new };
        Ok(merged.keep_secrets(self.clone(), self.clone(), |_| true))
    }

    fn as_json(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(values)) => values,
            // A struct becomes an object.
            _ => Map::new(),
        }
    }
}

fn fixed_option(key: &'static str) -> FixedOption {
    let reason = match Options::change_time(key) {
        Some(ChangeTime::Restart(reason)) => reason,
        Some(ChangeTime::Live) | None => "it is read at the start",
    };
    FixedOption { key, reason }
}

/// Merges a patch into a value, as RFC 7396 says.
fn merge(value: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *value = patch.clone();
        return;
    };
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    let Value::Object(members) = value else { return };
    for (key, change) in patch {
        if change.is_null() {
            members.remove(key);
        } else {
            merge(members.entry(key.clone()).or_insert(Value::Null), change);
        }
    }
}
