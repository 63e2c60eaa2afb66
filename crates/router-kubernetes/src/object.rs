//! The parts of Kubernetes objects that discovery reads. Everything else in their JSON is skipped, so a large object costs
//! little.

use serde::Deserialize;
use std::collections::BTreeMap;

/// The metadata of an object.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    /// Its name, which no other object of its kind has at the same time in the same namespace.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its identity: an object that takes the name of a deleted one has another.
    pub uid: String,
    /// Grows with each change.
    pub resource_version: String,
    /// When it was created, in RFC 3339.
    pub creation_timestamp: Option<String>,
    /// From when on it is being deleted.
    pub deletion_timestamp: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}

/// A pod.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Pod {
    /// Name, identity, labels and annotations.
    pub metadata: Metadata,
    /// Where it runs.
    pub spec: PodSpec,
    /// How it stands.
    pub status: PodStatus,
}

/// Where a pod runs.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    /// The node.
    pub node_name: Option<String>,
}

/// How a pod stands.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    /// `Pending`, `Running`, `Succeeded`, `Failed` or `Unknown`.
    pub phase: Option<String>,
    /// Its address, once it has one.
    #[serde(rename = "podIP")]
    pub pod_ip: Option<String>,
    /// Among them `Ready`.
    #[serde(deserialize_with = "absent_is_empty")]
    pub conditions: Vec<PodCondition>,
}

/// One condition of a pod.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PodCondition {
    /// Which.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// Why, in one word.
    pub reason: Option<String>,
    /// Why, in a sentence.
    pub message: Option<String>,
}

/// A part of the endpoints of a Service.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default)]
pub struct EndpointSlice {
    /// Its name and identity.
    pub metadata: Metadata,
    /// The endpoints.
    #[serde(deserialize_with = "absent_is_empty")]
    pub endpoints: Vec<Endpoint>,
}

/// One endpoint of a Service.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Endpoint {
    /// Whether it takes requests.
    pub conditions: EndpointConditions,
    /// The pod.
    pub target_ref: Option<TargetRef>,
    /// Its zone.
    pub zone: Option<String>,
}

/// Whether an endpoint takes requests; what is absent is unknown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default)]
pub struct EndpointConditions {
    /// It takes new requests. Unknown counts as yes, as the API has it.
    pub ready: Option<bool>,
    /// It takes requests, also while it terminates. Unknown counts as `ready`.
    pub serving: Option<bool>,
    /// It is being deleted.
    pub terminating: Option<bool>,
}

/// The object behind an endpoint.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default)]
pub struct TargetRef {
    /// The identity of the object.
    pub uid: String,
}

/// What the Gateway API Inference Extension (v1) calls a pool: the pods of a model, and where they serve.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct InferencePool {
    /// Its name and identity.
    pub metadata: Metadata,
    /// Its members.
    pub spec: InferencePoolSpec,
}

/// The members of a pool.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct InferencePoolSpec {
    /// Which pods.
    pub selector: LabelSelector,
    /// Where each of them serves; each port is an endpoint of its own.
    #[serde(deserialize_with = "absent_is_empty")]
    pub target_ports: Vec<TargetPort>,
}

/// Labels that a pod must have.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct LabelSelector {
    /// All of these.
    pub match_labels: BTreeMap<String, String>,
}

/// A port of the members of a pool.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct TargetPort {
    /// Its number.
    pub number: u16,
}

/// An object that the API server lists and watches.
pub(crate) trait Watched: Clone + Send + for<'de> Deserialize<'de> + 'static {
    /// Its kind in the plural, as it stands in paths.
    const PLURAL: &'static str;
    /// The path of its group and version.
    const API: &'static str;

    /// Its metadata.
    fn metadata(&self) -> &Metadata;
}

impl Watched for Pod {
    const PLURAL: &'static str = "pods";
    const API: &'static str = "/api/v1";

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }
}

impl Watched for EndpointSlice {
    const PLURAL: &'static str = "endpointslices";
    const API: &'static str = "/apis/discovery.k8s.io/v1";

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }
}

impl Watched for InferencePool {
    const PLURAL: &'static str = "inferencepools";
    const API: &'static str = "/apis/inference.networking.k8s.io/v1";

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }
}

/// A list of objects.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ObjectPage<T> {
    /// The version of the list as a whole, and where it goes on.
    #[serde(default)]
    pub metadata: PageMetadata,
    /// The objects.
    #[serde(deserialize_with = "absent_is_empty", default = "Vec::new", bound = "T: Deserialize<'de>")]
    pub items: Vec<T>,
}

/// The metadata of a list.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PageMetadata {
    /// All changes up to this version are in it.
    pub resource_version: String,
    /// Asks for the next page; absent or empty on the last one.
    #[serde(rename = "continue")]
    pub continue_token: Option<String>,
}

/// Reads `null`, which Go writes for an empty list, as an empty list.
fn absent_is_empty<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
