//! The bounds in paused time.

use super::*;
use std::num::{NonZeroU32, NonZeroUsize};
use tokio::sync::mpsc;

fn config() -> AdmissionConfig {
    AdmissionConfig {
        max_concurrent: None,
        queue_size: 2,
        queue_timeout: Duration::from_secs(10),
        rate: None,
        worker_max_in_flight: router_core::InFlightCap::Unlimited,
        overload: router_core::OverloadBounds::OFF,
        batch_window: None,
        max_buffered: None,
    }
}

fn admission(config: AdmissionConfig) -> Admission {
    Admission::new(&config, WaitLimit::new(config.queue_size))
}

fn status<T>(result: Result<T, ProxyError>) -> u16 {
    result.err().map_or(0, |e| e.status().as_u16())
}

#[tokio::test(start_paused = true)]
async fn waiting_requests_are_admitted_in_order() {
    let admission = Arc::new(admission(AdmissionConfig { max_concurrent: NonZeroUsize::new(1), ..config() }));
    let running = admission.acquire().await.unwrap();
    let (tell, mut told) = mpsc::unbounded_channel();
    for n in 0..2 {
        let (queue, tell) = (Arc::clone(&admission), tell.clone());
        tokio::spawn(async move {
            let _permit = queue.acquire().await.unwrap();
            tell.send(n).unwrap();
        });
        while admission.waiting() <= n {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(status(admission.acquire().await), 429, "a third may not wait");
    assert_eq!(status(admission.reject_if_full()), 429);
    drop(running);
    assert_eq!((told.recv().await, told.recv().await), (Some(0), Some(1)));
    assert_eq!(status(admission.acquire().await), 0);
}

#[tokio::test(start_paused = true)]
async fn queue_wait_times_out() {
    let admission = admission(AdmissionConfig { max_concurrent: NonZeroUsize::new(1), ..config() });
    let _running = admission.acquire().await.unwrap();
    let began = Instant::now();
    assert_eq!(status(admission.acquire().await), 408);
    assert_eq!((began.elapsed().as_secs(), admission.waiting()), (10, 0));
}

#[tokio::test(start_paused = true)]
async fn rate_limit_allows_one_second_burst() {
    let admission = Arc::new(admission(AdmissionConfig { rate: NonZeroU32::new(4), ..config() }));
    let began = Instant::now();
    for _ in 0..4 {
        assert_eq!(status(admission.acquire().await), 0);
    }
    assert_eq!(began.elapsed().as_millis(), 0, "a full bucket lets a burst in");
    for n in 1..=8 {
        assert_eq!(status(admission.acquire().await), 0);
        assert_eq!(began.elapsed().as_millis() / 250, n);
    }
    tokio::time::advance(Duration::from_secs(60)).await;
    let rested = Instant::now();
    for _ in 0..4 {
        assert_eq!(status(admission.acquire().await), 0);
    }
    assert_eq!(rested.elapsed().as_millis(), 0, "a long rest fills the bucket and no more");
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let admission = Arc::clone(&admission);
            tokio::spawn(async move { status(admission.acquire().await) })
        })
        .collect();
    tokio::task::yield_now().await;
    assert_eq!(status(admission.acquire().await), 429);
    for request in waiting {
        assert_eq!(request.await.unwrap(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn too_long_wait_is_rejected() {
    let slow = AdmissionConfig { rate: NonZeroU32::new(1), queue_timeout: Duration::ZERO, ..config() };
    let admission = admission(slow);
    assert_eq!(status(admission.acquire().await), 0);
    assert_eq!(status(admission.acquire().await), 429);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(status(admission.acquire().await), 0, "the one that was refused took nothing");
}

#[test]
fn body_counts_until_last_part_drops() {
    let bodies = BodyMemory::new(NonZeroUsize::new(100_000));
    let mut small = bodies.reservation();
    small.reserve(10_000).unwrap();
    assert_eq!(bodies.held(), 0);
    let mut share = bodies.reservation();
    share.reserve(20_000).unwrap();
    share.reserve(60_000).unwrap();
    assert!(bodies.is_over(50_000) && !bodies.is_over(40_000) && !bodies.is_over(10_000));
    let mut other = bodies.reservation();
    assert_eq!(status(other.reserve(50_000)), 503);
    drop(other);
    let body = share.attach(bytes::Bytes::from(vec![7; 60_000]));
    let part = body.slice(10..20);
    drop(body);
    assert_eq!((bodies.held(), part[0]), (60_000, 7));
    drop(part);
    assert_eq!(bodies.held(), 0);
}
