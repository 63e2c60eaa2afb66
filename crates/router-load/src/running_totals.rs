//! The running columns: throughput of each worker, and of all together, up to the end of each request.
//!
//! The formulas were derived from recorded runs of an earlier tool and hold for each of their rows: at the
//! moment `t` at which a request ends, `PREFILL_THROUGHPUT` is the prompt tokens of all requests that have ended by
//! `t`, divided by `t`; `DECODE_THROUGHPUT` is the same of output tokens; `AVG_LATENCY` is `t` divided by their number
//! (so it is a time per request of the whole system, not the mean of `total_latency`); `prefill_token_throughput` and
//! `decode_token_throughput` are the first two over the requests of the same worker.

use std::collections::HashMap;

/// A successful request.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct CompletedRequest<'a> {
    /// When it ended, in seconds from the start of the load.
    pub finished: f64,
    /// The worker that responded; `None` = not reported.
    pub worker: Option<&'a str>,
    /// Prompt tokens; `None` = not reported.
    pub prompt_tokens: Option<u64>,
    /// Generated tokens; `None` = not reported.
    pub output_tokens: Option<u64>,
}

/// The running columns of one row. Absent where the row's own count or worker is unknown.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct RunningTotals {
    /// `PREFILL_THROUGHPUT`, tokens per second.
    pub prefill: Option<f64>,
    /// `DECODE_THROUGHPUT`, tokens per second.
    pub decode: Option<f64>,
    /// `AVG_LATENCY`, seconds per request.
    pub latency: Option<f64>,
    /// `prefill_token_throughput`, tokens per second of the row's worker.
    pub worker_prefill: Option<f64>,
    /// `decode_token_throughput`, tokens per second of the row's worker.
    pub worker_decode: Option<f64>,
}

#[derive(Clone, Copy, Default)]
struct TokenSums {
    requests: u64,
    prompt: u64,
    output: u64,
}

impl TokenSums {
    fn add(&mut self, done: &CompletedRequest<'_>) {
        self.requests += 1;
        self.prompt += done.prompt_tokens.unwrap_or(0);
        self.output += done.output_tokens.unwrap_or(0);
    }
}

/// The running columns of every row; `None` stands for a failed request, whose columns stay empty.
pub fn running_totals(rows: &[Option<CompletedRequest<'_>>]) -> Vec<RunningTotals> {
    let mut order: Vec<(usize, &CompletedRequest<'_>)> =
        rows.iter().enumerate().filter_map(|(i, done)| Some((i, done.as_ref()?))).collect();
    order.sort_by(|(_, a), (_, b)| a.finished.total_cmp(&b.finished));
    let (mut all, mut by_worker) = (TokenSums::default(), HashMap::<&str, TokenSums>::new());
    let mut columns = vec![RunningTotals::default(); rows.len()];
    // Requests that end in the same instant have all ended by then.
    for together in order.chunk_by(|(_, a), (_, b)| a.finished == b.finished) {
        for (_, done) in together {
            all.add(done);
            if let Some(worker) = done.worker {
                by_worker.entry(worker).or_default().add(done);
            }
        }
        for (index, done) in together {
            let own = done.worker.and_then(|worker| by_worker.get(worker));
            columns[*index] = row(done, &all, own);
        }
    }
    columns
}

fn row(done: &CompletedRequest<'_>, all: &TokenSums, own: Option<&TokenSums>) -> RunningTotals {
    let t = done.finished;
    let per_second = |tokens: Option<u64>, sum: u64| tokens.filter(|_| t > 0.0).map(|_| sum as f64 / t);
    RunningTotals {
        prefill: per_second(done.prompt_tokens, all.prompt),
        decode: per_second(done.output_tokens, all.output),
        latency: (all.requests > 0).then(|| t / all.requests as f64),
        worker_prefill: own.and_then(|own| per_second(done.prompt_tokens, own.prompt)),
        worker_decode: own.and_then(|own| per_second(done.output_tokens, own.output)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(finished: f64, worker: Option<&str>, tokens: Option<u64>) -> Option<CompletedRequest<'_>> {
        Some(CompletedRequest {
            finished,
            worker,
            prompt_tokens: tokens,
            output_tokens: tokens.map(|n| n * 2),
        })
    }

    #[test]
    fn row_counts_requests_ended_by_its_end() {
        let rows =
            [done(2.0, Some("a"), Some(10)), None, done(1.0, Some("b"), Some(4)), done(4.0, None, None)];
        let columns = running_totals(&rows);
        assert_eq!(
            columns[0],
            RunningTotals {
                prefill: Some(7.0),
                decode: Some(14.0),
                latency: Some(1.0),
                worker_prefill: Some(5.0),
                worker_decode: Some(10.0),
            }
        );
        assert_eq!(columns[1], RunningTotals::default());
        assert_eq!(columns[2].prefill, Some(4.0));
        assert_eq!((columns[3].prefill, columns[3].worker_prefill), (None, None), "unknown stays unknown");
        assert_eq!(columns[3].latency, Some(4.0 / 3.0));
    }

    #[test]
    fn simultaneous_ends_count_each_other() {
        let columns = running_totals(&[done(1.0, Some("a"), Some(1)), done(1.0, Some("a"), Some(2))]);
        assert_eq!((columns[0].prefill, columns[1].worker_prefill), (Some(3.0), Some(3.0)));
    }
}
