//! Which requests of two runs are the same request of the load.

use crate::run::{RecordedRequest, RecordedRun};
use serde::Serialize;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// The share of the requests of the smaller run that must be in both.
const MIN_SHARED: f64 = 0.5;
/// The share of the pairs that may have other lengths; more is another load.
const MAX_OTHER_LENGTHS: f64 = 0.01;

/// How requests of two runs stand to each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PairingMethod {
    /// Each request with the same one of the other run.
    Paired,
    /// As two samples.
    Separate,
}

/// One of two runs that are compared.
pub(super) struct ComparedRun<'a> {
    pub(super) run: &'a RecordedRun,
    /// Its requests in the order in which they were sent, each once.
    pub(super) requests: Vec<RecordedRequest>,
}

impl<'a> ComparedRun<'a> {
    pub(super) fn of(run: &'a RecordedRun) -> Self {
        Self { run, requests: final_requests(run) }
    }

    pub(super) fn name(&self) -> &'a str {
        &self.run.name
    }
}

/// The requests of a run in the order in which they were sent. Of several attempts at one, the one that succeeded or the
/// last; a key that two requests have is no key.
fn final_requests(run: &RecordedRun) -> Vec<RecordedRequest> {
    let mut all: Vec<RecordedRequest> = Vec::with_capacity(run.requests.len());
    let mut at: HashMap<u64, usize> = HashMap::new();
    for request in &run.requests {
        let Some(key) = request.key else {
            all.push(*request);
            continue;
        };
        match at.entry(key) {
            Entry::Vacant(slot) => {
                slot.insert(all.len());
                all.push(*request);
            }
            Entry::Occupied(slot) => {
                let known = &mut all[*slot.get()];
                if known.attempt == request.attempt {
                    known.key = None;
                    all.push(RecordedRequest { key: None, ..*request });
                } else if (request.ok, request.attempt) > (known.ok, known.attempt) {
                    *known = *request;
                }
            }
        }
    }
    all.sort_by(|a, b| a.start.unwrap_or(f64::MAX).total_cmp(&b.start.unwrap_or(f64::MAX)));
    all
}

/// The same request of two runs.
pub(super) type Pair<'a> = (&'a RecordedRequest, &'a RecordedRequest);

/// The requests of two runs that are the same, with those of the first run in front.
pub(super) fn matched<'a>(a: &'a [RecordedRequest], b: &'a [RecordedRequest]) -> Vec<Pair<'a>> {
    let others: HashMap<u64, &RecordedRequest> =
        b.iter().filter_map(|request| Some((request.key?, request))).collect();
    a.iter().filter_map(|request| Some((request, *others.get(&request.key?)?))).collect()
}

/// The share of the pairs whose planned lengths differ; absent where none is known.
pub(super) fn other_lengths(pairs: &[Pair<'_>]) -> Option<f64> {
    let known =
        || pairs.iter().filter(|(a, b)| a.planned != Default::default() && b.planned != Default::default());
    let differing = known().filter(|(a, b)| a.planned != b.planned).count();
    let known = known().count();
    (known > 0).then(|| differing as f64 / known as f64)
}

/// How the requests of two runs stand to each other.
pub(super) enum Pairing<'a> {
    /// The requests that succeeded in both runs.
    Paired { pairs: Vec<Pair<'a>>, left_out: u64 },
    /// They are not the same requests.
    Separate { why: String },
}

impl<'a> Pairing<'a> {
    pub(super) fn of(a: &'a [RecordedRequest], b: &'a [RecordedRequest]) -> Self {
        let matched = matched(a, b);
        let smaller = a.len().min(b.len());
        if (matched.len() as f64) < MIN_SHARED * smaller as f64 || matched.is_empty() {
            let why = format!("{} of {smaller} requests are in both runs by their ids", matched.len());
            return Self::Separate { why };
        }
        if let Some(share) = other_lengths(&matched).filter(|share| *share > MAX_OTHER_LENGTHS) {
            let why =
                format!("{:.0} % of the requests with the same number have other lengths", share * 100.0);
            return Self::Separate { why };
        }
        let in_either = a.len() + b.len() - matched.len();
        let pairs: Vec<_> = matched.into_iter().filter(|(a, b)| a.ok && b.ok).collect();
        if pairs.is_empty() {
            return Self::Separate { why: "no request succeeded in both runs".to_owned() };
        }
        Self::Paired { left_out: (in_either - pairs.len()) as u64, pairs }
    }

    pub(super) const fn method(&self) -> PairingMethod {
        match self {
            Self::Paired { .. } => PairingMethod::Paired,
            Self::Separate { .. } => PairingMethod::Separate,
        }
    }

    pub(super) fn why_separate(&self) -> String {
        match self {
            Self::Paired { .. } => String::new(),
            Self::Separate { why } => why.clone(),
        }
    }

    pub(super) const fn left_out(&self) -> u64 {
        match self {
            Self::Paired { left_out, .. } => *left_out,
            Self::Separate { .. } => 0,
        }
    }
}
