//! The bounds in paused time.

use super::seats::Vacancy;
use super::*;
use router_core::NoWorker;
use std::cell::Cell;
use std::num::{NonZeroU32, NonZeroUsize};
use tokio::sync::mpsc;

fn config() -> AdmissionConfig {
    AdmissionConfig {
        max_concurrent: None,
        queue_size: 2,
        queue_timeout: Duration::from_secs(10),
        rate: None,
        worker_max_in_flight: None,
        max_buffered: None,
    }
}

fn status<T>(result: Result<T, ProxyError>) -> u16 {
    result.err().map_or(0, |e| e.status().as_u16())
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_come_in_in_the_order_in_which_they_came() {
    let admission =
        Arc::new(Admission::new(AdmissionConfig { max_concurrent: NonZeroUsize::new(1), ..config() }));
    let running = admission.enter().await.unwrap();
    let (tell, mut told) = mpsc::unbounded_channel();
    for n in 0..2 {
        let (queue, tell) = (Arc::clone(&admission), tell.clone());
        tokio::spawn(async move {
            let _permit = queue.enter().await.unwrap();
            tell.send(n).unwrap();
        });
        while admission.waiting() <= n {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(status(admission.enter().await), 429, "a third may not wait");
    assert_eq!(status(admission.glance()), 429);
    drop(running);
    assert_eq!((told.recv().await, told.recv().await), (Some(0), Some(1)));
    assert_eq!(status(admission.enter().await), 0);
}

#[tokio::test(start_paused = true)]
async fn a_wait_has_an_end() {
    let admission = Admission::new(AdmissionConfig { max_concurrent: NonZeroUsize::new(1), ..config() });
    let _running = admission.enter().await.unwrap();
    let began = Instant::now();
    assert_eq!(status(admission.enter().await), 408);
    assert_eq!((began.elapsed().as_secs(), admission.waiting()), (10, 0));
}

#[tokio::test(start_paused = true)]
async fn a_second_holds_as_many_requests_as_the_rate_says() {
    let admission = Arc::new(Admission::new(AdmissionConfig { rate: NonZeroU32::new(4), ..config() }));
    let began = Instant::now();
    for _ in 0..4 {
        assert_eq!(status(admission.enter().await), 0);
    }
    assert_eq!(began.elapsed().as_millis(), 0, "a full bucket lets a burst in");
    for n in 1..=8 {
        assert_eq!(status(admission.enter().await), 0);
        assert_eq!(began.elapsed().as_millis() / 250, n);
    }
    tokio::time::advance(Duration::from_secs(60)).await;
    let rested = Instant::now();
    for _ in 0..4 {
        assert_eq!(status(admission.enter().await), 0);
    }
    assert_eq!(rested.elapsed().as_millis(), 0, "a long rest fills the bucket and no more");
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let admission = Arc::clone(&admission);
            tokio::spawn(async move { status(admission.enter().await) })
        })
        .collect();
    tokio::task::yield_now().await;
    assert_eq!(status(admission.enter().await), 429);
    for request in waiting {
        assert_eq!(request.await.unwrap(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_would_be_too_long_is_not_begun() {
    let slow = AdmissionConfig { rate: NonZeroU32::new(1), queue_timeout: Duration::ZERO, ..config() };
    let admission = Admission::new(slow);
    assert_eq!(status(admission.enter().await), 0);
    assert_eq!(status(admission.enter().await), 429);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(status(admission.enter().await), 0, "the one that was refused took nothing");
}

#[tokio::test(start_paused = true)]
async fn a_full_fleet_is_waited_for_in_order_and_not_for_ever() {
    let capped = AdmissionConfig { worker_max_in_flight: NonZeroU32::new(1), ..config() };
    let seats = Admission::new(capped).seats;
    let free = Cell::new(1_u32);
    let later = || Vacancy::Later;
    let dispatch = || free.get().checked_sub(1).map(|left| free.set(left)).ok_or(NoWorker);
    assert!(seats.take(later, dispatch).await.is_ok());
    let (mut first, mut second) =
        (Box::pin(seats.take(later, dispatch)), Box::pin(seats.take(later, dispatch)));
    let soon = Duration::from_millis(1);
    assert!(tokio::time::timeout(soon, &mut first).await.is_err(), "there is no room");
    assert!(tokio::time::timeout(soon, &mut second).await.is_err());
    let third = seats.take(later, dispatch).await;
    assert!(third.is_err_and(|e| e.is_some_and(|e| e.status().as_u16() == 503)), "the queue is full");
    free.set(1);
    seats.freed();
    assert!(tokio::time::timeout(soon, &mut second).await.is_err(), "nobody overtakes");
    assert!(first.await.is_ok());
    let began = Instant::now();
    assert!(second.await.is_err_and(|e| e.is_some()));
    assert!(began.elapsed() <= Duration::from_secs(10));
    assert!(seats.take(|| Vacancy::Never, dispatch).await.is_err_and(|e| e.is_none()), "nobody to wait for");
}

#[test]
fn a_body_counts_until_its_last_part_is_gone() {
    let bodies = Bodies::new(NonZeroUsize::new(100_000));
    let mut small = bodies.share();
    small.grow(10_000).unwrap();
    assert_eq!(bodies.held(), 0);
    let mut share = bodies.share();
    share.grow(20_000).unwrap();
    share.grow(60_000).unwrap();
    assert!(bodies.refuses(50_000) && !bodies.refuses(40_000) && !bodies.refuses(10_000));
    let mut other = bodies.share();
    assert_eq!(status(other.grow(50_000)), 503);
    drop(other);
    let body = share.keep(bytes::Bytes::from(vec![7; 60_000]));
    let part = body.slice(10..20);
    drop(body);
    assert_eq!((bodies.held(), part[0]), (60_000, 7));
    drop(part);
    assert_eq!(bodies.held(), 0);
}
