//! What happened when: equal buckets of time, and how much fell into each.

use super::{WaitingSource, short};
use crate::run::{RecordedRequest, RecordedRun};
use serde::Serialize;

/// How many buckets are aimed at, at least and at most; up to two and a half times fewer are made.
const BUCKETS: (f64, f64) = (30.0, 240.0);
/// How many ends a bucket should have, so that rates show more than chance.
const PER_BUCKET: f64 = 5.0;

/// The buckets of a run.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub(crate) struct TimeAxis {
    /// When the run began, by the clock of its file.
    pub(crate) start: f64,
    /// How long it took, in seconds.
    pub(crate) duration: f64,
    /// Seconds in a bucket: 1, 2 or 5 times a power of ten.
    pub(crate) width: f64,
    /// How many buckets there are.
    pub(crate) buckets: usize,
}

impl TimeAxis {
    pub(crate) fn of(run: &RecordedRun) -> Self {
        let requests = run.requests.iter().flat_map(|r| [r.start, r.end]);
        let times = requests.chain(run.choices.iter().map(|c| c.at)).flatten();
        let (first, last) = times.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), t| (a.min(t), b.max(t)));
        if first > last {
            return Self { start: 0.0, duration: 0.0, width: 1.0, buckets: 0 };
        }
        let duration = last - first;
        let wanted = (run.requests.len() as f64 / PER_BUCKET).clamp(BUCKETS.0, BUCKETS.1);
        let width = round_up((duration / wanted).max(1e-6));
        Self { start: first, duration, width, buckets: (duration / width) as usize + 1 }
    }

    /// The bucket of a moment.
    fn bucket(&self, at: f64) -> usize {
        (((at - self.start) / self.width) as usize).min(self.buckets.saturating_sub(1))
    }

    /// Adds to `mean` how much of each bucket lies between two moments.
    fn cover(&self, mean: &mut BucketCoverage, from: f64, to: f64) {
        let (first, last) = (self.bucket(from), self.bucket(to));
        let into = |at: f64, bucket: usize| ((at - self.start) / self.width - bucket as f64).clamp(0.0, 1.0);
        let (head, tail) = (into(from, first), into(to, last));
        if first == last {
            mean.part[first] += tail - head;
        } else {
            mean.part[first] += 1.0 - head;
            mean.part[last] += tail;
            mean.step[first + 1] += 1.0;
            mean.step[last] -= 1.0;
        }
    }
}

/// 1, 2 or 5 times a power of ten, not below `value`.
fn round_up(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let step = [1.0, 2.0, 5.0].into_iter().find(|step| step * power >= value * (1.0 - 1e-9));
    // Through text, so that a tenth is a tenth.
    short(step.unwrap_or(10.0) * power)
}

/// How much of each bucket intervals cover: `part` what they begin and end in, `step` where they cover buckets whole.
struct BucketCoverage {
    part: Vec<f64>,
    step: Vec<f64>,
}

impl BucketCoverage {
    fn new(buckets: usize) -> Self {
        Self { part: vec![0.0; buckets], step: vec![0.0; buckets + 1] }
    }

    fn finish(self) -> Vec<f64> {
        let mut whole = 0.0;
        let sums = self.part.iter().zip(&self.step).map(|(part, step)| {
            whole += step;
            short((whole + part).max(0.0))
        });
        sums.collect()
    }
}

/// What ended in each bucket, per second.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct RateSeries {
    pub(crate) requests: Vec<f64>,
    pub(crate) tokens: Vec<f64>,
    pub(crate) failures: Vec<f64>,
}

impl RateSeries {
    pub(crate) fn of(requests: &[RecordedRequest], axis: &TimeAxis) -> Self {
        let empty = || vec![0.0; axis.buckets];
        let mut rates = Self { requests: empty(), tokens: empty(), failures: empty() };
        for request in requests {
            let Some(at) = request.end.or(request.start).map(|at| axis.bucket(at)) else { continue };
            if request.ok {
                rates.requests[at] += 1.0;
                rates.tokens[at] += request.output_tokens.unwrap_or(0.0);
            } else {
                rates.failures[at] += 1.0;
            }
        }
        for series in [&mut rates.requests, &mut rates.tokens, &mut rates.failures] {
            series.iter_mut().for_each(|n| *n = short(*n / axis.width));
        }
        rates
    }
}

/// How much was going on in each bucket, on average over the bucket.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct LoadSeries {
    /// Requests sent and not ended.
    pub(crate) in_flight: Vec<f64>,
    /// Requests waiting; absent in a bucket in which no worker told.
    pub(crate) waiting: Vec<Option<f64>>,
}

impl LoadSeries {
    pub(crate) fn of<'a>(
        requests: impl Iterator<Item = &'a RecordedRequest> + Clone,
        axis: &TimeAxis,
        waiting: Option<WaitingSource>,
    ) -> Self {
        let mut in_flight = BucketCoverage::new(axis.buckets);
        for request in requests.clone() {
            if let (Some(start), Some(end)) = (request.start, request.end) {
                axis.cover(&mut in_flight, start, end.max(start));
            }
        }
        let waiting = match waiting {
            Some(WaitingSource::Told) => told(requests, axis),
            Some(WaitingSource::Counted) => counted(requests, axis),
            None => Vec::new(),
        };
        Self { in_flight: in_flight.finish(), waiting }
    }
}

/// The mean of what was told in each bucket.
fn told<'a>(requests: impl Iterator<Item = &'a RecordedRequest>, axis: &TimeAxis) -> Vec<Option<f64>> {
    let mut sums = vec![(0.0, 0_u32); axis.buckets];
    for request in requests {
        if let (Some(at), Some(length)) = (request.end, request.queue_length) {
            let (sum, n) = &mut sums[axis.bucket(at)];
            *sum += length;
            *n += 1;
        }
    }
    sums.into_iter().map(|(sum, n)| (n > 0).then(|| short(sum / f64::from(n)))).collect()
}

/// Each request waits from when it was sent for as long as it was in the queue.
fn counted<'a>(requests: impl Iterator<Item = &'a RecordedRequest>, axis: &TimeAxis) -> Vec<Option<f64>> {
    let mut waiting = BucketCoverage::new(axis.buckets);
    for request in requests {
        if let (Some(start), Some(queue)) = (request.start, request.queue_time) {
            axis.cover(&mut waiting, start, start + queue.max(0.0));
        }
    }
    waiting.finish().into_iter().map(Some).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const AXIS: TimeAxis = TimeAxis { start: 10.0, duration: 4.0, width: 1.0, buckets: 5 };

    fn request(start: f64, end: f64) -> RecordedRequest {
        RecordedRequest {
            ok: true,
            start: Some(start),
            end: Some(end),
            output_tokens: Some(8.0),
            ..RecordedRequest::default()
        }
    }

    #[test]
    fn what_is_in_flight_is_the_mean_over_each_bucket() {
        let requests = [request(10.0, 13.5), request(10.5, 10.75), request(12.0, 13.0)];
        let load = LoadSeries::of(requests.iter(), &AXIS, None);
        assert_eq!(load.in_flight, [1.25, 1.0, 2.0, 0.5, 0.0]);
    }

    #[test]
    fn rates_count_successes_and_failures_apart() {
        let failed = RecordedRequest { ok: false, start: Some(11.0), ..RecordedRequest::default() };
        let rates = RateSeries::of(&[request(10.0, 10.5), request(10.0, 12.0), failed], &AXIS);
        assert_eq!(rates.requests, [1.0, 0.0, 1.0, 0.0, 0.0]);
        assert_eq!(rates.tokens, [8.0, 0.0, 8.0, 0.0, 0.0]);
        assert_eq!(rates.failures, [0.0, 1.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn a_queue_that_was_told_is_told_and_one_that_was_not_is_unknown() {
        let told = RecordedRequest { queue_length: Some(4.0), ..request(10.0, 11.5) };
        let load = LoadSeries::of([told].iter(), &AXIS, Some(WaitingSource::Told));
        assert_eq!(load.waiting, [None, Some(4.0), None, None, None]);
        let counted = RecordedRequest { queue_time: Some(1.5), ..request(10.0, 13.0) };
        let load = LoadSeries::of([counted].iter(), &AXIS, Some(WaitingSource::Counted));
        assert_eq!(load.waiting, [1.0, 0.5, 0.0, 0.0, 0.0].map(Some));
    }

    #[test]
    fn buckets_are_round() {
        for (least, width) in [(0.5, 0.5), (0.09, 0.1), (30.0, 50.0), (2.1, 5.0), (1e-6, 1e-6)] {
            assert!((round_up(least) - width).abs() < 1e-12, "{least}");
        }
    }
}
