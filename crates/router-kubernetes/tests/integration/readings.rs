//! What is read from pods.

use super::objects::{TestPod, pod};
use super::watcher::{PORT, config};
use router_config::{DiscoveryConfig, ModelSource, PodSelector, WorkerKind, WorkerSpec};
use router_kubernetes::{DiscoveredWorker, Membership, MembershipChange};

fn changes(config: DiscoveryConfig, pod: &TestPod) -> Vec<MembershipChange> {
    let mut membership = Membership::new(config);
    membership.apply_pod(0, &pod.read(7));
    membership.take_changes()
}

fn joined(config: DiscoveryConfig, pod: &TestPod) -> DiscoveredWorker {
    match changes(config, pod).remove(0) {
        MembershipChange::Joined(worker) => *worker,
        change => panic!("{change:?}"),
    }
}

fn plain() -> TestPod {
    pod("a", "uid-a", "10.0.0.1")
}

#[test]
fn annotations_describe_the_worker() {
    let annotated = plain()
        .annotation("sgl-router.io/port", "8000")
        .annotation("sgl-router.io/weight", "2.5")
        .annotation("sgl-router.io/cost", "0.5")
        .annotation("sgl-router.io/priority", "70")
        .annotation("sgl-router.io/model", "llama")
        .annotation("sgl-router.io/dp-size", "4")
        .label("topology.kubernetes.io/zone", "eu-1");
    let spec = joined(config("app=sglang"), &annotated).spec;
    assert_eq!(spec.url, "http://10.0.0.1:8000");
    assert_eq!((spec.weight, spec.cost, spec.priority), (2.5, 0.5, 70));
    assert_eq!(
        (spec.model_id.as_deref(), spec.dp_aware, spec.dp_size.map(u32::from)),
        (Some("llama"), true, Some(4))
    );
    let label = |name: &str| spec.labels[name].as_str();
    assert_eq!((label("app"), label("pod"), label("namespace")), ("sglang", "a", "default"));
    assert_eq!((label("node"), label("zone")), ("gpu-node-1", "eu-1"));
}

#[test]
fn bad_annotation_is_named_and_ignored() {
    let bad = plain().annotation("sgl-router.io/weight", "heavy").annotation("sgl-router.io/port", "0");
    let changes = changes(config("app=sglang"), &bad);
    let warnings: Vec<_> = changes
        .iter()
        .filter_map(|change| match change {
            MembershipChange::Warning { pod, annotation } => Some((pod.as_str(), annotation.as_str())),
            _ => None,
        })
        .collect();
    assert_eq!(
        warnings,
        [("default/a", "sgl-router.io/port: '0'"), ("default/a", "sgl-router.io/weight: 'heavy'")]
    );
    let spec = joined(config("app=sglang"), &bad).spec;
    assert_eq!((spec.weight, spec.url.as_str()), (WorkerSpec::default().weight, "http://10.0.0.1:30000"));
}

#[test]
fn prefill_pods_tell_their_bootstrap_port() {
    let prefill = || {
        let pods =
            vec![PodSelector { kind: WorkerKind::Prefill, labels: "app=sglang".to_owned(), port: PORT }];
        DiscoveryConfig { pods, ..config("") }
    };
    for name in ["sgl-router.io/bootstrap-port", "sglang.ai/bootstrap-port", "vllm.ai/bootstrap-port"] {
        let spec = joined(prefill(), &plain().annotation(name, "9000")).spec;
        assert_eq!((spec.worker_type, spec.bootstrap_port), (WorkerKind::Prefill, Some(9000)), "{name}");
    }
    assert_eq!(
        joined(config(""), &plain().annotation("sglang.ai/bootstrap-port", "9000")).spec.bootstrap_port,
        None
    );
}

#[test]
fn model_comes_from_where_it_is_said_to_be() {
    let pod = plain().label("model", "from-label").annotation("team/model", "from-annotation");
    for (source, model) in [
        (ModelSource::Namespace, Some("default")),
        (ModelSource::Label("model".to_owned()), Some("from-label")),
        (ModelSource::Annotation("team/model".to_owned()), Some("from-annotation")),
        (ModelSource::Label("none".to_owned()), None),
    ] {
        let config = DiscoveryConfig { model: Some(source), ..config("") };
        assert_eq!(joined(config, &pod).spec.model_id.as_deref(), model);
    }
}

#[test]
fn pod_without_address_or_future_is_no_worker() {
    for pod in [
        plain().without_ip(),
        plain().terminating(),
        plain().phase("Succeeded"),
        plain().phase("Failed").ready("False"),
    ] {
        assert_eq!(changes(config(""), &pod), []);
    }
    assert_eq!(joined(config(""), &pod("a", "u", "fd00::7")).spec.url, "http://[fd00::7]:30000");
    assert_eq!(joined(config(""), &plain()).problem, None);
    assert!(joined(config(""), &plain().ready("Unknown")).problem.is_some());
}

#[test]
fn changed_values_update_the_worker() {
    let mut membership = Membership::new(config(""));
    membership.apply_pod(0, &plain().read(7));
    membership.take_changes();
    membership.apply_pod(0, &plain().annotation("sgl-router.io/weight", "3").read(8));
    let [MembershipChange::Updated { uid, update }] = &membership.take_changes()[..] else { panic!() };
    assert_eq!((uid.as_str(), update.weight), ("uid-a", Some(3.0)));
    // Another port is another server.
    membership.apply_pod(0, &plain().annotation("sgl-router.io/port", "8000").read(9));
    let [MembershipChange::Draining { .. }, MembershipChange::Joined(worker)] =
        &membership.take_changes()[..]
    else {
        panic!()
    };
    assert_eq!(worker.spec.url, "http://10.0.0.1:8000");
}

#[test]
fn pod_that_terminates_never_comes_back() {
    let mut membership = Membership::new(config(""));
    membership.apply_pod(0, &plain().read(7));
    membership.take_changes();
    membership.apply_pod(0, &plain().terminating().read(8));
    assert_eq!(membership.take_changes(), [MembershipChange::Draining { uid: "uid-a".to_owned() }]);
    membership.apply_pod(0, &plain().read(9));
    assert_eq!(membership.take_changes(), []);
}
