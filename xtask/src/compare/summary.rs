//! Medians and ranges over the rounds, and ratios of runs that had the same load.

use super::case::Case;
use super::contender::{CANDIDATE, Contender, OURS, Setup};
use super::rows::Figure;
use super::run_log::Record;
use crate::harness::stats::median;

/// A contender that fails more than this share of its requests is not the one to beat.
const FAILURES: f64 = 0.01;

/// Which peers count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Peers {
    /// Those that run as their makers ship them.
    AtDefaults,
    /// All of them, the tuned ones too.
    All,
}

/// A figure over rounds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Spread {
    /// The median.
    pub(crate) middle: f64,
    /// The least.
    pub(crate) least: f64,
    /// The most.
    pub(crate) most: f64,
}

impl Spread {
    /// Of the values that there are.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Some(Self { middle: median(&values)?, least: *values.first()?, most: *values.last()? })
    }
}

/// All usable runs of one contender in one case.
#[derive(Clone, Debug)]
pub(crate) struct Entry<'a> {
    /// The contender.
    pub(crate) name: &'a str,
    /// Its runs.
    pub(crate) runs: Vec<&'a Record>,
}

impl Entry<'_> {
    /// A figure over its rounds.
    pub(crate) fn spread(&self, figure: Figure) -> Option<Spread> {
        Spread::of(self.runs.iter().filter_map(|run| run.figures.get(figure)))
    }

    /// Requests that failed, of all rounds.
    pub(crate) fn failed(&self) -> usize {
        self.runs.iter().map(|run| run.figures.failed).sum()
    }

    /// Whether it is a peer of that kind; this router's own policies are no peers.
    pub(crate) fn is_among(&self, peers: Peers) -> bool {
        let tuned = || Contender::named(self.name).is_some_and(|found| found.setup != Setup::Defaults);
        !self.name.starts_with(OURS) && (peers == Peers::All || !tuned())
    }

    fn is_sound(&self) -> bool {
        let requests: usize = self.runs.iter().map(|run| run.figures.requests).sum();
        self.failed() as f64 <= FAILURES * requests as f64
    }

    /// This figure as a multiple of another contender's, round by round, where both have the round.
    pub(crate) fn ratio(&self, other: &Entry<'_>, figure: Figure) -> Option<Spread> {
        Spread::of(self.runs.iter().filter_map(|run| {
            let same = other.runs.iter().find(|theirs| theirs.round == run.round)?;
            Some(run.figures.get(figure)? / same.figures.get(figure)?)
        }))
    }
}

/// What was measured in one case.
#[derive(Clone, Debug)]
pub(crate) struct Summary<'a> {
    /// The case.
    pub(crate) case: &'a Case,
    /// Who ran in it and has a usable run.
    pub(crate) entries: Vec<Entry<'a>>,
    /// Runs that cannot be used, because the machine was late.
    pub(crate) late: usize,
}

impl<'a> Summary<'a> {
    /// Of the records of a case, contenders in the given order. `None` where there is none.
    pub(crate) fn of(case: &'a Case, order: &'a [String], records: &'a [Record]) -> Option<Self> {
        let of_case = |record: &&Record| record.case == case.name;
        let usable = |name: &str| {
            let runs = records.iter().filter(of_case).filter(|record| record.contender == name);
            runs.filter(|record| record.fault().is_none()).collect::<Vec<_>>()
        };
        let entries = order.iter().map(|name| Entry { name, runs: usable(name) });
        let entries: Vec<_> = entries.filter(|entry| !entry.runs.is_empty()).collect();
        let late = records.iter().filter(of_case).filter(|record| record.fault().is_some()).count();
        (late > 0 || !entries.is_empty()).then_some(Self { case, entries, late })
    }

    /// The contender of that name.
    pub(crate) fn entry(&self, name: &str) -> Option<&Entry<'a>> {
        self.entries.iter().find(|entry| entry.name == name)
    }

    /// The one that the targets are set for.
    pub(crate) fn candidate(&self) -> Option<&Entry<'a>> {
        self.entry(CANDIDATE)
    }

    /// The best of these peers.
    pub(crate) fn best(&self, peers: Peers, figure: Figure) -> Option<&Entry<'a>> {
        let sound = self.entries.iter().filter(|entry| entry.is_among(peers) && entry.is_sound());
        let with = sound.filter_map(|entry| Some((entry.spread(figure)?.middle, entry)));
        with.min_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, entry)| entry)
    }

    /// The candidate's figure as a multiple of that of the best of these peers.
    pub(crate) fn to_best(&self, peers: Peers, figure: Figure) -> Option<(&'a str, Spread)> {
        let best = self.best(peers, figure)?;
        Some((best.name, self.candidate()?.ratio(best, figure)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::case::CASES;
    use crate::compare::run_log::tests::record;

    fn order() -> Vec<String> {
        [CANDIDATE, "sgl-router/round_robin", "smg/a", "smg/b"].map(str::to_owned).to_vec()
    }

    #[test]
    fn ratios_compare_the_same_round_and_the_best_peer_is_no_policy_of_ours() {
        let name = CASES[0].name;
        let mut records = Vec::new();
        for (round, ours, robin, a, b) in
            [(1, 1.0, 0.5, 2.0, 4.0), (2, 3.0, 0.5, 4.0, 5.0), (3, 1.0, 0.5, 2.0, 9.0)]
        {
            for (who, mean) in order().iter().zip([ours, robin, a, b]) {
                records.push(record(name, who, round, mean));
            }
        }
        let order = order();
        let summary = Summary::of(&CASES[0], &order, &records).unwrap();
        let best = summary.best(Peers::All, Figure::Mean).unwrap();
        assert_eq!(best.name, "smg/a");
        let ratio = summary.candidate().unwrap().ratio(best, Figure::Mean).unwrap();
        assert_eq!((ratio.middle, ratio.least, ratio.most), (0.5, 0.5, 0.75));
    }

    #[test]
    fn a_tuned_peer_is_no_peer_at_its_defaults() {
        let name = CASES[0].name;
        let order = [CANDIDATE, "smg/least_load", "smg-1s/least_load"].map(str::to_owned);
        let records = [(CANDIDATE, 1.0), ("smg/least_load", 2.0), ("smg-1s/least_load", 0.8)]
            .map(|(who, mean)| record(name, who, 1, mean));
        let summary = Summary::of(&CASES[0], &order, &records).unwrap();
        let to_best = |peers| summary.to_best(peers, Figure::Mean).map(|(who, ratio)| (who, ratio.middle));
        assert_eq!(to_best(Peers::AtDefaults), Some(("smg/least_load", 0.5)));
        assert_eq!(to_best(Peers::All), Some(("smg-1s/least_load", 1.25)));
    }

    #[test]
    fn late_runs_are_counted_and_not_used_and_who_fails_is_not_the_one_to_beat() {
        let name = CASES[0].name;
        let mut late = record(name, "smg/a", 1, 0.1);
        late.late_steps = 0.9;
        let mut failing = record(name, "smg/b", 1, 0.1);
        failing.figures.failed = 50;
        let (records, order) = ([late, failing], order());
        let summary = Summary::of(&CASES[0], &order, &records).unwrap();
        assert_eq!((summary.late, summary.entries.len()), (1, 1));
        assert!(summary.best(Peers::All, Figure::Mean).is_none());
        assert!(Summary::of(&CASES[1], &order, &records).is_none());
    }
}
