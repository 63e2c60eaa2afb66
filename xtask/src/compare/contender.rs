//! Who is measured, each with the policies that it does best with, and how it is started.

use super::case::{Case, Field};
use super::haproxy;
use super::workspace::Site;
use crate::harness::peers::{self, PEERS, Peer};
use anyhow::{Context, Result};
use std::process::Command;

/// Whose program it is.
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
    /// The program.
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

/// How a program is started, beside its policy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Setup {
    /// As its maker ships it.
    Defaults,
    /// smg told to look at the workers' loads every second, the shortest time that it takes, instead of every ten.
    LoadsEachSecond,
}

impl Setup {
    /// What is added to the program's name.
    const fn suffix(self) -> &'static str {
        match self {
            Self::Defaults => "",
            Self::LoadsEachSecond => "-1s",
        }
    }

    /// What is added to the program's command line.
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
    /// Whose it is.
    pub(crate) maker: Maker,
    /// How it is started.
    pub(crate) setup: Setup,
    /// The policy, as its maker calls it.
    pub(crate) policy: &'static str,
    /// The smallest field that it belongs to.
    pub(crate) field: Field,
}

/// The contender that the targets are set for.
pub(crate) const CANDIDATE: &str = "sgl-router/marginal_cost";

const fn of(maker: Maker, policy: &'static str, field: Field) -> Contender {
    Contender { maker, setup: Setup::Defaults, policy, field }
}

/// smg as it does best on loads that change within seconds, beside what its users get when they say nothing.
const fn smg_1s(policy: &'static str, field: Field) -> Contender {
    Contender { setup: Setup::LoadsEachSecond, ..of(SMG, policy, field) }
}

const SGLANG: Maker = Maker::Pypi("sglang-router");
const SMG: Maker = Maker::Pypi("smg");
const VLLM: Maker = Maker::Pypi("vllm-router");

/// Everybody, in the order of the tables.
pub(crate) const CONTENDERS: [Contender; 19] = [
    of(Maker::Ours, "marginal_cost", Field::Main),
    of(Maker::Ours, "least_request", Field::Main),
    of(Maker::Ours, "cache_aware", Field::Main),
    of(Maker::Ours, "shortest_queue", Field::All),
    of(Maker::Ours, "round_robin", Field::Main),
    of(Maker::Ours, "marginal_utility", Field::Main),
    of(SGLANG, "cache_aware", Field::Main),
    of(SGLANG, "power_of_two", Field::All),
    of(SGLANG, "round_robin", Field::All),
    of(SMG, "cache_aware", Field::Main),
    of(SMG, "least_load", Field::Main),
    of(SMG, "power_of_two", Field::All),
    smg_1s("cache_aware", Field::Main),
    smg_1s("least_load", Field::Main),
    smg_1s("power_of_two", Field::All),
    of(VLLM, "cache_aware", Field::Main),
    of(VLLM, "power_of_two", Field::All),
    of(VLLM, "consistent_hash", Field::All),
    of(Maker::Haproxy, "leastconn", Field::Main),
];

impl Contender {
    /// Its name in the tables and on the command line.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.program(), self.policy)
    }

    /// The program, and how it is started where that is not as its maker ships it.
    fn program(&self) -> String {
        format!("{}{}", self.maker.name(), self.setup.suffix())
    }

    /// The one of that name.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        let (program, policy) = name.split_once('/')?;
        CONTENDERS.iter().find(|contender| contender.policy == policy && contender.program() == program)
    }

    /// Whether the user asked for it: by its name, the beginning of it, or the policy alone.
    pub(crate) fn is_wanted(&self, wanted: &[String]) -> bool {
        let name = self.name();
        wanted.is_empty() || wanted.iter().any(|asked| name.starts_with(asked) || self.policy == asked)
    }

    /// Whether it runs in that case.
    pub(crate) fn runs_in(&self, case: &Case) -> bool {
        case.field == Field::All || self.field == Field::Main
    }

    /// The package it comes from, where it comes from PyPI.
    pub(crate) fn peer(&self) -> Option<&'static Peer> {
        let Maker::Pypi(package) = self.maker else { return None };
        PEERS.iter().find(|peer| peer.package == package)
    }

    /// The command that serves `workers` on `port`.
    ///
    /// # Errors
    /// Its configuration cannot be written, or no port is free for its metrics.
    pub(crate) fn command(&self, site: &Site, port: u16, workers: &[u16]) -> Result<Command> {
        let mut command = match self.maker {
            Maker::Haproxy => return haproxy::command(&site.scratch, port, workers),
            Maker::Ours => {
                let mut launch = Command::new(&site.binary);
                launch.args(["launch", "--log-level", "warn", "--policy", self.policy]);
                launch
            }
            Maker::Pypi(package) => self.peer().context(package)?.launch(&site.venvs, self.policy)?,
        };
        command.args(self.setup.arguments());
        peers::place(&mut command, port, workers);
        Ok(command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_and_the_candidate_is_among_them() {
        let names: HashSet<_> = CONTENDERS.iter().map(Contender::name).collect();
        assert_eq!(names.len(), CONTENDERS.len());
        assert!(names.contains(CANDIDATE));
        assert!(CONTENDERS.iter().all(|c| c.peer().is_some() == matches!(c.maker, Maker::Pypi(_))));
        assert_eq!(Contender::named("smg-1s/least_load").map(|c| c.maker.name()), Some("smg"));
    }

    #[test]
    fn what_is_tuned_runs_at_its_defaults_too() {
        let tuned = CONTENDERS.iter().filter(|c| c.setup != Setup::Defaults);
        assert!(tuned.clone().all(|c| CONTENDERS.contains(&Contender { setup: Setup::Defaults, ..*c })));
        assert_eq!(tuned.count(), 3);
    }

    #[test]
    fn a_maker_a_policy_or_both_name_contenders() {
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
