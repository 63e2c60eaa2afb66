//! The description of a worker, in a request or in a file.

use crate::connection_mode::ConnectionMode;
use crate::health_config::HealthConfig;
use crate::secret::Secret;
use crate::worker_url::{WorkerUrl, WorkerUrlError};
use http::HeaderValue;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

/// A worker as `POST /workers` and `[[workers]]` of the TOML file describe it.
///
/// A worker of which only the URL is known is [`WorkerSpec::default`] with that URL.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorkerSpec {
    /// Base URL; it has no default.
    pub url: String,
    /// Sent to the worker as a bearer token, in place of the client's. Never part of a response.
    #[serde(skip_serializing)]
    pub api_key: Option<Secret>,
    /// Relative capacity, for weighted policies. Default 1.
    pub weight: f64,
    /// At equal cost, the worker with the higher priority is chosen. Default 50.
    pub priority: u32,
    /// Relative price, shown in responses; without effect on routing. Default 1.
    #[serde(skip_serializing_if = "is_usual_cost")]
    pub cost: f64,
    /// Free labels of the operator.
    #[serde(skip_serializing_if = "is_default")]
    pub labels: BTreeMap<String, String>,
    /// The model it serves; `None`: the label `model`, or else what the worker reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_id: Option<String>,
    /// The part of a request that it serves. Default `regular`; the others need `--pd-disaggregation`.
    #[serde(skip_serializing_if = "is_default")]
    pub worker_type: WorkerKind,
    /// The engine; `None`: detected.
    #[serde(alias = "runtime_type", skip_serializing_if = "Option::is_none")]
    pub runtime: Option<Engine>,
    /// How it is reached, where its URL is http://; `None`: as `--connection-mode` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_mode: Option<ConnectionMode>,
    /// Bootstrap port of a prefill worker; `None`: decode workers use their own setting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bootstrap_port: Option<u16>,
    /// Seconds; replaces `--health-check-timeout-secs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check_timeout_secs: Option<f64>,
    /// Seconds; replaces `--health-check-interval-secs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check_interval_secs: Option<f64>,
    /// Replaces `--health-success-threshold`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_success_threshold: Option<NonZeroU32>,
    /// Replaces `--health-failure-threshold`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_failure_threshold: Option<NonZeroU32>,
    /// Disables its health checks.
    #[serde(skip_serializing_if = "is_default")]
    pub disable_health_check: bool,
    /// Whether each of its data-parallel ranks is a candidate, as with `--dp-aware`.
    #[serde(skip_serializing_if = "is_default")]
    pub dp_aware: bool,
    /// Number of its ranks; `None`: what the worker reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dp_size: Option<NonZeroU32>,
    /// Accepted for compatibility with other routers, without effect, like the four below.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokenizer_path: Option<String>,
    #[expect(missing_docs, reason = "without effect")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_parser: Option<String>,
    #[expect(missing_docs, reason = "without effect")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_parser: Option<String>,
    #[expect(missing_docs, reason = "without effect")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chat_template: Option<String>,
    #[expect(missing_docs, reason = "without effect")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connection_attempts: Option<u32>,
}

/// Changes of a worker at run time. Absent members stay as they are.
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorkerUpdate {
    /// Relative capacity.
    pub weight: Option<f64>,
    /// At equal cost, the worker with the higher priority is chosen.
    pub priority: Option<u32>,
    /// Relative price.
    pub cost: Option<f64>,
    /// Replaces all labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// Sent to the worker as a bearer token.
    pub api_key: Option<Secret>,
    /// Disables or enables its health checks.
    pub disable_health_check: Option<bool>,
    /// Seconds between two health checks.
    pub health_check_interval_secs: Option<f64>,
    /// Time limit of a health check, in seconds.
    pub health_check_timeout_secs: Option<f64>,
    /// Failed checks in a row that make the worker unhealthy.
    pub health_failure_threshold: Option<NonZeroU32>,
    /// Passed checks in a row that make it healthy again.
    pub health_success_threshold: Option<NonZeroU32>,
    /// Whether it gets no new requests although it stays in the fleet: those that it has may end.
    pub drained: Option<bool>,
    /// The URL may be sent along; it cannot be changed.
    pub url: Option<String>,
}

/// The settings of health checks that a worker has for itself.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct HealthOverrides {
    /// Seconds between two checks.
    pub interval_secs: Option<f64>,
    /// Time limit of a check, in seconds.
    pub timeout_secs: Option<f64>,
    /// Failed checks in a row that make the worker unhealthy.
    pub failures: Option<NonZeroU32>,
    /// Passed checks in a row that make it healthy again.
    pub successes: Option<NonZeroU32>,
}

impl HealthOverrides {
    /// `base` with these settings.
    ///
    /// # Errors
    /// When a time is not above 0.
    pub fn over(&self, base: &HealthConfig) -> Result<HealthConfig, WorkerSpecError> {
        let (interval, timeout) = self.times()?;
        Ok(HealthConfig {
            path: base.path.clone(),
            interval: interval.unwrap_or(base.interval),
            timeout: timeout.unwrap_or(base.timeout),
            failures: self.failures.unwrap_or(base.failures),
            successes: self.successes.unwrap_or(base.successes),
        })
    }
}

impl HealthOverrides {
    /// Interval and timeout, where they are given.
    ///
    /// # Errors
    /// When one is not above 0.
    pub(crate) fn times(&self) -> Result<(Option<Duration>, Option<Duration>), WorkerSpecError> {
        let secs = |member, given: Option<f64>| {
            let Some(value) = given else { return Ok(None) };
            let duration = Duration::try_from_secs_f64(value).ok().filter(|d| !d.is_zero());
            duration.map(Some).ok_or(WorkerSpecError::Number { member, value, range: "above 0" })
        };
        let interval = secs("health_check_interval_secs", self.interval_secs)?;
        Ok((interval, secs("health_check_timeout_secs", self.timeout_secs)?))
    }
}

impl WorkerUpdate {
    /// The settings of health checks in it.
    pub const fn health(&self) -> HealthOverrides {
        HealthOverrides {
            interval_secs: self.health_check_interval_secs,
            timeout_secs: self.health_check_timeout_secs,
            failures: self.health_failure_threshold,
            successes: self.health_success_threshold,
        }
    }
}

/// The part of a request that a worker serves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkerKind {
    /// Prefill and decode.
    #[default]
    Regular,
    /// Prefill.
    Prefill,
    /// Decode.
    Decode,
}

impl WorkerKind {
    /// The name in configurations and responses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Regular => "regular",
            Self::Prefill => "prefill",
            Self::Decode => "decode",
        }
    }
}

/// The inference engine of a worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// SGLang.
    Sglang,
    /// vLLM.
    Vllm,
}

impl Engine {
    /// Every engine.
    pub const ALL: [Self; 2] = [Self::Sglang, Self::Vllm];

    /// The name in configurations and logs; in its `/v1/models` the engine calls itself so, as the owner of the model.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sglang => "sglang",
            Self::Vllm => "vllm",
        }
    }
}

/// Data-parallel ranks as candidates.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ranks {
    /// Ranks of each worker; `None`: what the worker reports.
    pub size: Option<NonZeroU32>,
}

/// Why the description of a worker is invalid. The message names the member.
#[derive(Debug, thiserror::Error)]
pub enum WorkerSpecError {
    /// The URL is invalid.
    #[error(transparent)]
    Url(#[from] WorkerUrlError),
    /// A number is out of range.
    #[error("{member}: {value} must be a number {range}")]
    Number {
        /// The member.
        member: &'static str,
        /// The given value.
        value: f64,
        /// The allowed range.
        range: &'static str,
    },
    /// Prefill and decode workers have no ranks as candidates.
    #[error("dp_aware: not supported for workers of type prefill or decode")]
    RanksOfLeg,
    /// `dp_size` without `dp_aware`.
    #[error("dp_size: needs \"dp_aware\": true, or --dp-aware")]
    RanksUnwanted,
    /// The key cannot be sent in a header. The message does not contain it.
    #[error("api_key: has characters that cannot be sent in a header")]
    Key,
    /// A change names another URL than that of the worker.
    #[error("url: the URL of a worker cannot be changed; remove the worker and add it again")]
    UrlChanged,
}

/// Whether a member need not be written.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Whether the relative price need not be written.
fn is_usual_cost(cost: &f64) -> bool {
    (*cost - 1.0).abs() < f64::EPSILON
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
            connection_mode: None,
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
            dp_size: None,
        }
    }
}

impl WorkerSpec {
    /// The configured model: `model_id`, or else the label `model`.
    pub fn model(&self) -> Option<&str> {
        self.model_id
            .as_deref()
            .or_else(|| self.labels.get("model").map(String::as_str))
            .filter(|m| !m.is_empty())
    }

    /// Makes the changes of `update`.
    pub fn apply(&mut self, update: WorkerUpdate) {
        self.weight = update.weight.unwrap_or(self.weight);
        self.priority = update.priority.unwrap_or(self.priority);
        self.cost = update.cost.unwrap_or(self.cost);
        self.labels = update.labels.unwrap_or_else(|| std::mem::take(&mut self.labels));
        self.api_key = update.api_key.or_else(|| self.api_key.take());
        self.disable_health_check = update.disable_health_check.unwrap_or(self.disable_health_check);
        self.health_check_interval_secs =
            update.health_check_interval_secs.or(self.health_check_interval_secs);
        self.health_check_timeout_secs = update.health_check_timeout_secs.or(self.health_check_timeout_secs);
        self.health_failure_threshold = update.health_failure_threshold.or(self.health_failure_threshold);
        self.health_success_threshold = update.health_success_threshold.or(self.health_success_threshold);
    }

    /// What makes this worker the one that `new` describes; `None` where a change cannot do that.
    pub fn update_to(&self, new: &Self) -> Option<WorkerUpdate> {
        let update = WorkerUpdate {
            weight: Some(new.weight),
            priority: Some(new.priority),
            cost: Some(new.cost),
            labels: Some(new.labels.clone()),
            api_key: new.api_key.clone(),
            disable_health_check: Some(new.disable_health_check),
            health_check_interval_secs: new.health_check_interval_secs,
            health_check_timeout_secs: new.health_check_timeout_secs,
            health_failure_threshold: new.health_failure_threshold,
            health_success_threshold: new.health_success_threshold,
            drained: None,
            url: None,
        };
        let mut changed = self.clone();
        changed.apply(update.clone());
        (changed == *new).then_some(update)
    }

    /// The parsed URL. `usual` holds for workers that do not say how they are reached.
    ///
    /// # Errors
    /// When it is not valid, or does not fit how the worker is reached.
    pub fn base_url(&self, usual: ConnectionMode) -> Result<WorkerUrl, WorkerUrlError> {
        self.connection_mode.unwrap_or(usual).of_url(self.url.parse()?)
    }

    /// Its ranks as candidates, where `default` holds for workers without settings of their own.
    ///
    /// # Errors
    /// When the members about ranks contradict each other or the worker's type.
    pub fn ranks(&self, default: Option<Ranks>) -> Result<Option<Ranks>, WorkerSpecError> {
        let wanted = if self.dp_aware { Some(default.unwrap_or_default()) } else { default };
        match (wanted, self.worker_type) {
            (None, _) if self.dp_size.is_some() => Err(WorkerSpecError::RanksUnwanted),
            (Some(_), WorkerKind::Prefill | WorkerKind::Decode) => Err(WorkerSpecError::RanksOfLeg),
            (wanted, _) => Ok(wanted.map(|ranks| Ranks { size: self.dp_size.or(ranks.size) })),
        }
    }

    /// The settings of health checks that it has for itself.
    pub(crate) const fn health_overrides(&self) -> HealthOverrides {
        HealthOverrides {
            interval_secs: self.health_check_interval_secs,
            timeout_secs: self.health_check_timeout_secs,
            failures: self.health_failure_threshold,
            successes: self.health_success_threshold,
        }
    }

    /// Its health check, where `default` holds for workers without settings of their own.
    pub fn health(&self, default: Option<&HealthConfig>) -> Result<Option<HealthConfig>, WorkerSpecError> {
        let default = default.filter(|_| !self.disable_health_check);
        default.map(|default| self.health_overrides().over(default)).transpose()
    }
}

/// Checks that a number is finite and at least 0.
///
/// # Errors
/// Otherwise; the message names `member`.
pub fn not_negative(member: &'static str, value: f64) -> Result<(), WorkerSpecError> {
    if value.is_finite() && value >= 0.0 {
        return Ok(());
    }
    Err(WorkerSpecError::Number { member, value, range: "of at least 0" })
}

/// The `authorization` header for a key.
///
/// # Errors
/// When the key cannot be sent in a header.
pub fn bearer(key: &Secret) -> Result<HeaderValue, WorkerSpecError> {
    key.bearer().ok_or(WorkerSpecError::Key)
}
