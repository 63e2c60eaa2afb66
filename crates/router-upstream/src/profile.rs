//! What the router knows about a worker: its configuration, and what the worker reports about itself.

use crate::served_models::ServedModels;
use http::HeaderValue;
use router_config::{
    Engine, Ranks, WorkerKind, WorkerSpec, WorkerSpecError, WorkerUpdate, bearer, not_negative,
};
use router_core::{WorkerCapacity, WorkerInfo};
use router_protocol::{ListedModel, ServerInfo};
use std::collections::BTreeMap;
use std::num::NonZeroU32;

/// A reported rank count above this is ignored: no engine has that many.
const MOST_RANKS: u32 = 1024;

/// The configuration and the reported properties of a worker, without its health.
#[derive(Clone, Debug)]
pub struct WorkerProfile {
    /// Share of requests relative to other workers; not negative.
    pub weight: f64,
    /// Priority among workers, as configured.
    pub priority: u32,
    /// Configured cost, shown by the admin API; not negative.
    pub cost: f64,
    /// Labels of the operator, shown by the admin API.
    pub labels: BTreeMap<String, String>,
    /// Whether it serves whole requests, prefill or decode.
    pub kind: WorkerKind,
    /// The configured model.
    model: Option<String>,
    /// The configured engine.
    runtime: Option<Engine>,
    /// The port of its bootstrap server, if it does prefill.
    pub bootstrap_port: Option<u16>,
    /// Set when each of its data-parallel ranks is a candidate of its own.
    pub ranked: Option<Ranks>,
    /// The worker's own `authorization`; marked as sensitive, so that no log shows it.
    pub authorization: Option<HeaderValue>,
    /// What the worker last reported about itself.
    pub reported: ServerInfo,
    /// The models that it serves.
    pub served: ServedModels,
    /// The engine, as detected from the endpoints that the worker answers.
    pub detected_engine: Option<Engine>,
}

impl WorkerProfile {
    /// The profile before the worker has reported anything. `usual` is the `authorization` of workers without a key of
    /// their own; `ranks` applies to workers that do not set theirs.
    ///
    /// # Errors
    /// When the weight or the cost is negative, or the key does not fit into a header.
    pub fn new(
        spec: &WorkerSpec,
        usual: Option<&HeaderValue>,
        ranks: Option<Ranks>,
    ) -> Result<Self, WorkerSpecError> {
        not_negative("weight", spec.weight)?;
        not_negative("cost", spec.cost)?;
        let model = spec.model().map(str::to_owned);
        Ok(Self {
            weight: spec.weight,
            priority: spec.priority,
            cost: spec.cost,
            labels: spec.labels.clone(),
            kind: spec.worker_type,
            served: ServedModels::new(model.as_deref(), &ServerInfo::default()),
            model,
            runtime: spec.runtime,
            bootstrap_port: spec.bootstrap_port,
            ranked: spec.ranks(ranks)?,
            authorization: match &spec.api_key {
                Some(own) => Some(bearer(own)?),
                None => usual.cloned(),
            },
            reported: ServerInfo::default(),
            detected_engine: None,
        })
    }

    /// The configured engine, or else the detected one.
    pub fn engine(&self) -> Option<Engine> {
        self.runtime.or(self.detected_engine)
    }

    /// The configured model, or else the reported one.
    pub fn model(&self) -> Option<&str> {
        self.model.as_deref().or(self.reported.model.as_deref())
    }

    /// A copy that serves what the worker lists.
    pub(crate) fn with_listed(&self, models: &[ListedModel]) -> Self {
        let reported = ServerInfo { models: models.to_vec(), ..ServerInfo::default() };
        Self { served: self.served_by(&reported), ..self.clone() }
    }

    /// A copy with what the worker reports about itself.
    pub(crate) fn with_reported(&self, reported: ServerInfo, detected_engine: Option<Engine>) -> Self {
        Self { served: self.served_by(&reported), reported, detected_engine, ..self.clone() }
    }

    /// What a worker serves that reports this. A server whose weights were replaced while it ran may call its model by another
    /// name afterwards: that is a name of the same model, or the workers of a fleet would part while they are updated.
    fn served_by(&self, reported: &ServerInfo) -> ServedModels {
        let served = ServedModels::new(self.model.as_deref(), reported);
        let (old, new) = (self.served.models(), served.models());
        let is_same_process =
            reported.random_seed.is_some() && reported.random_seed == self.reported.random_seed;
        match (old.as_slice(), new.as_slice()) {
            ([old], [new]) if old != new && (is_same_process || self.served.has(new)) => {
                ServedModels::new(Some(old), reported)
            }
            _ => served,
        }
    }

    /// Whether its ranks become candidates of their own once their number is known.
    pub const fn is_ranked(&self) -> bool {
        self.ranked.is_some()
    }

    /// How many ranks are candidates of their own; `None` when the worker is a single candidate.
    pub fn ranks(&self) -> Option<u32> {
        let size = self.ranked?.size.map(NonZeroU32::get).or(self.reported.dp_size);
        size.filter(|size| (2..=MOST_RANKS).contains(size))
    }

    /// The capacity of each candidate, for the balancer.
    pub fn capacity(&self) -> WorkerCapacity {
        let reported = &self.reported;
        let one_rank = self.ranks().and(reported.max_running_per_rank);
        WorkerCapacity {
            weight: self.weight,
            priority: self.priority,
            max_running_requests: one_rank.or(reported.max_running_requests),
            max_total_tokens: reported.max_total_tokens,
        }
    }

    /// What the balancer needs when the candidate `name` joins.
    pub fn info(&self, name: &str) -> WorkerInfo {
        WorkerInfo { weight: self.weight, priority: self.priority, ..WorkerInfo::new(name) }
    }

    /// A copy with the changes of `update`.
    ///
    /// # Errors
    /// When the weight or the cost is negative, or the key does not fit into a header.
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
