//! What a worker is and what it should get: as people say in a request or a file, and as it says itself.

use super::{WorkerUrl, WorkerUrlError};
use crate::config::HealthConfig;
use crate::security::Secret;
use http::HeaderValue;
use router_core::{Capacity, WorkerInfo};
use router_protocol::ServerInfo;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

/// A worker as `POST /workers` describes it.
///
/// A worker about which nothing but its URL is known is [`WorkerSpec::default`] with that URL.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorkerSpec {
    /// Base URL; it has no default.
    pub url: String,
    /// Sent to the worker as a bearer token, in place of what the client sent. Never shown again.
    pub api_key: Option<Secret>,
    /// Relative capacity, for policies that weigh. Default 1.
    pub weight: f64,
    /// Higher is preferred by policies that weigh. Default 50.
    pub priority: u32,
    /// Relative price, for whoever reads it. Default 1.
    pub cost: f64,
    /// Names and values of the operator's own.
    pub labels: BTreeMap<String, String>,
    /// The model it serves; asked of the worker when absent.
    pub model_id: Option<String>,
    /// What part of a request it does. Default `regular`; the others with `--pd-disaggregation`.
    pub worker_type: WorkerKind,
    /// The engine; asked of the worker when absent.
    pub runtime: Option<Engine>,
    /// Of a prefill worker: the port of its bootstrap server. Decode workers use their own setting when absent.
    pub bootstrap_port: Option<u16>,
    /// Seconds for one check, in place of `--health-check-timeout-secs`.
    pub health_check_timeout_secs: Option<f64>,
    /// Seconds between two checks, in place of `--health-check-interval-secs`.
    pub health_check_interval_secs: Option<f64>,
    /// In place of `--health-success-threshold`.
    pub health_success_threshold: Option<NonZeroU32>,
    /// In place of `--health-failure-threshold`.
    pub health_failure_threshold: Option<NonZeroU32>,
    /// Never check it.
    pub disable_health_check: bool,
    /// Whether its data-parallel ranks are workers of their own; only `false` is taken.
    pub dp_aware: bool,
    /// Taken from clients of other routers, without effect, as are the five below.
    pub tokenizer_path: Option<String>,
    #[expect(missing_docs, reason = "without effect")]
    pub reasoning_parser: Option<String>,
    #[expect(missing_docs, reason = "without effect")]
    pub tool_parser: Option<String>,
    #[expect(missing_docs, reason = "without effect")]
    pub chat_template: Option<String>,
    #[expect(missing_docs, reason = "without effect")]
    pub max_connection_attempts: Option<u32>,
}

/// What may be changed while a worker serves. Absent members stay as they are.
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WorkerUpdate {
    pub(crate) weight: Option<f64>,
    pub(crate) priority: Option<u32>,
    pub(crate) cost: Option<f64>,
    /// All labels anew.
    pub(crate) labels: Option<BTreeMap<String, String>>,
    pub(crate) api_key: Option<Secret>,
}

/// What part of a request a worker does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkerKind {
    /// All of it.
    #[default]
    Regular,
    /// It reads prompts.
    Prefill,
    /// It writes answers.
    Decode,
}

impl WorkerKind {
    /// The name in configurations and answers.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Regular => "regular",
            Self::Prefill => "prefill",
            Self::Decode => "decode",
        }
    }
}

/// Who wrote the worker's program.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// SGLang.
    Sglang,
    /// vLLM.
    Vllm,
}

/// Why a description of a worker is refused. The message names the member.
#[derive(Debug, thiserror::Error)]
pub enum WorkerSpecError {
    /// The URL.
    #[error(transparent)]
    Url(#[from] WorkerUrlError),
    /// A number that makes no sense.
    #[error("{member}: {value} must be a number {wanted}")]
    Number {
        /// Which.
        member: &'static str,
        /// What was given.
        value: f64,
        /// What is taken.
        wanted: &'static str,
    },
    /// Something that this router cannot do.
    #[error("{0}: true is not supported")]
    Unsupported(&'static str),
    /// A key that cannot stand in a header. It is not shown.
    #[error("api_key: it has characters that cannot stand in a header")]
    Key,
}

/// Everything known about a worker but its state.
#[derive(Clone, Debug)]
pub(crate) struct Profile {
    pub(crate) weight: f64,
    pub(crate) priority: u32,
    pub(crate) cost: f64,
    pub(crate) labels: BTreeMap<String, String>,
    /// What part of a request it does.
    pub(crate) kind: WorkerKind,
    /// What people say it serves.
    model: Option<String>,
    /// What people say it runs.
    runtime: Option<Engine>,
    /// The port of its bootstrap server, if it reads prompts for others.
    pub(crate) bootstrap_port: Option<u16>,
    /// The worker's own `authorization`; marked as sensitive, so that no log shows it.
    pub(crate) authorization: Option<HeaderValue>,
    /// What it says itself.
    pub(crate) told: ServerInfo,
    /// What its answers to questions look like.
    pub(crate) guessed: Option<Engine>,
}

impl Default for WorkerSpec {
    fn default() -> Self {
        Self {
            url: String::new(),
            api_key: None,
            weight: 1.0,
            priority: 50,
            cost: 1.0,
            labels: BTreeMap::new(),
            model_id: None,
            worker_type: WorkerKind::Regular,
            runtime: None,
            bootstrap_port: None,
            health_check_timeout_secs: None,
            health_check_interval_secs: None,
            health_success_threshold: None,
            health_failure_threshold: None,
            disable_health_check: false,
            tokenizer_path: None,
            reasoning_parser: None,
            tool_parser: None,
            chat_template: None,
            max_connection_attempts: None,
            dp_aware: false,
        }
    }
}

impl WorkerSpec {
    /// The checked URL.
    pub(crate) fn base_url(&self) -> Result<WorkerUrl, WorkerSpecError> {
        Ok(self.url.parse()?)
    }

    /// What is known before the worker has been asked. Without a key of its own it gets the `usual` one.
    pub(crate) fn profile(&self, usual: Option<&HeaderValue>) -> Result<Profile, WorkerSpecError> {
        not_negative("weight", self.weight)?;
        not_negative("cost", self.cost)?;
        if self.dp_aware {
            return Err(WorkerSpecError::Unsupported("dp_aware"));
        }
        Ok(Profile {
            weight: self.weight,
            priority: self.priority,
            cost: self.cost,
            labels: self.labels.clone(),
            kind: self.worker_type,
            model: self.model_id.clone(),
            runtime: self.runtime,
            bootstrap_port: self.bootstrap_port,
            authorization: match &self.api_key {
                Some(own) => Some(bearer(own)?),
                None => usual.cloned(),
            },
            told: ServerInfo::default(),
            guessed: None,
        })
    }

    /// How it is checked, where the router as a whole checks by `usual`.
    pub(crate) fn health(
        &self,
        usual: Option<&HealthConfig>,
    ) -> Result<Option<HealthConfig>, WorkerSpecError> {
        let Some(usual) = usual.filter(|_| !self.disable_health_check) else { return Ok(None) };
        let secs = |member, given: Option<f64>, usual| {
            let Some(value) = given else { return Ok(usual) };
            let duration = Duration::try_from_secs_f64(value).ok().filter(|d| !d.is_zero());
            duration.ok_or(WorkerSpecError::Number { member, value, wanted: "above 0" })
        };
        Ok(Some(HealthConfig {
            path: usual.path.clone(),
            interval: secs("health_check_interval_secs", self.health_check_interval_secs, usual.interval)?,
            timeout: secs("health_check_timeout_secs", self.health_check_timeout_secs, usual.timeout)?,
            failures: self.health_failure_threshold.unwrap_or(usual.failures),
            successes: self.health_success_threshold.unwrap_or(usual.successes),
        }))
    }
}

impl Profile {
    /// The engine, as far as known.
    pub(crate) fn engine(&self) -> Option<Engine> {
        self.runtime.or(self.guessed)
    }

    /// The model, as far as known.
    pub(crate) fn model(&self) -> Option<&str> {
        self.model.as_deref().or(self.told.model.as_deref())
    }

    /// What the balancer is told.
    pub(crate) const fn capacity(&self) -> Capacity {
        Capacity {
            weight: self.weight,
            priority: self.priority,
            max_running_requests: self.told.max_running_requests,
            max_total_tokens: self.told.max_total_tokens,
        }
    }

    /// What the balancer is told when it joins.
    pub(crate) fn info(&self, url: &WorkerUrl) -> WorkerInfo {
        WorkerInfo { weight: self.weight, priority: self.priority, ..WorkerInfo::new(url.as_str()) }
    }

    /// The same with what somebody changed.
    pub(crate) fn updated(&self, update: WorkerUpdate) -> Result<Self, WorkerSpecError> {
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

fn not_negative(member: &'static str, value: f64) -> Result<(), WorkerSpecError> {
    if value.is_finite() && value >= 0.0 {
        return Ok(());
    }
    Err(WorkerSpecError::Number { member, value, wanted: "from 0 up" })
}

fn bearer(key: &Secret) -> Result<HeaderValue, WorkerSpecError> {
    key.bearer().ok_or(WorkerSpecError::Key)
}
