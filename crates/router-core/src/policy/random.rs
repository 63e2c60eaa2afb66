//! `random`: uniform over the candidates.

use crate::{Decision, DecisionContext, Policy, Reason};

/// Chooses a candidate uniformly at random. No state.
#[derive(Clone, Copy, Debug, Default)]
pub struct Random;

impl Policy for Random {
    fn name(&self) -> &'static str {
        "random"
    }

    fn decide(&mut self, cx: DecisionContext<'_>) -> Decision {
        let n = cx.candidates.len();
        let reason = if n == 1 { Reason::OnlyCandidate } else { Reason::Sampled };
        Decision::plain(cx.candidates.id(cx.rng.below(n)), reason)
    }
}
