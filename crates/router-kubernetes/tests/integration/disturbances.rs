//! No change is missed after any disturbance that an API server is known for.

use super::api_server::{ApiServer, Gone};
use super::objects::{conditions, pod, slice};
use super::watcher::{Discovery, FAST, config};
use router_kubernetes::Timing;
use std::time::Duration;

/// Audits never come, so that what is found was watched.
const UNAUDITED: Timing = Timing { audit: Duration::from_secs(3600), ..FAST };

async fn watching(server: &ApiServer, timing: Timing) -> Discovery {
    server.put_pod(&pod("a", "uid-a", "10.0.0.1"));
    server.put_pod(&pod("b", "uid-b", "10.0.0.2"));
    server.put_pod(&pod("x", "uid-x", "10.0.0.9").label("app", "other"));
    let discovery = Discovery::start_with(server, config("app=sglang"), timing);
    discovery.until_workers(&["uid-a", "uid-b"]).await;
    discovery.until("a watch", |_| server.watchers() == 1).await;
    discovery
}

#[tokio::test]
async fn pods_join_change_and_drain() {
    let server = ApiServer::start().await;
    let discovery = watching(&server, UNAUDITED).await;
    server.put_pod(&pod("c", "uid-c", "10.0.0.3").ready("False"));
    discovery.until_workers(&["uid-a", "uid-b", "uid-c"]).await;
    let problem = discovery.told.workers.lock()["uid-c"].problem.clone().unwrap();
    assert!(problem.contains("containers with unready status"), "{problem}");
    server.put_pod(&pod("c", "uid-c", "10.0.0.3"));
    discovery.until("c is ready", |workers| workers["uid-c"].problem.is_none()).await;
    server.put_pod(&pod("a", "uid-a", "10.0.0.1").terminating());
    discovery.until_workers(&["uid-b", "uid-c"]).await;
    server.delete("pods", "a");
    // A pod whose label was taken away gets no more requests, and is the same worker when it is given back.
    server.put_pod(&pod("b", "uid-b", "10.0.0.2").label("app", "debug"));
    discovery.until_workers(&["uid-c"]).await;
    server.put_pod(&pod("b", "uid-b", "10.0.0.2"));
    discovery.until_workers(&["uid-b", "uid-c"]).await;
    assert_eq!(server.asked(), (1, 1), "one list and one watch told all");
}

#[tokio::test]
async fn reused_address_is_a_new_worker() {
    let server = ApiServer::start().await;
    let discovery = watching(&server, UNAUDITED).await;
    server.put_pod(&pod("a", "uid-a", "10.0.0.1").terminating());
    server.put_pod(&pod("a2", "uid-a2", "10.0.0.1").created("2026-05-04T10:00:05Z"));
    discovery.until_workers(&["uid-a2", "uid-b"]).await;
    server.delete("pods", "a");
    // A StatefulSet's pod keeps its name, and here the deletion of the old one is lost.
    server.lose(1);
    server.delete("pods", "b");
    server.put_pod(&pod("b", "uid-b2", "10.0.0.2").created("2026-05-04T10:01:00Z"));
    discovery.until_workers(&["uid-a2", "uid-b2"]).await;
    // And here a pod of another name gets the address.
    server.lose(1);
    server.delete("pods", "b");
    server.put_pod(&pod("d", "uid-d", "10.0.0.2").created("2026-05-04T10:02:00Z"));
    discovery.until_workers(&["uid-a2", "uid-d"]).await;
}

#[tokio::test]
async fn expired_watch_lists_again() {
    for gone in [Gone::Event, Gone::Status] {
        let server = ApiServer::start().await;
        let discovery = watching(&server, UNAUDITED).await;
        server.compact(Gone::Event);
        // What happens here no watch will tell.
        server.delete("pods", "a");
        server.put_pod(&pod("c", "uid-c", "10.0.0.3"));
        server.compact(gone);
        discovery.until_workers(&["uid-b", "uid-c"]).await;
        discovery.until("it watches again", |_| server.watchers() == 1).await;
        server.put_pod(&pod("d", "uid-d", "10.0.0.4"));
        discovery.until_workers(&["uid-b", "uid-c", "uid-d"]).await;
    }
}

#[tokio::test]
async fn bookmarks_keep_a_quiet_watch_from_expiring() {
    let server = ApiServer::start().await;
    let discovery = watching(&server, UNAUDITED).await;
    let heard = |events| move |figures: router_kubernetes::DiscoveryFigures| figures.events >= events;
    server.bookmark();
    server.put_pod(&pod("c", "uid-c", "10.0.0.3"));
    discovery.until("the event after it", |_| discovery.status.figures().is_some_and(heard(1))).await;
    server.bookmark();
    // The end of the watch comes after the bookmark on the same connection.
    server.compact(Gone::Status);
    discovery.until("a new watch", |_| server.watchers() == 1).await;
    let (lists, watches) = server.asked();
    assert_eq!((lists, watches), (1, 2), "the bookmark told from where to go on");
}

#[tokio::test]
async fn lost_deletion_is_found() {
    let server = ApiServer::start().await;
    let discovery = watching(&server, FAST).await;
    server.lose(2);
    server.delete("pods", "a");
    server.put_pod(&pod("c", "uid-c", "10.0.0.3"));
    discovery.until_workers(&["uid-b", "uid-c"]).await;
}

#[tokio::test]
async fn repeated_and_reordered_events_are_told_once() {
    let server = ApiServer::start().await;
    let discovery = watching(&server, UNAUDITED).await;
    server.send_twice(true);
    server.swap(true);
    for n in 0..20 {
        let (name, uid, ip) = (format!("p{n}"), format!("uid-p{n}"), format!("10.0.1.{n}"));
        server.put_pod(&pod(&name, &uid, &ip).ready("False"));
        server.put_pod(&pod(&name, &uid, &ip));
        server.delete("pods", &name);
    }
    server.put_pod(&pod("c", "uid-c", "10.0.0.3").ready("False"));
    server.put_pod(&pod("c", "uid-c", "10.0.0.3"));
    server.swap(false);
    server.put_pod(&pod("z", "uid-z", "10.0.0.4"));
    discovery.until_workers(&["uid-a", "uid-b", "uid-c", "uid-z"]).await;
    assert_eq!(discovery.told.workers.lock()["uid-c"].problem, None);
}

#[tokio::test]
async fn slow_list_delays_no_event() {
    let server = ApiServer::start().await;
    let discovery = watching(&server, FAST).await;
    server.delay_lists(Duration::from_secs(5));
    let (lists, _) = server.asked();
    discovery.until("an audit has begun", |_| server.asked().0 > lists).await;
    server.delete("pods", "a");
    server.put_pod(&pod("c", "uid-c", "10.0.0.3"));
    let told = discovery.status.figures().unwrap().lists;
    discovery.until_workers(&["uid-b", "uid-c"]).await;
    assert_eq!(discovery.status.figures().unwrap().lists, told, "before the list came");
    // The list is of before these changes, and undoes none of them.
    discovery.until("the list came", |_| discovery.status.figures().unwrap().lists > told).await;
    discovery.until_workers(&["uid-b", "uid-c"]).await;
}

#[tokio::test]
async fn unanswered_list_is_asked_for_again() {
    let server = ApiServer::start().await;
    server.put_pod(&pod("a", "uid-a", "10.0.0.1"));
    server.delay_lists(Duration::from_secs(3600));
    let timing = Timing { answer: Duration::from_millis(200), ..FAST };
    let discovery = Discovery::start_with(&server, config("app=sglang"), timing);
    discovery.until("it asks again", |_| server.asked().0 >= 2).await;
    assert_eq!(discovery.told.workers.lock().len(), 0);
    server.delay_lists(Duration::ZERO);
    discovery.until_workers(&["uid-a"]).await;
}

#[tokio::test]
async fn server_that_is_away_changes_nothing() {
    let server = ApiServer::start().await;
    let discovery = watching(&server, FAST).await;
    assert!(discovery.status.figures().unwrap().is_current);
    server.set_down(true);
    server.delete("pods", "a");
    server.put_pod(&pod("c", "uid-c", "10.0.0.3"));
    let failed = |figures: router_kubernetes::DiscoveryFigures| figures.failures >= 3 && !figures.is_current;
    discovery.until("it failed", |_| discovery.status.figures().is_some_and(failed)).await;
    assert!(discovery.told.workers.lock().keys().eq(["uid-a", "uid-b"]));
    server.set_down(false);
    discovery.until_workers(&["uid-b", "uid-c"]).await;
    discovery.until("it is current", |_| discovery.status.figures().unwrap().is_current).await;
}

#[tokio::test]
async fn renewed_token_is_read_again() {
    let server = ApiServer::start().await;
    let discovery = watching(&server, FAST).await;
    server.require_token("second");
    server.put_pod(&pod("c", "uid-c", "10.0.0.3"));
    let failed = |figures: router_kubernetes::DiscoveryFigures| figures.failures >= 2;
    discovery.until("it was refused", |_| discovery.status.figures().is_some_and(failed)).await;
    assert!(discovery.told.workers.lock().keys().eq(["uid-a", "uid-b"]));
    std::fs::write(discovery.folder.path().join("token"), "second").unwrap();
    discovery.until_workers(&["uid-a", "uid-b", "uid-c"]).await;
}

#[tokio::test]
async fn large_list_comes_in_pages() {
    let server = ApiServer::start().await;
    for n in 0..600 {
        let (name, uid) = (format!("p{n}"), format!("uid-{n:03}"));
        server.put_pod(&pod(&name, &uid, &format!("10.1.{}.{}", n / 250, n % 250)));
    }
    let discovery = Discovery::start_with(&server, config("app=sglang"), UNAUDITED);
    discovery.until("all", |workers| workers.len() == 600).await;
    assert_eq!(server.asked().0, 3);
}

#[tokio::test]
async fn service_says_who_serves() {
    let server = ApiServer::start().await;
    for (name, uid, ip) in
        [("a", "uid-a", "10.0.0.1"), ("b", "uid-b", "10.0.0.2"), ("c", "uid-c", "10.0.0.3")]
    {
        server.put_pod(&pod(name, uid, ip));
    }
    let up = || conditions(true, true, false);
    server.put("endpointslices", slice("s1", &[("uid-a", up())]));
    server.put("endpointslices", slice("s2", &[("uid-b", conditions(false, false, false))]));
    let config = router_config::DiscoveryConfig { service: Some("sglang".to_owned()), ..config("") };
    let discovery = Discovery::start_with(&server, config, FAST);
    discovery.until_workers(&["uid-a", "uid-b"]).await;
    assert!(
        discovery.told.workers.lock()["uid-b"].problem.is_some(),
        "the Service says that it is not ready"
    );
    assert!(discovery.told.history.lock().iter().any(|line| line.contains("eu-west-1a")), "the zone is told");
    // A pod moves to another slice, and another one comes.
    server.put("endpointslices", slice("s2", &[("uid-b", up()), ("uid-a", up()), ("uid-c", up())]));
    server.put("endpointslices", slice("s1", &[]));
    discovery.until_workers(&["uid-a", "uid-b", "uid-c"]).await;
    discovery.until("b is ready", |workers| workers["uid-b"].problem.is_none()).await;
    // It serves and terminates: no new requests.
    server.put("endpointslices", slice("s2", &[("uid-b", conditions(false, true, true)), ("uid-c", up())]));
    discovery.until_workers(&["uid-c"]).await;
    server.delete("endpointslices", "s2");
    discovery.until_workers(&[]).await;
}
