//! Prefill and decode on different workers.

use crate::error::ConfigError;
use crate::options::{Options, PdProtocol};
use crate::recording::RecordConfig;
use crate::worker_spec::{WorkerKind, WorkerSpec};
use crate::worker_url::{WorkerUrl, WorkerUrlError};
use router_core::{Policy, Registry};

/// The workers that read prompts, and how they hand them over.
#[derive(Debug)]
pub struct DisaggregationConfig {
    /// How a prompt is handed over.
    pub protocol: PdProtocol,
    /// The workers that read prompts, at start.
    pub prefill: Vec<WorkerSpec>,
    /// How one of them is chosen.
    pub policy: Box<dyn Policy>,
    /// Recording of these choices to files; none when absent.
    pub record: Option<RecordConfig>,
}

/// An option that needs `--pd-disaggregation`, and whether it is given.
type Given = (&'static str, bool);

impl Options {
    /// The name of the policy that chooses the worker whose answer the client gets.
    pub(crate) fn live_policy(&self) -> &str {
        self.decode_policy.as_deref().filter(|_| self.pd_disaggregation).unwrap_or(&self.policy)
    }

    pub(crate) fn check_disaggregation(
        &self,
        registry: &Registry,
        record: Option<&RecordConfig>,
    ) -> Result<Option<DisaggregationConfig>, ConfigError> {
        if !self.pd_disaggregation {
            let given: [Given; 4] = [
                ("--prefill", !self.prefill.is_empty()),
                ("--decode", !self.decode.is_empty()),
                ("--prefill-policy", self.prefill_policy.is_some()),
                ("--decode-policy", self.decode_policy.is_some()),
            ];
            return match given.iter().find(|(_, given)| *given) {
                Some((option, _)) => Err(ConfigError::option(option, "needs --pd-disaggregation".to_owned())),
                None => Ok(None),
            };
        }
        if !self.worker_urls.is_empty() || !self.workers.is_empty() {
            let problem = "cannot be combined with --pd-disaggregation; write --prefill URL and --decode URL";
            return Err(ConfigError::option("--worker-urls", problem.to_owned()));
        }
        if self.hedge_after.is_some() {
            // A second copy would be a second pair, with rooms of its own, for a first byte that neither leg alone decides.
            return Err(ConfigError::option(
                "--hedge-after",
                "cannot be combined with --pd-disaggregation".to_owned(),
            ));
        }
        let name = self.prefill_policy.as_deref().unwrap_or(&self.policy);
        let stem = registry.spec(name).map_or(name, |s| s.record_stem.as_str());
        Ok(Some(DisaggregationConfig {
            protocol: self.pd_protocol,
            prefill: self.check_prefill()?,
            // The options of --policy-option belong to the policy that chooses the answering worker.
            policy: self.build_policy(registry, name, &[])?,
            record: record.map(|r| RecordConfig { stem: format!("{stem}_prefill"), ..r.clone() }),
        }))
    }

    /// `URL`, or `URL PORT`, or `URL none`, in one text or in several.
    fn check_prefill(&self) -> Result<Vec<WorkerSpec>, ConfigError> {
        let mut found: Vec<WorkerSpec> = Vec::new();
        let mut port_given = true;
        for word in self.prefill.iter().flat_map(|text| text.split_whitespace()) {
            if word.contains("://") || port_given {
                found.push(self.worker("--prefill", word, WorkerKind::Prefill)?);
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
        some_and_each_once("--prefill", found)
    }

    pub(crate) fn check_decode(&self) -> Result<Vec<WorkerSpec>, ConfigError> {
        let words = self.decode.iter().flat_map(|text| text.split_whitespace());
        let found =
            words.map(|word| self.worker("--decode", word, WorkerKind::Decode)).collect::<Result<_, _>>()?;
        let found = some_and_each_once("--decode", found)?;
        for prefill in self.check_prefill()? {
            if found.iter().any(|decode| decode.url == prefill.url) {
                let problem = format!("worker '{}' cannot do both prefill and decode", prefill.url);
                return Err(ConfigError::option("--decode", problem));
            }
        }
        Ok(found)
    }

    fn worker(&self, option: &'static str, url: &str, kind: WorkerKind) -> Result<WorkerSpec, ConfigError> {
        let url: WorkerUrl =
            url.parse().map_err(|e: WorkerUrlError| ConfigError::option(option, e.to_string()))?;
        Ok(WorkerSpec { url: url.as_str().to_owned(), worker_type: kind, ..WorkerSpec::default() })
    }
}

fn some_and_each_once(
    option: &'static str,
    workers: Vec<WorkerSpec>,
) -> Result<Vec<WorkerSpec>, ConfigError> {
    if workers.is_empty() {
        return Err(ConfigError::option(
            option,
            format!("no worker is given; write {option} http://HOST:PORT"),
        ));
    }
    for (n, worker) in workers.iter().enumerate() {
        if workers[..n].iter().any(|earlier| earlier.url == worker.url) {
            return Err(ConfigError::option(option, format!("worker '{}' is given twice", worker.url)));
        }
    }
    Ok(workers)
}
