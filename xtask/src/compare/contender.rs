//! The contenders: programs with the policies that suit them best, and how they are started.

use super::case::{Case, ContenderSet};
use crate::harness::haproxy;
use crate::harness::peers::{PEERS, Peer, add_addresses};
use crate::harness::workspace::{Workspace, install};
use anyhow::{Context, Result};
use std::process::Command;

/// The program of a contender.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Maker {
    /// This router.
    Ours,
    /// A router from PyPI, by its package.
    Pypi(&'static str),
    /// HAProxy from Debian.
    Haproxy,
}

impl Maker {
    /// The name of the program.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ours => OURS,
            Self::Pypi(package) => package,
            Self::Haproxy => "haproxy",
        }
    }
}

/// The name of this router.
pub(crate) const OURS: &str = "sgl-router";

/// Options of a program beside its policy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Setup {
    /// None.
    Defaults,
    /// smg polls the workers' loads every second, its minimum, instead of every ten seconds.
    LoadsEachSecond,
}

impl Setup {
    /// The suffix of the program's name.
    const fn suffix(self) -> &'static str {
        match self {
            Self::Defaults => "",
            Self::LoadsEachSecond => "-1s",
        }
    }

    /// The arguments.
    const fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Defaults => &[],
            Self::LoadsEachSecond => &["--load-monitor-interval", "1"],
        }
    }
}

/// One program with one policy.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Contender {
    /// The program.
    pub(crate) maker: Maker,
    /// The options beside the policy.
    pub(crate) setup: Setup,
    /// The policy, by its name in that program.
    pub(crate) policy: &'static str,
    /// The smallest set that it belongs to.
    pub(crate) set: ContenderSet,
}

/// The contender that the targets are set for.
pub(crate) const CANDIDATE: &str = "sgl-router/marginal_cost";

const fn of(maker: Maker, policy: &'static str, set: ContenderSet) -> Contender {
    Contender { maker, setup: Setup::Defaults, policy, set }
}

/// smg with the polling interval that suits loads that change within seconds.
const fn smg_1s(policy: &'static str, set: ContenderSet) -> Contender {
    Contender { setup: Setup::LoadsEachSecond, ..of(SMG, policy, set) }
}

const SGLANG: Maker = Maker::Pypi("sglang-router");
const SMG: Maker = Maker::Pypi("smg");
const VLLM: Maker = Maker::Pypi("vllm-router");

/// All contenders, in the order of the tables.
pub(crate) const CONTENDERS: [Contender; 19] = [
    of(Maker::Ours, "marginal_cost", ContenderSet::Main),
    of(Maker::Ours, "least_request", ContenderSet::Main),
    of(Maker::Ours, "cache_aware", ContenderSet::Main),
    of(Maker::Ours, "shortest_queue", ContenderSet::All),
    of(Maker::Ours, "round_robin", ContenderSet::Main),
    of(Maker::Ours, "marginal_utility", ContenderSet::Main),
    of(SGLANG, "cache_aware", ContenderSet::Main),
    of(SGLANG, "power_of_two", ContenderSet::All),
    of(SGLANG, "round_robin", ContenderSet::All),
    of(SMG, "cache_aware", ContenderSet::Main),
    of(SMG, "least_load", ContenderSet::Main),
    of(SMG, "power_of_two", ContenderSet::All),
    smg_1s("cache_aware", ContenderSet::Main),
    smg_1s("least_load", ContenderSet::Main),
    smg_1s("power_of_two", ContenderSet::All),
    of(VLLM, "cache_aware", ContenderSet::Main),
    of(VLLM, "power_of_two", ContenderSet::All),
    of(VLLM, "consistent_hash", ContenderSet::All),
    of(Maker::Haproxy, "leastconn", ContenderSet::Main),
];

impl Contender {
    /// Its name in the tables and on the command line.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.program(), self.policy)
    }

    /// The program, with the suffix of its setup.
    fn program(&self) -> String {
        format!("{}{}", self.maker.name(), self.setup.suffix())
    }

    /// The contender of that name.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        let (program, policy) = name.split_once('/')?;
        CONTENDERS.iter().find(|contender| contender.policy == policy && contender.program() == program)
    }

    /// Whether the command line selects it: by a prefix of its name, or by its policy.
    pub(crate) fn is_wanted(&self, wanted: &[String]) -> bool {
        let name = self.name();
        wanted.is_empty() || wanted.iter().any(|asked| name.starts_with(asked) || self.policy == asked)
    }

    /// Whether it runs in the case.
    pub(crate) fn runs_in(&self, case: &Case) -> bool {
        case.contenders == ContenderSet::All || self.set == ContenderSet::Main
    }

    /// Its package on PyPI, if it has one.
    pub(crate) fn peer(&self) -> Option<&'static Peer> {
        let Maker::Pypi(package) = self.maker else { return None };
        PEERS.iter().find(|peer| peer.package == package)
    }

    /// The command that serves `workers` on `port`.
    ///
    /// # Errors
    /// Its configuration cannot be written, or no port is free for its metrics.
    pub(crate) fn command(&self, workspace: &Workspace, port: u16, workers: &[u16]) -> Result<Command> {
        let mut command = match self.maker {
            Maker::Haproxy => return haproxy::command(&workspace.scratch, port, workers),
            Maker::Ours => {
                let mut launch = workspace.launch();
                launch.args(["--log-level", "warn", "--policy", self.policy]);
                launch
            }
            Maker::Pypi(package) => self.peer().context(package)?.launch(&workspace.venvs, self.policy)?,
        };
        command.args(self.setup.arguments());
        add_addresses(&mut command, port, workers);
        Ok(command)
    }

    /// Installs the program unless it is there, and returns its version.
    ///
    /// # Errors
    /// It cannot be installed.
    pub(crate) fn install(&self, workspace: &Workspace) -> Result<String> {
        match (self.maker, self.peer()) {
            (Maker::Haproxy, _) => {
                install("haproxy", "-v")?;
                haproxy::version()
            }
            (_, Some(peer)) => peer.install(&workspace.venvs),
            _ => Ok(env!("CARGO_PKG_VERSION").to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique() {
        let names: HashSet<_> = CONTENDERS.iter().map(Contender::name).collect();
        assert_eq!(names.len(), CONTENDERS.len());
        assert!(names.contains(CANDIDATE));
        assert!(CONTENDERS.iter().all(|c| c.peer().is_some() == matches!(c.maker, Maker::Pypi(_))));
        assert_eq!(Contender::named("smg-1s/least_load").map(|c| c.maker.name()), Some("smg"));
    }

    #[test]
    fn tuned_contenders_run_with_defaults_too() {
        let tuned = CONTENDERS.iter().filter(|c| c.setup != Setup::Defaults);
        assert!(tuned.clone().all(|c| CONTENDERS.contains(&Contender { setup: Setup::Defaults, ..*c })));
        assert_eq!(tuned.count(), 3);
    }

    #[test]
    fn prefixes_and_policies_select_contenders() {
        let named = |asked: &str| {
            CONTENDERS
                .iter()
                .filter(|c| c.is_wanted(&[asked.to_owned()]))
                .map(Contender::name)
                .collect::<Vec<_>>()
        };
        assert_eq!(named("smg").len(), 6);
        assert_eq!(named("smg/").len(), 3);
        assert_eq!(named("smg-1s"), ["smg-1s/cache_aware", "smg-1s/least_load", "smg-1s/power_of_two"]);
        assert_eq!(named("cache_aware").len(), 5);
        assert_eq!(named("haproxy/leastconn"), ["haproxy/leastconn"]);
    }
}
