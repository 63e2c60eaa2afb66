//! What discovery costs, and that nothing is missed, at 1,000 pods of which 100 change each second.

use super::api_server::ApiServer;
use super::objects::{TestPod, conditions, pod, slice};
use super::watcher::{Discovery, Told, config};
use router_config::DiscoveryConfig;
use router_kubernetes::{ListPurpose, Membership, WorkerSet as _};
use serde_json::Value;
use std::time::{Duration, Instant};

const PODS: usize = 1000;
/// As many as Kubernetes puts into a slice.
const PER_SLICE: usize = 100;

fn nth(n: usize) -> TestPod {
    pod(&format!("p{n}"), &format!("uid-{n:04}"), &format!("10.1.{}.{}", n / 250, n % 250))
}

fn slice_of(n: usize, unready: Option<usize>) -> Value {
    let from = n / PER_SLICE * PER_SLICE;
    let endpoints: Vec<_> = (from..from + PER_SLICE)
        .map(|n| (format!("uid-{n:04}"), conditions(unready != Some(n), true, false)))
        .collect();
    let endpoints: Vec<_> = endpoints.iter().map(|(uid, value)| (uid.as_str(), value.clone())).collect();
    slice(&format!("s{}", n / PER_SLICE), &endpoints)
}

/// Ten seconds of changes, each of a pod and of its slice, as JSON lines of a watch. Reading and applying them may take a
/// twentieth of ten seconds; the figure is printed, and a debug build is not held to it.
#[test]
fn hundred_changes_a_second_cost_little() {
    let config = DiscoveryConfig { service: Some("sglang".to_owned()), ..config("app=sglang") };
    let (mut membership, told) = (Membership::new(config), Told::default());
    let pods: Vec<_> = (0..PODS).map(|n| nth(n).read(1)).collect();
    membership.replace_pods(0, &pods, "1", ListPurpose::Begin);
    let read = |value: Value| serde_json::from_value(value).unwrap();
    let slices: Vec<_> = (0..PODS / PER_SLICE).map(|s| read(slice_of(s * PER_SLICE, None))).collect();
    membership.replace_slices(&slices, "1", ListPurpose::Begin);
    told.apply(membership.take_changes());
    assert_eq!(told.workers.lock().len(), PODS);
    let mut lines = Vec::new();
    let mut version = 100_000_u64;
    for change in 0..1000 {
        let (n, status) = (change * 7 % PODS, if change % 2 == 0 { "False" } else { "True" });
        let mut pod = nth(n).ready(status).value;
        let mut slice = slice_of(n, (status == "False").then_some(n));
        for object in [&mut pod, &mut slice] {
            version += 1;
            object["metadata"]["resourceVersion"] = version.to_string().into();
        }
        lines.push((pod.to_string(), slice.to_string()));
    }
    let begun = Instant::now();
    for (pod, slice) in &lines {
        membership.apply_pod(0, &serde_json::from_str(pod).unwrap());
        membership.apply_slice(&serde_json::from_str(slice).unwrap());
        membership.take_changes();
    }
    let took = begun.elapsed();
    println!("10 s of changes took {took:?}: {:.2} % of a core", took.as_secs_f64() * 10.0);
    if !cfg!(debug_assertions) {
        assert!(took < Duration::from_millis(500), "{took:?}");
    }
}

/// The same over the wire, with every disturbance in turn.
#[tokio::test]
async fn no_change_of_a_large_fleet_is_missed() {
    let server = ApiServer::start().await;
    let mut ready = vec![true; PODS];
    (0..PODS).for_each(|n| server.put_pod(&nth(n)));
    let discovery = Discovery::start(&server);
    discovery.until("all", |workers| workers.len() == PODS).await;
    discovery.until("a watch", |_| server.watchers() == 1).await;
    for change in 0..1000 {
        match change {
            100 => server.end_watches(),
            200 => server.compact(super::api_server::Gone::Event),
            300 => server.send_twice(true),
            400 => server.swap(true),
            500 => server.swap(false),
            600 => server.lose(50),
            700 => server.set_down(true),
            750 => server.set_down(false),
            800 => server.compact(super::api_server::Gone::Status),
            _ => {}
        }
        let n = change * 7 % PODS;
        ready[n] = !ready[n];
        server.put_pod(&nth(n).ready(if ready[n] { "True" } else { "False" }));
        if change % 10 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let agrees = |workers: &std::collections::BTreeMap<String, super::watcher::Worker>| {
        workers.values().map(|worker| worker.problem.is_none()).eq(ready.iter().copied())
    };
    discovery.until("every pod is as it is", agrees).await;
}
