//! The workers that the router starts with.

use crate::checks::count;
use crate::error::ConfigError;
use crate::options::Options;
use crate::own_address::OwnAddress;
use crate::worker_spec::{Ranks, WorkerKind, WorkerSpec, WorkerSpecError, bearer, not_negative};
use crate::worker_url::WorkerUrl;
use std::collections::BTreeMap;

/// The key of the TOML file for workers with settings of their own.
const WORKERS: &str = "[[workers]]";

impl Options {
    pub(crate) fn check_workers(&self) -> Result<Vec<WorkerSpec>, ConfigError> {
        let plain =
            self.worker_urls.iter().map(|url| WorkerSpec { url: url.clone(), ..WorkerSpec::default() });
        let mut seen = BTreeMap::new();
        let mut workers = Vec::new();
        for w in plain.chain(self.workers.iter().cloned()) {
            let url = w.base_url(self.connection_mode)?;
            let url = self.not_own_address("--worker-urls", url)?;
            if let Some(earlier) = seen.insert(url.clone(), w.url.clone()) {
                let problem = if earlier == w.url {
                    format!("worker '{earlier}' is given twice")
                } else {
                    format!("workers '{earlier}' and '{}' are the same", w.url)
                };
                return Err(ConfigError::option("--worker-urls", problem));
            }
            if w.worker_type != WorkerKind::Regular {
                let kind = w.worker_type.as_str();
                let problem = format!("worker '{url}': worker_type {kind} needs --pd-disaggregation");
                return Err(ConfigError::option(WORKERS, problem));
            }
            workers.push(self.check_worker(WorkerSpec { url: url.as_str().to_owned(), ..w })?);
        }
        if workers.is_empty() && !self.starts_empty() {
            let problem = "no worker is given; use --worker-urls http://HOST:PORT ..., or --start-empty to add \
                           them at run time";
            return Err(ConfigError::option("--worker-urls", problem));
        }
        Ok(workers)
    }

    /// Whether no worker needs to be given: they come at run time.
    pub(crate) const fn starts_empty(&self) -> bool {
        self.start_empty || self.service_discovery
    }

    /// Where the router listens.
    pub(crate) fn own_address(&self) -> OwnAddress {
        OwnAddress { host: self.host.clone(), port: self.port }
    }

    /// Refuses a worker's URL that leads back to the router.
    pub(crate) fn not_own_address(
        &self,
        option: &'static str,
        url: WorkerUrl,
    ) -> Result<WorkerUrl, ConfigError> {
        self.own_address().check(&url).map_err(|e| ConfigError::option(option, e))?;
        Ok(url)
    }

    /// Checks what a worker has for itself, as `POST /workers` does when it adds one.
    pub(crate) fn check_worker(&self, worker: WorkerSpec) -> Result<WorkerSpec, ConfigError> {
        let check = || -> Result<(), WorkerSpecError> {
            not_negative("weight", worker.weight)?;
            not_negative("cost", worker.cost)?;
            worker.api_key.as_ref().map(bearer).transpose()?;
            worker.ranks(self.dp_aware.then(Ranks::default))?;
            worker.health_overrides().times().map(drop)
        };
        match check() {
            Ok(_) => Ok(worker),
            Err(problem) => Err(ConfigError::option(WORKERS, format!("worker '{}': {problem}", worker.url))),
        }
    }

    pub(crate) fn check_ranks(&self) -> Result<Option<Ranks>, ConfigError> {
        let size = self.dp_size.map(|n| count("--dp-size", n)).transpose()?;
        match (self.dp_aware, size) {
            (true, _) if self.pd_disaggregation => {
                Err(ConfigError::option("--dp-aware", "cannot be combined with --pd-disaggregation"))
            }
            (false, Some(_)) => Err(ConfigError::option("--dp-size", "needs --dp-aware")),
            (aware, size) => Ok(aware.then_some(Ranks { size })),
        }
    }
}
