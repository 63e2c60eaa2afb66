//! A worker as an operator describes it, in a request or in a file.

use crate::config::HealthConfig;
use crate::secret::Secret;
use crate::worker_url::{WorkerUrl, WorkerUrlError};
use http::HeaderValue;
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
    /// Whether its data-parallel ranks are candidates of their own, as with `--dp-aware`.
    pub dp_aware: bool,
    /// How many ranks those are; asked of the worker when absent.
    pub dp_size: Option<NonZeroU32>,
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
pub struct WorkerUpdate {
    /// Relative capacity.
    pub weight: Option<f64>,
    /// Higher is preferred.
    pub priority: Option<u32>,
    /// Relative price.
    pub cost: Option<f64>,
    /// Replaces all labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// Sent to the worker as a bearer token.
    pub api_key: Option<Secret>,
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
    pub const fn as_str(self) -> &'static str {
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

/// How data-parallel ranks become candidates of their own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ranks {
    /// How many a worker has; as many as it says when absent.
    pub size: Option<NonZeroU32>,
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
    /// Prefill and decode workers are whole.
    #[error("dp_aware: it is not for workers of type prefill or decode")]
    RanksOfLeg,
    /// Nothing says that the ranks are to be told apart.
    #[error("dp_size: it needs \"dp_aware\": true, or --dp-aware")]
    RanksUnwanted,
    /// A key that cannot stand in a header. It is not shown.
    #[error("api_key: it has characters that cannot stand in a header")]
    Key,
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
            dp_size: None,
        }
    }
}

impl WorkerSpec {
    /// The checked URL.
    pub fn base_url(&self) -> Result<WorkerUrl, WorkerSpecError> {
        Ok(self.url.parse()?)
    }

    /// How its ranks are candidates, where all workers' are as in `usual`.
    /// # Errors
    /// When the members about ranks contradict each other or the worker's type.
    pub fn ranks(&self, usual: Option<Ranks>) -> Result<Option<Ranks>, WorkerSpecError> {
        let wanted = if self.dp_aware { Some(usual.unwrap_or_default()) } else { usual };
        match (wanted, self.worker_type) {
            (None, _) if self.dp_size.is_some() => Err(WorkerSpecError::RanksUnwanted),
            (Some(_), WorkerKind::Prefill | WorkerKind::Decode) => Err(WorkerSpecError::RanksOfLeg),
            (wanted, _) => Ok(wanted.map(|ranks| Ranks { size: self.dp_size.or(ranks.size) })),
        }
    }

    /// How it is checked, where the router as a whole checks by `usual`.
    pub fn health(&self, usual: Option<&HealthConfig>) -> Result<Option<HealthConfig>, WorkerSpecError> {
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

/// Refuses a number that is negative or not finite.
///
/// # Errors
/// Names the member.
pub fn not_negative(member: &'static str, value: f64) -> Result<(), WorkerSpecError> {
    if value.is_finite() && value >= 0.0 {
        return Ok(());
    }
    Err(WorkerSpecError::Number { member, value, wanted: "from 0 up" })
}

/// The value of `authorization` that sends this key.
///
/// # Errors
/// When the key cannot stand in a header.
pub fn bearer(key: &Secret) -> Result<HeaderValue, WorkerSpecError> {
    key.bearer().ok_or(WorkerSpecError::Key)
}
