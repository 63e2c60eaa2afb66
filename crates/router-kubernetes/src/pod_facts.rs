//! What discovery reads from a pod: where it is, whether it may get requests, and how it is to be treated as a worker.

use crate::object::Pod;
use router_config::{DiscoveryConfig, ModelSource, PodSelector, WorkerKind, WorkerSpec, not_negative};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::str::FromStr;

/// The port of the pod, in place of `--service-discovery-port`.
const PORT: &str = "sgl-router.io/port";
/// The weight of the worker.
const WEIGHT: &str = "sgl-router.io/weight";
/// Its price.
const COST: &str = "sgl-router.io/cost";
/// Its priority.
const PRIORITY: &str = "sgl-router.io/priority";
/// Its model.
const MODEL: &str = "sgl-router.io/model";
/// The number of its data-parallel ranks, each of which becomes a candidate.
const RANKS: &str = "sgl-router.io/dp-size";
/// The bootstrap port of a prefill worker: ours, that of sglang-router and smg, that of vllm-router.
const BOOTSTRAP_PORTS: [&str; 3] =
    ["sgl-router.io/bootstrap-port", "sglang.ai/bootstrap-port", "vllm.ai/bootstrap-port"];
/// The zone of a node, which newer clusters write on its pods.
const ZONE: &str = "topology.kubernetes.io/zone";

/// Whether a pod may get requests.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum PodState {
    /// It may.
    Ready,
    /// It may not now, for this reason.
    NotReady(String),
    /// It never will again: it is being deleted, or has ended.
    Terminating,
}

/// A pod that may be a worker.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct PodFacts {
    /// Its identity.
    pub uid: String,
    /// When it was created, in RFC 3339, which sorts as time does.
    pub created: String,
    /// Whether it may get requests.
    pub state: PodState,
    /// The worker that it is; `None` while it has no address.
    pub spec: Option<WorkerSpec>,
    /// A line for each annotation that could not be read.
    pub warnings: Vec<String>,
}

impl PodFacts {
    /// Reads a pod that this selector has.
    pub(crate) fn read(pod: &Pod, selector: &PodSelector, config: &DiscoveryConfig) -> Self {
        let mut warnings = Vec::new();
        let address = pod.status.pod_ip.as_deref().and_then(|ip| ip.parse::<IpAddr>().ok());
        Self {
            uid: pod.metadata.uid.clone(),
            created: pod.metadata.creation_timestamp.clone().unwrap_or_default(),
            state: state(pod),
            spec: address.map(|address| spec(pod, address, selector, config, &mut warnings)),
            warnings,
        }
    }
}

fn state(pod: &Pod) -> PodState {
    let has_ended = matches!(pod.status.phase.as_deref(), Some("Succeeded" | "Failed"));
    if pod.metadata.deletion_timestamp.is_some() || has_ended {
        return PodState::Terminating;
    }
    let Some(ready) = pod.status.conditions.iter().find(|condition| condition.kind == "Ready") else {
        return PodState::NotReady("the pod has no Ready condition yet".to_owned());
    };
    if ready.status == "True" {
        return PodState::Ready;
    }
    let why = ready.message.as_deref().or(ready.reason.as_deref()).filter(|why| !why.is_empty());
    PodState::NotReady(match why {
        Some(why) => format!("the pod is not ready: {why}"),
        None => "the pod is not ready".to_owned(),
    })
}

fn spec(
    pod: &Pod,
    address: IpAddr,
    selector: &PodSelector,
    config: &DiscoveryConfig,
    warnings: &mut Vec<String>,
) -> WorkerSpec {
    let (meta, kind) = (&pod.metadata, selector.kind);
    let mut read = AnnotationReader { annotations: &meta.annotations, warnings };
    let port = read.number(PORT, |port: u16| port > 0).unwrap_or(selector.port.get());
    let authority = match address {
        IpAddr::V4(ip) => format!("{ip}:{port}"),
        IpAddr::V6(ip) => format!("[{ip}]:{port}"),
    };
    let is_weight = |number: f64| not_negative("", number).is_ok();
    let defaults = WorkerSpec::default();
    let ranks = read.number(RANKS, |_: NonZeroU32| kind == WorkerKind::Regular);
    let bootstrap_port = BOOTSTRAP_PORTS.iter().find_map(|name| read.number(name, |port: u16| port > 0));
    let model = match &config.model {
        None => None,
        Some(ModelSource::Namespace) => Some(&meta.namespace),
        Some(ModelSource::Label(key)) => meta.labels.get(key),
        Some(ModelSource::Annotation(key)) => meta.annotations.get(key),
    };
    WorkerSpec {
        url: format!("http://{authority}"),
        weight: read.number(WEIGHT, is_weight).unwrap_or(defaults.weight),
        cost: read.number(COST, is_weight).unwrap_or(defaults.cost),
        priority: read.number(PRIORITY, |_: u32| true).unwrap_or(defaults.priority),
        model_id: meta.annotations.get(MODEL).or(model).filter(|model| !model.is_empty()).cloned(),
        worker_type: kind,
        bootstrap_port: bootstrap_port.filter(|_| kind == WorkerKind::Prefill),
        dp_aware: ranks.is_some(),
        dp_size: ranks,
        labels: labels(pod),
        ..defaults
    }
}

/// The labels of the pod, and where it runs.
fn labels(pod: &Pod) -> BTreeMap<String, String> {
    let meta = &pod.metadata;
    let mut labels = meta.labels.clone();
    let mut add = |name: &str, value: Option<&String>| {
        if let Some(value) = value {
            labels.entry(name.to_owned()).or_insert_with(|| value.clone());
        }
    };
    add("pod", Some(&meta.name));
    add("namespace", Some(&meta.namespace));
    add("node", pod.spec.node_name.as_ref());
    add("zone", meta.labels.get(ZONE));
    labels
}

/// Reads annotations, and notes those that it cannot.
struct AnnotationReader<'a> {
    annotations: &'a BTreeMap<String, String>,
    warnings: &'a mut Vec<String>,
}

impl AnnotationReader<'_> {
    /// The value of an annotation, if it is there and a number that `is_valid`.
    fn number<T: FromStr + Copy>(&mut self, name: &str, is_valid: impl Fn(T) -> bool) -> Option<T> {
        let text = self.annotations.get(name)?;
        let number = text.trim().parse().ok().filter(|number| is_valid(*number));
        if number.is_none() {
            self.warnings.push(format!("{name}: '{text}'"));
        }
        number
    }
}
