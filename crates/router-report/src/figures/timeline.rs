//! Time series: rates and load in equal buckets of time.

use super::rounding::four_digits;
use crate::run::{RecordedRequest, RecordedRun};
use serde::Serialize;

/// The least number of buckets to aim for; rounding the width up can make up to 2.5 times fewer.
const MIN_BUCKETS: f64 = 30.0;
/// The largest number of buckets.
const MAX_BUCKETS: f64 = 240.0;
/// How many requests a bucket should contain on average, so that rates show more than noise.
const REQUESTS_PER_BUCKET: f64 = 5.0;

/// Where the number of waiting requests comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum WaitingSource {
    /// The workers reported it.
    Reported,
    /// It was counted from the time that each request spent in the queue.
    Counted,
}

/// The buckets of a run.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub(crate) struct TimeAxis {
    /// When the run started, by the clock of its file.
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
        let times = requests.chain(run.decisions.iter().map(|c| c.at)).flatten();
        let (first, last) = times.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), t| (a.min(t), b.max(t)));
        if first > last {
            return Self { start: 0.0, duration: 0.0, width: 1.0, buckets: 0 };
        }
        let duration = last - first;
        let wanted = (run.requests.len() as f64 / REQUESTS_PER_BUCKET).clamp(MIN_BUCKETS, MAX_BUCKETS);
        let width = round_up((duration / wanted).max(1e-6));
        Self { start: first, duration, width, buckets: (duration / width) as usize + 1 }
    }

    /// The bucket of a point in time.
    pub(super) fn bucket(&self, at: f64) -> usize {
        (((at - self.start) / self.width) as usize).min(self.buckets.saturating_sub(1))
    }

    /// Adds to `coverage` how much of each bucket lies between two points in time.
    fn cover(&self, coverage: &mut BucketCoverage, from: f64, to: f64) {
        let (first, last) = (self.bucket(from), self.bucket(to));
        let into = |at: f64, bucket: usize| ((at - self.start) / self.width - bucket as f64).clamp(0.0, 1.0);
        let (head, tail) = (into(from, first), into(to, last));
        if first == last {
            coverage.part[first] += tail - head;
        } else {
            coverage.part[first] += 1.0 - head;
            coverage.part[last] += tail;
            coverage.step[first + 1] += 1.0;
            coverage.step[last] -= 1.0;
        }
    }
}

/// 1, 2 or 5 times a power of ten, not below `value`.
fn round_up(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let step = [1.0, 2.0, 5.0].into_iter().find(|step| step * power >= value * (1.0 - 1e-9));
    // Rounding removes errors of the multiplication.
    four_digits(step.unwrap_or(10.0) * power)
}

/// How much of each bucket intervals cover: `part` for the buckets where they start and end, `step` (as differences) for
/// those that they cover fully.
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
            four_digits((whole + part).max(0.0))
        });
        sums.collect()
    }
}

/// What finished in each bucket, per second.
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
            series.iter_mut().for_each(|n| *n = four_digits(*n / axis.width));
        }
        rates
    }
}

/// The load in each bucket, as the mean over the bucket.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct LoadSeries {
    /// Requests sent and not finished.
    pub(crate) in_flight: Vec<f64>,
    /// Waiting requests; absent in a bucket without reports.
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
            Some(WaitingSource::Reported) => reported(requests, axis),
            Some(WaitingSource::Counted) => counted(requests, axis),
            None => Vec::new(),
        };
        Self { in_flight: in_flight.finish(), waiting }
    }
}

/// The mean of the reports in each bucket.
fn reported<'a>(requests: impl Iterator<Item = &'a RecordedRequest>, axis: &TimeAxis) -> Vec<Option<f64>> {
    let mut sums = vec![(0.0, 0_u32); axis.buckets];
    for request in requests {
        if let (Some(at), Some(length)) = (request.end, request.queue_length) {
            let (sum, n) = &mut sums[axis.bucket(at)];
            *sum += length;
            *n += 1;
        }
    }
    sums.into_iter().map(|(sum, n)| (n > 0).then(|| four_digits(sum / f64::from(n)))).collect()
}

/// Counts each request as waiting from when it was sent for the time that it spent in the queue.
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
    fn in_flight_is_mean_over_bucket() {
        let requests = [request(10.0, 13.5), request(10.5, 10.75), request(12.0, 13.0)];
        let load = LoadSeries::of(requests.iter(), &AXIS, None);
        assert_eq!(load.in_flight, [1.25, 1.0, 2.0, 0.5, 0.0]);
    }

    #[test]
    fn rates_separate_successes_and_failures() {
        let failed = RecordedRequest { ok: false, start: Some(11.0), ..RecordedRequest::default() };
        let rates = RateSeries::of(&[request(10.0, 10.5), request(10.0, 12.0), failed], &AXIS);
        assert_eq!(rates.requests, [1.0, 0.0, 1.0, 0.0, 0.0]);
        assert_eq!(rates.tokens, [8.0, 0.0, 8.0, 0.0, 0.0]);
        assert_eq!(rates.failures, [0.0, 1.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn buckets_without_reports_are_unknown() {
        let reported = RecordedRequest { queue_length: Some(4.0), ..request(10.0, 11.5) };
        let load = LoadSeries::of([reported].iter(), &AXIS, Some(WaitingSource::Reported));
        assert_eq!(load.waiting, [None, Some(4.0), None, None, None]);
        let counted = RecordedRequest { queue_time: Some(1.5), ..request(10.0, 13.0) };
        let load = LoadSeries::of([counted].iter(), &AXIS, Some(WaitingSource::Counted));
        assert_eq!(load.waiting, [1.0, 0.5, 0.0, 0.0, 0.0].map(Some));
    }

    #[test]
    fn bucket_widths_are_round() {
        for (least, width) in [(0.5, 0.5), (0.09, 0.1), (30.0, 50.0), (2.1, 5.0), (1e-6, 1e-6)] {
            assert!((round_up(least) - width).abs() < 1e-12, "{least}");
        }
    }
}
