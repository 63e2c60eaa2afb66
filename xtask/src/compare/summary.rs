//! Medians and ranges over the rounds, and ratios between runs with the same load.

use super::case::Case;
use super::contender::{CANDIDATE, Contender, OURS, Setup};
use super::rows::LatencyFigure;
use super::run_log::RunRecord;
use crate::harness::stats::Spread;

/// A contender that fails more than this share of its requests is never the best.
const MAX_FAILURES: f64 = 0.01;

/// Which peers are compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PeerSet {
    /// Those with default settings.
    AtDefaults,
    /// All, including the tuned ones.
    All,
}

/// The usable runs of one contender in one case.
#[derive(Clone, Debug)]
pub(crate) struct ContenderRuns<'a> {
    /// The name of the contender.
    pub(crate) name: &'a str,
    /// Its runs.
    pub(crate) runs: Vec<&'a RunRecord>,
}

impl ContenderRuns<'_> {
    /// A figure over its rounds.
    pub(crate) fn spread(&self, figure: LatencyFigure) -> Option<Spread> {
        Spread::of(self.runs.iter().filter_map(|run| run.figures.get(figure)))
    }

    /// Failed requests of all rounds.
    pub(crate) fn failed(&self) -> usize {
        self.runs.iter().map(|run| run.figures.failed).sum()
    }

    /// Whether it is one of these peers. This router's own policies are no peers.
    pub(crate) fn is_among(&self, peers: PeerSet) -> bool {
        let tuned = || Contender::named(self.name).is_some_and(|found| found.setup != Setup::Defaults);
        !self.name.starts_with(OURS) && (peers == PeerSet::All || !tuned())
    }

    fn is_sound(&self) -> bool {
        let requests: usize = self.runs.iter().map(|run| run.figures.requests).sum();
        self.failed() as f64 <= MAX_FAILURES * requests as f64
    }

    /// The figure divided by another contender's, over the rounds that both have.
    pub(crate) fn ratio(&self, other: &ContenderRuns<'_>, figure: LatencyFigure) -> Option<Spread> {
        Spread::of(self.runs.iter().filter_map(|run| {
            let same = other.runs.iter().find(|theirs| theirs.round == run.round)?;
            Some(run.figures.get(figure)? / same.figures.get(figure)?)
        }))
    }
}

/// All contenders in one case.
#[derive(Clone, Debug)]
pub(crate) struct CaseSummary<'a> {
    /// The case.
    pub(crate) case: &'a Case,
    /// Those with a usable run.
    pub(crate) contenders: Vec<ContenderRuns<'a>>,
    /// Runs that cannot be used because the machine was too busy.
    pub(crate) late: usize,
}

impl<'a> CaseSummary<'a> {
    /// From the records of a case, contenders in the given order. `None` where there are none.
    pub(crate) fn of(case: &'a Case, order: &'a [String], records: &'a [RunRecord]) -> Option<Self> {
        let of_case = |record: &&RunRecord| record.case == case.name;
        let usable = |name: &str| {
            let runs = records.iter().filter(of_case).filter(|record| record.contender == name);
            runs.filter(|record| record.fault().is_none()).collect::<Vec<_>>()
        };
        let contenders = order.iter().map(|name| ContenderRuns { name, runs: usable(name) });
        let contenders: Vec<_> = contenders.filter(|contender| !contender.runs.is_empty()).collect();
        let late = records.iter().filter(of_case).filter(|record| record.fault().is_some()).count();
        (late > 0 || !contenders.is_empty()).then_some(Self { case, contenders, late })
    }

    /// The contender of that name.
    pub(crate) fn contender(&self, name: &str) -> Option<&ContenderRuns<'a>> {
        self.contenders.iter().find(|contender| contender.name == name)
    }

    /// The contender that the targets are for.
    pub(crate) fn candidate(&self) -> Option<&ContenderRuns<'a>> {
        self.contender(CANDIDATE)
    }

    /// The best of these peers by the median.
    pub(crate) fn best(&self, peers: PeerSet, figure: LatencyFigure) -> Option<&ContenderRuns<'a>> {
        let sound =
            self.contenders.iter().filter(|contender| contender.is_among(peers) && contender.is_sound());
        let with = sound.filter_map(|contender| Some((contender.spread(figure)?.median, contender)));
        with.min_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, contender)| contender)
    }

    /// The candidate's figure divided by that of the best of these peers, and the name of that peer.
    pub(crate) fn to_best(&self, peers: PeerSet, figure: LatencyFigure) -> Option<(&'a str, Spread)> {
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
    fn ratios_compare_the_same_round() {
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
        let summary = CaseSummary::of(&CASES[0], &order, &records).unwrap();
        let best = summary.best(PeerSet::All, LatencyFigure::Mean).unwrap();
        assert_eq!(best.name, "smg/a");
        let ratio = summary.candidate().unwrap().ratio(best, LatencyFigure::Mean).unwrap();
        assert_eq!((ratio.median, ratio.min, ratio.max), (0.5, 0.5, 0.75));
    }

    #[test]
    fn tuned_peers_are_not_at_defaults() {
        let name = CASES[0].name;
        let order = [CANDIDATE, "smg/least_load", "smg-1s/least_load"].map(str::to_owned);
        let records = [(CANDIDATE, 1.0), ("smg/least_load", 2.0), ("smg-1s/least_load", 0.8)]
            .map(|(who, mean)| record(name, who, 1, mean));
        let summary = CaseSummary::of(&CASES[0], &order, &records).unwrap();
        let to_best =
            |peers| summary.to_best(peers, LatencyFigure::Mean).map(|(who, ratio)| (who, ratio.median));
        assert_eq!(to_best(PeerSet::AtDefaults), Some(("smg/least_load", 0.5)));
        assert_eq!(to_best(PeerSet::All), Some(("smg-1s/least_load", 1.25)));
    }

    #[test]
    fn failing_runs_are_not_the_best() {
        let name = CASES[0].name;
        let mut late = record(name, "smg/a", 1, 0.1);
        late.late_steps = 0.9;
        let mut failing = record(name, "smg/b", 1, 0.1);
        failing.figures.failed = 50;
        let (records, order) = ([late, failing], order());
        let summary = CaseSummary::of(&CASES[0], &order, &records).unwrap();
        assert_eq!((summary.late, summary.contenders.len()), (1, 1));
        assert!(summary.best(PeerSet::All, LatencyFigure::Mean).is_none());
        assert!(CaseSummary::of(&CASES[1], &order, &records).is_none());
    }
}
