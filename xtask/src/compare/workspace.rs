//! Where things are, and what has to be there before anything is measured.

use super::contender::{Contender, Maker};
use crate::{command, harness};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The traces, from the root of the repository: outside data that is used in place.
const TRACES: &str = "../shared/data/traces";

/// The scratch folder, in the target folder.
pub(crate) const FOLDER: &str = "compare-peers";

/// Where things are.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    /// The root of the repository.
    pub(crate) root: PathBuf,
    /// Configurations, loads, rows and logs of the runs.
    pub(crate) scratch: PathBuf,
    /// One virtual environment for each router from PyPI.
    pub(crate) venvs: PathBuf,
    /// This router.
    pub(crate) binary: PathBuf,
    /// The recorded traces; maybe not there.
    pub(crate) traces: PathBuf,
}

impl Site {
    /// Builds the router and makes the folders.
    ///
    /// # Errors
    /// The router cannot be built, or the target folder cannot be written to.
    pub(crate) fn prepare(root: &Path, binary: Option<&Path>) -> Result<Self> {
        let target = command::target_dir(root)?;
        let scratch = target.join(FOLDER);
        fs::create_dir_all(&scratch).context("cannot make a folder in the target folder")?;
        let (venvs, binary) = (target.join(harness::VENVS), harness::router(root, binary)?);
        Ok(Self { root: root.to_owned(), scratch, venvs, binary, traces: root.join(TRACES) })
    }

    /// Installs whom it takes, and tells each one's version. One that cannot be had is left out, loudly.
    pub(crate) fn install(&self, contenders: Vec<&'static Contender>) -> Vec<(&'static Contender, String)> {
        let versioned = contenders.into_iter().map(|contender| (contender, self.version(contender)));
        let had = versioned.filter_map(|(contender, version)| match version {
            Ok(version) => Some((contender, version)),
            Err(error) => {
                println!("**** LEFT OUT: {}: {error:#}", contender.name());
                None
            }
        });
        had.collect()
    }

    fn version(&self, contender: &Contender) -> Result<String> {
        match (contender.maker, contender.peer()) {
            (Maker::Haproxy, _) => {
                harness::install("haproxy", "-v")?;
                let said = command::output(Command::new("haproxy").arg("-v"))?;
                Ok(said.split_whitespace().nth(2).unwrap_or_default().to_owned())
            }
            (_, Some(peer)) => peer.install(&self.venvs),
            _ => Ok(env!("CARGO_PKG_VERSION").to_owned()),
        }
    }
}
