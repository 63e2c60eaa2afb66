//! Requests of 100 KB through every policy that looks at prefixes: looked up, inserted, others evicted. The scan and the
//! hashes are counted apart.

use super::piece::{Piece, ReadyPiece};
use crate::decision_world::{DecisionWorld, WarmFleet, built_in};
use crate::long_prompts::{LongPrompts, ScannedPrompt};
use router_core::{Policy, PolicyOptions, PolicySpec, Registry};

const FLEET: WarmFleet = WarmFleet { workers: 8, in_flight: 4, turns: 10 };
/// Prompts that were sent before.
const SENT: usize = 100;
const CALLS: usize = 20;
/// The option that bounds the index, and a bound that these prompts exceed, so that blocks are evicted.
const INDEX_OPTION: &str = "max_tree_size";
const INDEX_BYTES: usize = 2 << 20;

/// How much of a prompt was sent before.
#[derive(Clone, Copy, Debug)]
enum KnownPart {
    All,
    Half,
    None,
}

impl KnownPart {
    const fn as_str(self) -> &'static str {
        match self {
            Self::All => "known",
            Self::Half => "half_new",
            Self::None => "new",
        }
    }
}

pub(super) fn pieces() -> Vec<Piece> {
    let registry = Registry::builtin();
    let looks_at_prefixes = |spec: &&PolicySpec| {
        let policy = registry.build(&spec.name, &PolicyOptions::new());
        policy.is_ok_and(|policy| policy.needs().prefix_hashes)
    };
    registry.specs().filter(looks_at_prefixes).flat_map(of_policy).collect()
}

fn of_policy(spec: &PolicySpec) -> Vec<Piece> {
    let mut options = PolicyOptions::new();
    if spec.options.contains_key(INDEX_OPTION) {
        options.insert(INDEX_OPTION.to_owned(), INDEX_BYTES.into());
    }
    [KnownPart::All, KnownPart::Half, KnownPart::None]
        .into_iter()
        .map(|known| {
            let (policy, options) = (spec.name.clone(), options.clone());
            Piece::new(format!("prefix_100KB/{policy}/{}", known.as_str()), CALLS, move || {
                through_policy(built_in(&policy, &options), known)
            })
        })
        .collect()
}

fn through_policy(policy: Box<dyn Policy>, known: KnownPart) -> ReadyPiece {
    let mut prompts = LongPrompts::default();
    let mut world = DecisionWorld::warm(policy, FLEET);
    let sent: Vec<String> = (0..SENT).map(|_| prompts.unseen()).collect();
    for text in &sent {
        ScannedPrompt::new(text).with_features(|request| world.turn_with(request));
    }
    let latest = sent.iter().rev().take(CALLS);
    let next: Vec<ScannedPrompt> = latest
        .map(|text| match known {
            KnownPart::All => ScannedPrompt::new(text),
            KnownPart::Half => ScannedPrompt::new(&prompts.half_like(text)),
            KnownPart::None => ScannedPrompt::new(&prompts.unseen()),
        })
        .collect();
    Box::new(move || {
        for prompt in &next {
            prompt.with_features(|request| world.turn_with(request));
        }
    })
}
