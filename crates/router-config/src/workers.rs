//! The workers that the router starts with.

use crate::checks::count;
use crate::error::ConfigError;
use crate::options::{Options, WorkerOptions};
use crate::worker_spec::{Ranks, WorkerSpec};
use crate::worker_url::WorkerUrl;
use std::collections::BTreeMap;
use std::net::IpAddr;

impl Options {
    pub(crate) fn check_workers(&self) -> Result<Vec<WorkerSpec>, ConfigError> {
        let plain =
            self.worker_urls.iter().map(|url| WorkerOptions { url: url.clone(), weight: 1.0, priority: 50 });
        let mut seen = BTreeMap::new();
        let mut workers = Vec::new();
        for w in plain.chain(self.workers.iter().cloned()) {
            let url: WorkerUrl = w.url.parse()?;
            if self.is_own_address(&url) {
                let problem =
                    format!("worker '{url}' is the router's own address: it would forward to itself");
                return Err(ConfigError::option("--worker-urls", problem));
            }
            if let Some(earlier) = seen.insert(url.clone(), w.url.clone()) {
                let problem = if earlier == w.url {
                    format!("worker '{earlier}' is given twice")
                } else {
                    format!("workers '{earlier}' and '{}' are the same", w.url)
                };
                return Err(ConfigError::option("--worker-urls", problem));
            }
            if !(w.weight.is_finite() && w.weight >= 0.0) {
                let problem = format!("worker '{url}': weight {} must be a number of at least 0", w.weight);
                return Err(ConfigError::option("[[workers]]", problem));
            }
            workers.push(WorkerSpec {
                url: url.as_str().to_owned(),
                weight: w.weight,
                priority: w.priority,
                ..WorkerSpec::default()
            });
        }
        if workers.is_empty() && !self.start_empty {
            let problem = "no worker is given; use --worker-urls http://HOST:PORT ..., or --start-empty to add \
                           them at run time";
            return Err(ConfigError::option("--worker-urls", problem));
        }
        Ok(workers)
    }

    /// Whether a worker's URL names the address that the router listens on.
    fn is_own_address(&self, url: &WorkerUrl) -> bool {
        let Ok(uri) = url.uri() else { return false };
        let (host, port) = (uri.host().unwrap_or_default(), uri.port_u16());
        let is_loopback = host == "localhost"
            || host.trim_matches(['[', ']']).parse().is_ok_and(|address: IpAddr| address.is_loopback());
        let listens_on_loopback = self.host == "localhost"
            || self.host.parse().is_ok_and(|a: IpAddr| a.is_loopback() || a.is_unspecified());
        self.port != 0
            && port == Some(self.port)
            && (host == self.host || (is_loopback && listens_on_loopback))
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
