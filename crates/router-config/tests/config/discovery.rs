//! Options of Kubernetes discovery.

use super::{WORKER, load, refuse};
use router_config::{ModelSource, PodSelector, WorkerKind};
use router_core::Registry;
use std::num::NonZeroU16;

#[test]
fn discovery_selects_pods_by_kind() {
    let found = |flags: &[&str]| load(flags, None).unwrap().check(&Registry::builtin()).unwrap().discovery;
    assert_eq!(found(&["--worker-urls", WORKER]), None);
    let plain = found(&["--service-discovery", "--selector", "app=sglang"]).unwrap();
    assert_eq!((plain.namespace, plain.service, plain.pool), (None, None, None));
    let port = NonZeroU16::new(80).unwrap();
    assert_eq!(
        plain.pods,
        [PodSelector { kind: WorkerKind::Regular, labels: "app=sglang".to_owned(), port }]
    );
    let split = [
        "--pd-disaggregation",
        "--service-discovery",
        "--prefill-selector",
        "r=p",
        "--decode-selector",
        "r=d",
    ];
    let kinds: Vec<_> = found(&split).unwrap().pods.into_iter().map(|p| (p.kind, p.labels)).collect();
    assert_eq!(kinds, [(WorkerKind::Prefill, "r=p".to_owned()), (WorkerKind::Decode, "r=d".to_owned())]);
    let service = [
        "--service-discovery",
        "--service-discovery-namespace",
        "prod",
        "--service-discovery-service",
        "llm",
    ];
    assert_eq!(found(&service).unwrap().pods[0].labels, "", "the Service selects the pods");
    let pool =
        ["--service-discovery", "--service-discovery-namespace", "prod", "--service-discovery-pool", "llama"];
    let pool = found(&pool).unwrap();
    assert_eq!((pool.pool.as_deref(), pool.pods), (Some("llama"), Vec::new()), "the pool selects the pods");
    let label = ["--service-discovery", "--selector", "a=b", "--model-id-from", "label:model"];
    assert_eq!(found(&label).unwrap().model, Some(ModelSource::Label("model".to_owned())));
}

#[test]
fn discovery_errors_name_the_option() {
    let on = ["--service-discovery"];
    let pool = ["--service-discovery-pool", "llama", "--service-discovery-namespace", "prod"];
    let split = [&on[..], &["--pd-disaggregation", "--prefill-selector", "r=p"]].concat();
    for (flags, parts) in [
        (&on[..], &["--selector", "KEY=VALUE"][..]),
        (&["--worker-urls", WORKER, "--selector", "a=b"], &["--selector", "needs --service-discovery"]),
        (&[&on[..], &["--selector", "app"]].concat(), &["--selector", "'app'", "KEY=VALUE"]),
        (&[&on[..], &["--selector", "app=x!y"]].concat(), &["--selector", "'app=x!y'"]),
        (
            &[&on[..], &["--selector", "a=b", "--service-discovery-port", "0"]].concat(),
            &["--service-discovery-port"],
        ),
        (
            &[&on[..], &["--service-discovery-service", "llm"]].concat(),
            &["--service-discovery-service", "--service-discovery-namespace"],
        ),
        (&[&on[..], &["--selector", "a=b", "--service-discovery-namespace", "a/b"]].concat(), &["'a/b'"]),
        (
            &[&["--worker-urls", WORKER], &pool[..2]].concat(),
            &["--service-discovery-pool", "needs --service-discovery"],
        ),
        (
            &[&on[..], &pool[..2]].concat(),
            &["--service-discovery-pool", "--service-discovery-namespace: an InferencePool"],
        ),
        (&[&on[..], &pool[..], &["--selector", "a=b"]].concat(), &["--selector", "--service-discovery-pool"]),
        (
            &[&on[..], &pool[..], &["--service-discovery-service", "llm"]].concat(),
            &["--service-discovery-service", "--service-discovery-pool"],
        ),
        (&[&split[..], &pool[..]].concat(), &["--service-discovery-pool", "prefill from decode"]),
        (
            &[&on[..], &["--selector", "a=b", "--model-id-from", "pod"]].concat(),
            &["--model-id-from", "label:KEY"],
        ),
        (
            &[&on[..], &["--selector", "a=b", "--decode-selector", "c=d"]].concat(),
            &["--decode-selector", "needs --pd"],
        ),
        (&split, &["--decode-selector", "is needed"]),
        (
            &[&split[..], &["--decode-selector", "r=p"]].concat(),
            &["--decode-selector", "same as --prefill-selector"],
        ),
        (&[&split[..], &["--selector", "a=b"]].concat(), &["--selector", "--prefill-selector"]),
    ] {
        let text = refuse(flags, None);
        for part in parts {
            assert!(text.contains(part), "{flags:?}: '{part}' is not in: {text}");
        }
    }
}
