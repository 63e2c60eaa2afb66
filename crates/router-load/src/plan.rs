//! What is sent when: fixed before the first request leaves.

use crate::arrivals::{ArrivalProcess, seconds};
use crate::client::ClientName;
use crate::dataset::PromptSample;
use crate::prompt::{Prompt, tokens_of};
use crate::trace::{RequestTrace, TraceLine};
use router_core::Rng;
use std::collections::HashMap;
use std::time::Duration;

/// How the response is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResponseMode {
    /// In one piece.
    Whole,
    /// As a stream of events.
    Streamed,
}

/// One planned request.
#[derive(Clone, Debug)]
pub struct PlannedRequest {
    /// Arrival after the start. Ignored when arrivals are immediate.
    pub at: Duration,
    /// The prompt.
    pub prompt: Prompt,
    /// Length of the prompt in tokens, as planned.
    pub input_tokens: u32,
    /// Planned output tokens. Without an `output_limit` they are the limit that the request names, and the exact number when
    /// `ignore_eos` is set.
    pub output_tokens: u32,
    /// The limit of output tokens that the request names, where it tells nothing of the planned length. Then the prompt ends with
    /// the wish for a response of the planned length, and the server ends it.
    pub output_limit: Option<u32>,
    /// Who sends it: an index of [`LoadPlan::clients`].
    pub client: Option<usize>,
    /// Output tokens in the replayed trace.
    pub traced_output: Option<u32>,
    /// How the response is sent.
    pub response_mode: ResponseMode,
}

/// The requests of a load test: the same plan gives the same bytes at the same times.
#[derive(Clone, Debug)]
pub struct LoadPlan {
    /// The requests, in the order of their arrival.
    pub requests: Vec<PlannedRequest>,
    /// Whether requests are sent on time or as fast as possible.
    pub pacing: Pacing,
    /// The clients that send them; empty if they are not told apart.
    pub clients: Vec<ClientName>,
}

/// One request of a load of several clients, before it has an arrival.
#[derive(Clone, PartialEq, Debug)]
pub struct ClientSample {
    /// Its client: an index of the plan's clients.
    pub client: usize,
    /// The prompt and the planned output tokens.
    pub sample: PromptSample,
    /// The limit of output tokens that the request names.
    pub output_limit: u32,
    /// How the response is sent.
    pub response_mode: ResponseMode,
}

/// Whether arrivals are planned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pacing {
    /// Each request is sent at its time.
    Timed,
    /// Each request is sent as soon as the one before.
    Immediate,
}

impl LoadPlan {
    /// `samples` in their order, with times from `arrivals`; `streams` is the share of streamed responses, 0 to 1.
    pub fn paced(
        samples: impl IntoIterator<Item = PromptSample>,
        arrivals: ArrivalProcess,
        streams: f64,
        seed: u64,
    ) -> Self {
        let mut draw = StreamDraw::new(streams, seed);
        let requests = samples.into_iter().zip(arrivals.times(seed));
        let requests = requests.map(|(sample, at)| PlannedRequest::of(sample, at, draw.response_mode()));
        Self { requests: requests.collect(), pacing: Pacing::of(arrivals), clients: Vec::new() }
    }

    /// The requests of several clients in their order, with times from `arrivals`.
    pub fn of_clients(
        clients: Vec<ClientName>,
        samples: impl IntoIterator<Item = ClientSample>,
        arrivals: ArrivalProcess,
        seed: u64,
    ) -> Self {
        let requests = samples.into_iter().zip(arrivals.times(seed)).map(|(sample, at)| PlannedRequest {
            client: Some(sample.client),
            ..PlannedRequest::of(sample.sample, at, sample.response_mode).limited(Some(sample.output_limit))
        });
        Self { requests: requests.collect(), pacing: Pacing::of(arrivals), clients }
    }

    /// `trace` as it was, `speed` times as fast (2 = in half the time); its first request is sent at once. `streams` is the share
    /// of streamed responses, 0 to 1; without it a line says itself whether its response is streamed, and is if it does not.
    pub fn replay(trace: &RequestTrace, speed: f64, streams: Option<f64>, seed: u64) -> Self {
        let mut draw = streams.map(|share| StreamDraw::new(share, seed));
        let first = trace.lines.first().map_or(0.0, |line| line.arrival_s);
        let mut clients = PlanClients::default();
        let request = |(index, line): (usize, &TraceLine)| {
            let sample = PromptSample {
                prompt: line.prompt(seed.wrapping_add(index as u64)),
                input_tokens: line.input_tokens,
                output_tokens: line.output_tokens.max(1),
            };
            let mode = match &mut draw {
                Some(draw) => draw.response_mode(),
                None if line.stream == Some(false) => ResponseMode::Whole,
                None => ResponseMode::Streamed,
            };
            PlannedRequest {
                client: line.client.as_ref().map(|client| clients.index(client)),
                traced_output: Some(line.output_tokens),
                ..PlannedRequest::of(sample, seconds((line.arrival_s - first) / speed), mode)
                    .limited(line.max_tokens)
            }
        };
        let requests = trace.lines.iter().enumerate().map(request).collect();
        Self { requests, pacing: Pacing::Timed, clients: clients.names }
    }
}

impl PlannedRequest {
    fn of(sample: PromptSample, at: Duration, response_mode: ResponseMode) -> Self {
        Self {
            at,
            prompt: sample.prompt,
            input_tokens: sample.input_tokens,
            output_tokens: sample.output_tokens,
            output_limit: None,
            client: None,
            traced_output: None,
            response_mode,
        }
    }

    /// The same with a limit of its own, if there is one; the prompt makes room for the wish that it ends with.
    fn limited(mut self, limit: Option<u32>) -> Self {
        if limit.is_some() {
            self.prompt.shorten(tokens_of(&length_wish(self.output_tokens)));
        }
        Self { output_limit: limit, ..self }
    }
}

impl Pacing {
    fn of(arrivals: ArrivalProcess) -> Self {
        if arrivals == ArrivalProcess::Immediate { Self::Immediate } else { Self::Timed }
    }
}

/// The clients of a plan, in the order of their first requests.
#[derive(Default)]
struct PlanClients {
    names: Vec<ClientName>,
    indices: HashMap<ClientName, usize>,
}

impl PlanClients {
    fn index(&mut self, client: &ClientName) -> usize {
        if let Some(index) = self.indices.get(client) {
            return *index;
        }
        self.names.push(client.clone());
        self.indices.insert(client.clone(), self.names.len() - 1);
        self.names.len() - 1
    }
}

/// The last words of a prompt that wishes for a response of this length. No router reads them; an emulated server obeys them to
/// the token, a model about.
pub(crate) fn length_wish(output_tokens: u32) -> String {
    format!(" Answer in {output_tokens} words.")
}

impl LoadPlan {
    /// The same arrivals and lengths with other words in the prompts that are made up. What shared a prefix still does, but
    /// with no prompt of another seed, so that a server which saw those has nothing of these in its cache.
    #[must_use]
    pub fn with_prompt_seed(mut self, seed: u64) -> Self {
        self.requests.iter_mut().for_each(|request| request.prompt.reseed(seed));
        self
    }
}

/// Decides which responses are streamed.
struct StreamDraw {
    share: f64,
    rng: Rng,
}

impl StreamDraw {
    fn new(share: f64, seed: u64) -> Self {
        // Independent of the arrivals, which use the seed itself.
        Self { share, rng: Rng::seeded(seed ^ 0x5741_7265_616D_2121) }
    }

    fn response_mode(&mut self) -> ResponseMode {
        if self.rng.unit_f64() < self.share { ResponseMode::Streamed } else { ResponseMode::Whole }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arrivals::RequestRate;
    use crate::dataset::RandomShape;

    #[test]
    fn seed_fixes_plan_and_rate_is_met() {
        let shape = RandomShape { requests: 2000, ..RandomShape::default() };
        let arrivals = ArrivalProcess::Poisson(RequestRate::per_second(20.0).unwrap());
        let plan = |seed| LoadPlan::paced(shape.samples(seed), arrivals, 0.5, seed);
        let (a, b, c) = (plan(7), plan(7), plan(8));
        assert!(
            a.requests
                .iter()
                .zip(&b.requests)
                .all(|(x, y)| x.at == y.at && x.prompt.text() == y.prompt.text())
        );
        assert!(
            a.requests.iter().zip(&c.requests).skip(1).all(|(x, y)| x.at != y.at && x.prompt != y.prompt)
        );
        let span = a.requests.last().unwrap().at.as_secs_f64();
        assert!((90.0..110.0).contains(&span), "2000 arrivals at 20/s took {span} s");
        let streams = a.requests.iter().filter(|s| s.response_mode == ResponseMode::Streamed).count();
        assert!((900..1100).contains(&streams));
    }

    #[test]
    fn stream_share_zero_and_one_are_exact() {
        let of = |share| {
            let plan =
                LoadPlan::paced(RandomShape::default().samples(1), ArrivalProcess::Immediate, share, 1);
            plan.requests.iter().filter(|s| s.response_mode == ResponseMode::Streamed).count()
        };
        assert_eq!((of(0.0), of(1.0)), (0, 100));
    }

    #[test]
    fn replay_scales_gaps_and_starts_at_once() {
        let line = |arrival_s| TraceLine { arrival_s, input_tokens: 10, ..TraceLine::default() };
        let trace = RequestTrace { lines: vec![line(100.0), line(101.0), line(104.0)], bad: Vec::new() };
        let plan = LoadPlan::replay(&trace, 2.0, Some(1.0), 1);
        let at: Vec<f64> = plan.requests.iter().map(|s| s.at.as_secs_f64()).collect();
        assert_eq!(at, [0.0, 0.5, 2.0]);
        assert_eq!((plan.requests[0].output_tokens, plan.requests[0].traced_output), (1, Some(0)));
        assert!(plan.clients.is_empty() && plan.requests.iter().all(|request| request.client.is_none()));
    }

    #[test]
    fn replay_keeps_clients_limits_and_streams() {
        let line = |client: Option<&str>, stream| TraceLine {
            input_tokens: 100,
            output_tokens: 30,
            client: client.map(|name| name.parse().unwrap()),
            max_tokens: client.map(|_| 64),
            stream,
            ..TraceLine::default()
        };
        let lines = vec![
            line(Some("b"), Some(false)),
            line(None, None),
            line(Some("a"), None),
            line(Some("b"), None),
        ];
        let trace = RequestTrace { lines, bad: Vec::new() };
        let plan = LoadPlan::replay(&trace, 1.0, None, 1);
        assert_eq!(plan.clients.iter().map(AsRef::as_ref).collect::<Vec<_>>(), ["b", "a"]);
        let of = |of: fn(&PlannedRequest) -> Option<usize>| plan.requests.iter().map(of).collect::<Vec<_>>();
        assert_eq!(of(|r| r.client), [Some(0), None, Some(1), Some(0)]);
        let modes: Vec<_> = plan.requests.iter().map(|r| r.response_mode == ResponseMode::Streamed).collect();
        assert_eq!(modes, [false, true, true, true]);
        assert_eq!(plan.requests[1].output_limit, None);
        assert_eq!(plan.requests[0].output_limit, Some(64));
        let sent = tokens_of(&plan.requests[0].prompt.text()) + tokens_of(&length_wish(30));
        assert_eq!(sent, 100, "the wish is part of the prompt's length");
        let whole = LoadPlan::replay(&trace, 1.0, Some(0.0), 1);
        assert!(whole.requests.iter().all(|r| r.response_mode == ResponseMode::Whole), "the share wins");
    }
}
