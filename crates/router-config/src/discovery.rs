//! Discovery of workers in Kubernetes.

use crate::error::ConfigError;
use crate::options::Options;
use crate::worker_spec::WorkerKind;
use std::num::NonZeroU16;
use std::path::PathBuf;

/// Which pods become workers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DiscoveryConfig {
    /// One entry for each kind of worker; none where a pool says which pods they are.
    pub pods: Vec<PodSelector>,
    /// The InferencePool of this name says which pods are workers, and at which ports.
    pub pool: Option<String>,
    /// The namespace; `None` for all of them.
    pub namespace: Option<String>,
    /// Only pods behind the Service of this name; `None`: whether a Service has them makes no difference.
    pub service: Option<String>,
    /// Where the name of the model stands; `None`: the worker reports it.
    pub model: Option<ModelSource>,
    /// How the API server is reached; `None`: as the environment says.
    pub kubeconfig: Option<PathBuf>,
}

/// The pods of one kind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PodSelector {
    /// What they serve.
    pub kind: WorkerKind,
    /// Their labels, in the syntax of the Kubernetes API: `app=sglang,role=prefill`; empty for all pods.
    pub labels: String,
    /// The port of a pod that does not name another.
    pub port: NonZeroU16,
}

/// Where the name of a pod's model stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ModelSource {
    /// It is the name of the namespace.
    Namespace,
    /// It is the value of this label.
    Label(String),
    /// It is the value of this annotation.
    Annotation(String),
}

impl Options {
    pub(crate) fn check_discovery(&self) -> Result<Option<DiscoveryConfig>, ConfigError> {
        let selectors = [
            ("--selector", &self.selector),
            ("--prefill-selector", &self.prefill_selector),
            ("--decode-selector", &self.decode_selector),
        ];
        if !self.service_discovery {
            let objects = [
                ("--service-discovery-service", &self.service_discovery_service),
                ("--service-discovery-pool", &self.service_discovery_pool),
            ];
            let selectors = selectors.map(|(option, words)| (option, !words.is_empty()));
            let objects = objects.map(|(option, name)| (option, name.is_some()));
            return match selectors.into_iter().chain(objects).find(|(_, is_given)| *is_given) {
                Some((option, _)) => Err(ConfigError::option(option, "needs --service-discovery")),
                None => Ok(None),
            };
        }
        let namespace = self.service_discovery_namespace.as_deref();
        let of_namespace = |option, kind: &str, name: &Option<String>| match name {
            Some(_) if namespace.is_none() => {
                let problem = format!("needs --service-discovery-namespace: {kind} belongs to one namespace");
                Err(ConfigError::option(option, problem))
            }
            name => name_of(option, name.as_deref()),
        };
        let pool =
            of_namespace("--service-discovery-pool", "an InferencePool", &self.service_discovery_pool)?;
        if pool.is_some() {
            self.check_pool_alone()?;
        }
        Ok(Some(DiscoveryConfig {
            pods: if pool.is_some() { Vec::new() } else { self.pod_selectors()? },
            pool,
            namespace: name_of("--service-discovery-namespace", namespace)?,
            service: of_namespace(
                "--service-discovery-service",
                "a Service",
                &self.service_discovery_service,
            )?,
            model: self.model_id_from.as_deref().map(model_source).transpose()?,
            kubeconfig: self.kubeconfig.clone(),
        }))
    }

    /// What an InferencePool says cannot be said by options as well.
    fn check_pool_alone(&self) -> Result<(), ConfigError> {
        let conflict = |option, problem| Err(ConfigError::option(option, problem));
        if !self.selector.is_empty() {
            return conflict(
                "--selector",
                "cannot be combined with --service-discovery-pool, which selects pods",
            );
        }
        if self.service_discovery_service.is_some() {
            let problem =
                "cannot be combined with --service-discovery-pool: one of them says which pods are workers";
            return conflict("--service-discovery-service", problem);
        }
        if self.pd_disaggregation {
            let problem =
                "cannot be combined with --pd-disaggregation: a pool does not tell prefill from decode";
            return conflict("--service-discovery-pool", problem);
        }
        Ok(())
    }

    /// The selectors of the kinds of workers that the router has.
    fn pod_selectors(&self) -> Result<Vec<PodSelector>, ConfigError> {
        let port = NonZeroU16::new(self.service_discovery_port)
            .ok_or_else(|| ConfigError::option("--service-discovery-port", "must be at least 1"))?;
        let of = |option, kind, words: &[String]| -> Result<PodSelector, ConfigError> {
            let labels = labels(option, words)?;
            if labels.is_empty() && (kind != WorkerKind::Regular || self.service_discovery_service.is_none())
            {
                let problem = "is needed with --service-discovery: KEY=VALUE for each label of the pods";
                return Err(ConfigError::option(option, problem));
            }
            Ok(PodSelector { kind, labels, port })
        };
        if self.pd_disaggregation {
            if !self.selector.is_empty() {
                let problem = "cannot be combined with --pd-disaggregation; use --prefill-selector and --decode-selector";
                return Err(ConfigError::option("--selector", problem));
            }
            let prefill = of("--prefill-selector", WorkerKind::Prefill, &self.prefill_selector)?;
            let decode = of("--decode-selector", WorkerKind::Decode, &self.decode_selector)?;
            if prefill.labels == decode.labels {
                let problem = "is the same as --prefill-selector; a pod cannot do both prefill and decode";
                return Err(ConfigError::option("--decode-selector", problem));
            }
            return Ok(vec![prefill, decode]);
        }
        let legs =
            [("--prefill-selector", &self.prefill_selector), ("--decode-selector", &self.decode_selector)];
        if let Some((option, _)) = legs.into_iter().find(|(_, words)| !words.is_empty()) {
            return Err(ConfigError::option(option, "needs --pd-disaggregation"));
        }
        Ok(vec![of("--selector", WorkerKind::Regular, &self.selector)?])
    }
}

/// `KEY=VALUE` words, in one argument or in several, as the API server takes them.
fn labels(option: &'static str, words: &[String]) -> Result<String, ConfigError> {
    let words = words.iter().flat_map(|text| text.split([' ', ','])).filter(|word| !word.is_empty());
    let label = |word: &str| {
        let (key, value) = word.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or_else(|| {
            ConfigError::option(option, format!("'{word}' is not a label; write KEY=VALUE"))
        })?;
        let is_plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./".contains(&b));
        if !is_plain(key) || !is_plain(value) {
            let problem =
                format!("'{word}' has a character that no label has; only letters, digits, - _ . and / do");
            return Err(ConfigError::option(option, problem));
        }
        Ok(format!("{key}={value}"))
    };
    Ok(words.map(label).collect::<Result<Vec<_>, _>>()?.join(","))
}

/// The name of an object, which becomes a part of a path.
fn name_of(option: &'static str, name: Option<&str>) -> Result<Option<String>, ConfigError> {
    let is_valid = |name: &str| {
        !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.')
    };
    match name {
        Some(name) if !is_valid(name) => {
            let problem =
                format!("'{name}' is not a name; only lower-case letters, digits, - and . are in one");
            Err(ConfigError::option(option, problem))
        }
        name => Ok(name.map(str::to_owned)),
    }
}

fn model_source(text: &str) -> Result<ModelSource, ConfigError> {
    match text.split_once(':') {
        None if text == "namespace" => Ok(ModelSource::Namespace),
        Some(("label", key)) if !key.is_empty() => Ok(ModelSource::Label(key.to_owned())),
        Some(("annotation", key)) if !key.is_empty() => Ok(ModelSource::Annotation(key.to_owned())),
        _ => {
            let problem = format!("'{text}' is none of namespace, label:KEY, annotation:KEY");
            Err(ConfigError::option("--model-id-from", problem))
        }
    }
}
