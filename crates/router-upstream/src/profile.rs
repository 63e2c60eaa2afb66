//! What the router knows about a worker: what the operator said, and what the worker reports itself.

use http::HeaderValue;
use router_config::{
    Engine, Ranks, WorkerKind, WorkerSpec, WorkerSpecError, WorkerUpdate, bearer, not_negative,
};
use router_core::{WorkerCapacity, WorkerInfo};
use router_protocol::ServerInfo;
use std::collections::BTreeMap;
use std::num::NonZeroU32;

/// More ranks than any engine has: who claims that many is not believed.
const MOST_RANKS: u32 = 1024;

/// Everything known about a worker but its state.
#[derive(Clone, Debug)]
pub struct Profile {
    pub weight: f64,
    pub priority: u32,
    pub cost: f64,
    pub labels: BTreeMap<String, String>,
    /// What part of a request it does.
    pub kind: WorkerKind,
    /// What people say it serves.
    model: Option<String>,
    /// What people say it runs.
    runtime: Option<Engine>,
    /// The port of its bootstrap server, if it reads prompts for others.
    pub bootstrap_port: Option<u16>,
    /// Its data-parallel ranks as candidates; absent where it is one as a whole.
    pub ranked: Option<Ranks>,
    /// The worker's own `authorization`; marked as sensitive, so that no log shows it.
    pub authorization: Option<HeaderValue>,
    /// What it says itself.
    pub told: ServerInfo,
    /// What its answers to questions look like.
    pub guessed: Option<Engine>,
}

impl Profile {
    /// What is known before the worker has been asked. Without a key of its own it gets the `usual` one, and its ranks are
    /// candidates where all workers' are.
    pub fn new(
        spec: &WorkerSpec,
        usual: Option<&HeaderValue>,
        ranks: Option<Ranks>,
    ) -> Result<Self, WorkerSpecError> {
        not_negative("weight", spec.weight)?;
        not_negative("cost", spec.cost)?;
        Ok(Self {
            weight: spec.weight,
            priority: spec.priority,
            cost: spec.cost,
            labels: spec.labels.clone(),
            kind: spec.worker_type,
            model: spec.model_id.clone(),
            runtime: spec.runtime,
            bootstrap_port: spec.bootstrap_port,
            ranked: spec.ranks(ranks)?,
            authorization: match &spec.api_key {
                Some(own) => Some(bearer(own)?),
                None => usual.cloned(),
            },
            told: ServerInfo::default(),
            guessed: None,
        })
    }

    /// The engine, as far as known.
    pub fn engine(&self) -> Option<Engine> {
        self.runtime.or(self.guessed)
    }

    /// The model, as far as known.
    pub fn model(&self) -> Option<&str> {
        self.model.as_deref().or(self.told.model.as_deref())
    }

    /// Whether its ranks are to be candidates of their own, if it has any.
    pub const fn is_ranked(&self) -> bool {
        self.ranked.is_some()
    }

    /// How many ranks are candidates of their own; absent where the worker is one as a whole.
    pub fn ranks(&self) -> Option<u32> {
        let size = self.ranked?.size.map(NonZeroU32::get).or(self.told.dp_size);
        size.filter(|size| (2..=MOST_RANKS).contains(size))
    }

    /// What the balancer is told of each candidate.
    pub fn capacity(&self) -> WorkerCapacity {
        let told = &self.told;
        let one_rank = self.ranks().and(told.max_running_per_rank);
        WorkerCapacity {
            weight: self.weight,
            priority: self.priority,
            max_running_requests: one_rank.or(told.max_running_requests),
            max_total_tokens: told.max_total_tokens,
        }
    }

    /// What the balancer is told when it joins under `name`.
    pub fn info(&self, name: &str) -> WorkerInfo {
        WorkerInfo { weight: self.weight, priority: self.priority, ..WorkerInfo::new(name) }
    }

    /// The same with what somebody changed.
    pub fn updated(&self, update: WorkerUpdate) -> Result<Self, WorkerSpecError> {
        let mut new = self.clone();
        if let Some(weight) = update.weight {
            not_negative("weight", weight)?;
            new.weight = weight;
        }
        if let Some(cost) = update.cost {
            not_negative("cost", cost)?;
            new.cost = cost;
        }
        new.priority = update.priority.unwrap_or(new.priority);
        new.labels = update.labels.unwrap_or(new.labels);
        if let Some(key) = update.api_key {
            new.authorization = Some(bearer(&key)?);
        }
        Ok(new)
    }
}
