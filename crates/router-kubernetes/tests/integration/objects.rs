//! Pods, EndpointSlices and InferencePools in the form in which the API server sends them.

use serde::Deserialize as _;
use serde_json::{Value, json};
use std::sync::LazyLock;

const POD: &str = include_str!("../data/pod.json");
const POOL: &str = include_str!("../data/inferencepool.json");
const SLICE: &str = include_str!("../data/endpointslice.json");

/// A pod of a test.
#[derive(Clone, Debug)]
pub struct TestPod {
    pub value: Value,
}

/// A ready pod with the label `app=sglang`.
pub fn pod(name: &str, uid: &str, ip: &str) -> TestPod {
    static TEMPLATE: LazyLock<Value> = LazyLock::new(|| serde_json::from_str(POD).unwrap());
    let mut value = TEMPLATE.clone();
    value["metadata"]["name"] = name.into();
    value["metadata"]["uid"] = uid.into();
    value["status"]["podIP"] = ip.into();
    value["status"]["podIPs"] = json!([{"ip": ip}]);
    TestPod { value }
}

impl TestPod {
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.value["metadata"]["labels"][key] = value.into();
        self
    }

    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.value["metadata"]["annotations"][key] = value.into();
        self
    }

    pub fn created(mut self, at: &str) -> Self {
        self.value["metadata"]["creationTimestamp"] = at.into();
        self
    }

    pub fn ready(mut self, status: &str) -> Self {
        for condition in self.value["status"]["conditions"].as_array_mut().unwrap() {
            if condition["type"] == "Ready" {
                condition["status"] = status.into();
                if status == "False" {
                    condition["reason"] = "ContainersNotReady".into();
                    condition["message"] = "containers with unready status: [sglang]".into();
                }
            }
        }
        self
    }

    pub fn terminating(mut self) -> Self {
        self.value["metadata"]["deletionTimestamp"] = "2026-05-04T10:00:00Z".into();
        self.value["metadata"]["deletionGracePeriodSeconds"] = 30.into();
        self
    }

    pub fn phase(mut self, phase: &str) -> Self {
        self.value["status"]["phase"] = phase.into();
        self
    }

    pub fn without_ip(mut self) -> Self {
        let status = self.value["status"].as_object_mut().unwrap();
        status.remove("podIP");
        status.remove("podIPs");
        self
    }

    /// As [`router_kubernetes`] reads it, with this version.
    pub fn read(&self, version: u64) -> router_kubernetes::Pod {
        let mut pod = router_kubernetes::Pod::deserialize(&self.value).unwrap();
        pod.metadata.resource_version = version.to_string();
        pod
    }
}

/// A slice with these endpoints: the UID of the pod, and its conditions.
pub fn slice(name: &str, endpoints: &[(&str, Value)]) -> Value {
    let mut value: Value = serde_json::from_str(SLICE).unwrap();
    value["metadata"]["name"] = name.into();
    let template = value["endpoints"][0].clone();
    let endpoint = |(uid, conditions): &(&str, Value)| {
        let mut endpoint = template.clone();
        endpoint["targetRef"]["uid"] = (*uid).into();
        endpoint["conditions"] = conditions.clone();
        endpoint
    };
    value["endpoints"] = endpoints.iter().map(endpoint).collect();
    value
}

/// The InferencePool of pods with this label `app`, at these ports.
pub fn inference_pool(name: &str, app: &str, ports: &[u16]) -> Value {
    let mut value: Value = serde_json::from_str(POOL).unwrap();
    value["metadata"]["name"] = name.into();
    value["spec"]["selector"]["matchLabels"] = json!({"app": app});
    value["spec"]["targetPorts"] = ports.iter().map(|number| json!({"number": number})).collect();
    value
}

/// The conditions of an endpoint.
pub fn conditions(ready: bool, serving: bool, terminating: bool) -> Value {
    json!({"ready": ready, "serving": serving, "terminating": terminating})
}
