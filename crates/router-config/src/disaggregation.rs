//! Prefill and decode on different workers (PD disaggregation).

use crate::error::ConfigError;
use crate::options::Options;
use crate::pd_protocol::PdProtocol;
use crate::policy_flags::NamedPolicy;
use crate::record_config::RecordConfig;
use crate::worker_spec::{WorkerKind, WorkerSpec};
use router_core::{PolicyFactory, Registry};

/// The prefill workers and how they work with the decode workers.
#[derive(Debug)]
pub struct DisaggregationConfig {
    /// How the KV cache is transferred.
    pub protocol: PdProtocol,
    /// The prefill workers at start.
    pub prefill: Vec<WorkerSpec>,
    /// Policy that chooses the prefill worker.
    pub policy: PolicyFactory,
    /// Recording of the prefill decisions to files; `None` for no recording.
    pub record: Option<RecordConfig>,
}

impl Options {
    /// Name of the policy that chooses the worker whose response the client gets.
    pub(crate) fn live_policy(&self) -> &str {
        self.decode_policy.as_deref().filter(|_| self.pd_disaggregation).unwrap_or(&self.policy)
    }

    pub(crate) fn check_disaggregation(
        &self,
        registry: &Registry,
        record: Option<&RecordConfig>,
    ) -> Result<Option<DisaggregationConfig>, ConfigError> {
        if !self.pd_disaggregation {
            let options = [
                ("--prefill", !self.prefill.is_empty()),
                ("--decode", !self.decode.is_empty()),
                ("--prefill-policy", self.prefill_policy.is_some()),
                ("--decode-policy", self.decode_policy.is_some()),
            ];
            return match options.into_iter().find(|(_, given)| *given) {
                Some((option, _)) => Err(ConfigError::option(option, "needs --pd-disaggregation")),
                None => Ok(None),
            };
        }
        if let Some(worker) = self.workers.iter().find(|w| w.worker_type == WorkerKind::Regular) {
            let problem = format!(
                "worker '{}': worker_type must be prefill or decode with --pd-disaggregation",
                worker.url
            );
            return Err(ConfigError::option("[[workers]]", problem));
        }
        if !self.worker_urls.is_empty() {
            let problem = "cannot be combined with --pd-disaggregation; use --prefill URL and --decode URL";
            return Err(ConfigError::option("--worker-urls", problem));
        }
        if self.hedge_after.is_some() {
            // A hedge would need a second pair of workers with its own bootstrap room.
            return Err(ConfigError::option("--hedge-after", "cannot be combined with --pd-disaggregation"));
        }
        let flag = if self.prefill_policy.is_some() { "--prefill-policy" } else { "--policy" };
        let name = self.prefill_policy.as_deref().unwrap_or(&self.policy);
        let stem = registry.spec(name).map_or(name, |s| s.record_stem.as_str());
        Ok(Some(DisaggregationConfig {
            protocol: self.pd_protocol,
            prefill: self.check_prefill()?,
            // --policy-option is for the decode policy only.
            policy: self.build_policy(registry, NamedPolicy { flag, name }, &[])?,
            record: record.map(|r| RecordConfig { stem: format!("{stem}_prefill"), ..r.clone() }),
        }))
    }

    /// Parses `URL`, `URL PORT` or `URL none`, in one word list or in several.
    fn check_prefill(&self) -> Result<Vec<WorkerSpec>, ConfigError> {
        let mut found: Vec<WorkerSpec> = Vec::new();
        let mut port_given = true;
        for word in self.prefill.iter().flat_map(|text| text.split_whitespace()) {
            if word.contains("://") || port_given {
                found.push(self.worker("--prefill", plain(word, WorkerKind::Prefill))?);
                port_given = false;
                continue;
            }
            let port = if word == "none" {
                None
            } else {
                let port = word.parse::<u16>().ok().filter(|port| *port > 0);
                Some(port.ok_or_else(|| {
                    ConfigError::option("--prefill", format!("'{word}' is neither a port nor none"))
                })?)
            };
            if let Some(last) = found.last_mut() {
                last.bootstrap_port = port;
            }
            port_given = true;
        }
        found.extend(self.listed(WorkerKind::Prefill)?);
        self.not_empty_and_distinct("--prefill", found)
    }

    /// The workers of `[[workers]]` with this type.
    fn listed(&self, kind: WorkerKind) -> Result<Vec<WorkerSpec>, ConfigError> {
        let of_kind = self.workers.iter().filter(|worker| worker.worker_type == kind);
        let check = |worker: &WorkerSpec| self.check_worker(self.worker("[[workers]]", worker.clone())?);
        of_kind.map(check).collect()
    }

    pub(crate) fn check_decode(&self) -> Result<Vec<WorkerSpec>, ConfigError> {
        let words = self.decode.iter().flat_map(|text| text.split_whitespace());
        let mut found = words
            .map(|word| self.worker("--decode", plain(word, WorkerKind::Decode)))
            .collect::<Result<Vec<_>, _>>()?;
        found.extend(self.listed(WorkerKind::Decode)?);
        let found = self.not_empty_and_distinct("--decode", found)?;
        for prefill in self.check_prefill()? {
            if found.iter().any(|decode| decode.url == prefill.url) {
                let problem = format!("worker '{}' cannot do both prefill and decode", prefill.url);
                return Err(ConfigError::option("--decode", problem));
            }
        }
        Ok(found)
    }

    fn worker(&self, option: &'static str, worker: WorkerSpec) -> Result<WorkerSpec, ConfigError> {
        let url = worker.base_url(self.connection_mode).map_err(|e| ConfigError::option(option, e))?;
        let url = self.not_own_address(option, url)?;
        Ok(WorkerSpec { url: url.as_str().to_owned(), ..worker })
    }

    fn not_empty_and_distinct(
        &self,
        option: &'static str,
        workers: Vec<WorkerSpec>,
    ) -> Result<Vec<WorkerSpec>, ConfigError> {
        if workers.is_empty() && !self.starts_empty() {
            let problem = format!(
                "no worker is given; use {option} http://HOST:PORT, or --start-empty to add them at run time"
            );
            return Err(ConfigError::option(option, problem));
        }
        for (n, worker) in workers.iter().enumerate() {
            if workers[..n].iter().any(|earlier| earlier.url == worker.url) {
                return Err(ConfigError::option(option, format!("worker '{}' is given twice", worker.url)));
            }
        }
        Ok(workers)
    }
}

/// A worker of which the URL and the part that it serves are known.
fn plain(url: &str, worker_type: WorkerKind) -> WorkerSpec {
    WorkerSpec { url: url.to_owned(), worker_type, ..WorkerSpec::default() }
}
