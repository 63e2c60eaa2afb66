//! Time to push and drain records, for the recorder's queue and for the queues of `crossbeam-queue`.
//!
//! `cargo bench -p router-telemetry`. Each iteration pushes 40,000 values from two threads while a third one drains them
//! and polls every 20 ms when the queue is empty, as the recorder does. A value has the size of a large record.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use crossbeam_queue::{ArrayQueue, SegQueue};
use router_telemetry::BatchQueue;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

const PUSHES: usize = 20_000;
const PRODUCERS: usize = 2;
const POLL: Duration = Duration::from_millis(20);

/// The bytes of one record.
type Payload = [u64; 64];

/// The time from the first push to the last; the drain runs beside it.
fn run(push: impl Fn(Payload) + Sync, drain: impl Fn() -> usize + Sync) -> Duration {
    let barrier = Barrier::new(PRODUCERS + 1);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut drained = 0;
            while drained < PUSHES * PRODUCERS {
                match drain() {
                    0 => thread::park_timeout(POLL),
                    n => drained += n,
                }
            }
        });
        let producers = [(); PRODUCERS].map(|()| {
            scope.spawn(|| {
                barrier.wait();
                (0..PUSHES).for_each(|n| push([n as u64; 64]));
            })
        });
        barrier.wait();
        let start = Instant::now();
        producers.into_iter().for_each(|producer| drop(producer.join()));
        start.elapsed()
    })
}

fn batch_queue() -> Duration {
    let queue = BatchQueue::default();
    let drain = || {
        queue.take().map_or(0, |batch| {
            let n = batch.len();
            std::hint::black_box(&batch);
            queue.give_back(batch);
            n
        })
    };
    run(|value| assert_eq!(queue.push(value), Ok(())), drain)
}

fn array_queue() -> Duration {
    let queue = ArrayQueue::new(BatchQueue::<Payload>::CAPACITY);
    run(
        |value| assert!(queue.push(value).is_ok()),
        || queue.pop().map_or(0, |value| std::hint::black_box(value).len() / 64),
    )
}

fn seg_queue() -> Duration {
    let queue = SegQueue::new();
    run(|value| queue.push(value), || queue.pop().map_or(0, |value| std::hint::black_box(value).len() / 64))
}

fn bench(c: &mut Criterion) {
    let mut group = c.benchmark_group("record_queue");
    group.throughput(Throughput::Elements((PUSHES * PRODUCERS) as u64)).sample_size(10);
    for (name, push_all) in [
        ("BatchQueue", batch_queue as fn() -> Duration),
        ("ArrayQueue", array_queue),
        ("SegQueue", seg_queue),
    ] {
        group.bench_function(name, |b| b.iter_custom(|iterations| (0..iterations).map(|_| push_all()).sum()));
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
