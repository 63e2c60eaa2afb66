//! The list of runs, their order, and an estimate of the time that they take.

use super::case::Case;
use super::contender::Contender;
use super::trial::Trial;
use std::path::{Path, PathBuf};

/// Seconds for starting and stopping the workers and the contender of a run.
const START_AND_STOP: u64 = 5;

/// Rounds, seconds and seed of a measurement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PlanExtent {
    /// Rounds of a case that has targets.
    pub(crate) rounds: u32,
    /// Seconds of load after the warm-up, before the factor of the case.
    pub(crate) secs: u64,
    /// Seconds of warm-up, before the factor of the case.
    pub(crate) warm_up: u64,
    /// The seed of the first round.
    pub(crate) seed: u64,
}

impl PlanExtent {
    /// The seed of the loads of a round.
    pub(crate) fn seed_of(&self, round: u32) -> u64 {
        self.seed + u64::from(round) - 1
    }

    /// Seconds of load in one run of a case.
    pub(crate) fn window(&self, case: &Case) -> u64 {
        case.warm_up_secs(self.warm_up) + case.measured_secs(self.secs)
    }
}

/// All runs: by round, then by case, then in an order that the seed of the round shuffles.
pub(crate) fn trials(
    extent: PlanExtent,
    cases: &[&'static Case],
    contenders: &[(&'static Contender, String)],
    folder: &Path,
) -> Vec<Trial> {
    let mut all = Vec::new();
    for round in 1..=extent.rounds {
        for (index, case) in
            cases.iter().copied().enumerate().filter(|(_, case)| round <= case.rounds(extent.rounds))
        {
            let mut present: Vec<_> =
                contenders.iter().filter(|(contender, _)| contender.runs_in(case)).collect();
            fastrand::Rng::with_seed(extent.seed_of(round) * 1000 + index as u64).shuffle(&mut present);
            all.extend(present.into_iter().map(|(contender, version)| Trial {
                case,
                contender,
                version: version.clone(),
                round,
                load: load_file(case, round, folder),
                warm_up: case.warm_up_secs(extent.warm_up),
            }));
        }
    }
    all
}

/// The file with the load of a case and round.
pub(crate) fn load_file(case: &Case, round: u32, folder: &Path) -> PathBuf {
    folder.join(format!("{}-{round}.load.jsonl", case.name))
}

/// Approximate seconds that the runs take.
pub(crate) fn estimate(extent: PlanExtent, trials: &[Trial], lanes: usize) -> u64 {
    let of = |trial: &Trial| extent.window(trial.case) + trial.case.drain + START_AND_STOP;
    let (total, longest) =
        (trials.iter().map(of).sum::<u64>(), trials.iter().map(of).max().unwrap_or_default());
    (total / lanes.max(1) as u64).max(longest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::case::CASES;
    use crate::compare::contender::CONTENDERS;

    const EXTENT: PlanExtent = PlanExtent { rounds: 5, secs: 16, warm_up: 6, seed: 1 };

    fn everything() -> Vec<Trial> {
        let cases: Vec<_> = CASES.iter().collect();
        let contenders: Vec<_> = CONTENDERS.iter().map(|c| (c, String::new())).collect();
        trials(EXTENT, &cases, &contenders, Path::new("x"))
    }

    #[test]
    fn rounds_interleave_in_different_orders() {
        let all = everything();
        assert!(all.windows(2).all(|pair| pair[0].round <= pair[1].round));
        let order = |round: u32| {
            let of = |t: &&Trial| t.round == round && t.case.name == "uneven-75";
            all.iter().filter(of).map(|t| t.contender.name()).collect::<Vec<_>>()
        };
        assert_eq!(order(1).len(), CONTENDERS.len());
        assert_ne!(order(1), order(2));
        assert_eq!(
            order(1),
            everything()
                .iter()
                .take(200)
                .filter(|t| t.round == 1 && t.case.name == "uneven-75")
                .map(|t| t.contender.name())
                .collect::<Vec<_>>()
        );
    }

    #[test]
    fn lanes_divide_the_time() {
        let all = everything();
        let (one, four) = (estimate(EXTENT, &all, 1), estimate(EXTENT, &all, 4));
        assert_eq!(one / 4, four);
        assert_eq!(
            estimate(EXTENT, &all[..1], 8),
            EXTENT.window(all[0].case) + all[0].case.drain + START_AND_STOP
        );
    }
}
