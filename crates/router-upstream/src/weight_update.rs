//! One call that updates weights, and what a worker that missed it needs to catch up.

use router_core::Time;
use std::sync::Arc;

/// How much of the weights one call replaces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UpdateScope {
    /// All of them, as `/update_weights_from_disk` does.
    Whole,
    /// Some of them: the caller sends several such calls, which together are one update.
    Part,
    /// Their version only.
    Version,
}

/// One call that updates weights.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WeightUpdate {
    /// Its path.
    pub call: &'static str,
    /// How much it replaces.
    pub scope: UpdateScope,
    /// The version that the weights have after it, if the call says so.
    pub version: Option<Arc<str>>,
    /// Counts the caller's updates, as far as the router can tell them apart.
    pub(crate) round: u64,
}

/// The update that a worker missed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MissedUpdate {
    /// The update that others accepted.
    pub update: WeightUpdate,
    /// What the worker did instead.
    pub reason: String,
    /// When the router learned of it.
    pub since: Time,
}

impl MissedUpdate {
    /// Whether the worker has caught up after it accepted `later`. All parts of one update are needed, so a part makes up for
    /// a missed one only if it belongs to another update.
    pub(crate) fn is_made_up_by(&self, later: &WeightUpdate) -> bool {
        match later.scope {
            UpdateScope::Whole => true,
            UpdateScope::Part => {
                let is_other_version = later.version.is_some() && later.version != self.update.version;
                later.round != self.update.round || is_other_version
            }
            UpdateScope::Version => self.update.scope == UpdateScope::Version,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(scope: UpdateScope, version: &str, round: u64) -> WeightUpdate {
        let version = Some(version).filter(|v| !v.is_empty()).map(Into::into);
        WeightUpdate { call: "/x", scope, version, round }
    }

    fn missed(scope: UpdateScope) -> MissedUpdate {
        MissedUpdate { update: update(scope, "7", 1), reason: String::new(), since: Time::ZERO }
    }

    #[test]
    fn parts_of_one_update_all_count() {
        let missed = missed(UpdateScope::Part);
        for (later, is_made_up) in [
            (update(UpdateScope::Part, "7", 1), false),
            (update(UpdateScope::Part, "", 1), false),
            (update(UpdateScope::Part, "8", 1), true),
            (update(UpdateScope::Part, "", 2), true),
            (update(UpdateScope::Whole, "7", 1), true),
        ] {
            assert_eq!(missed.is_made_up_by(&later), is_made_up, "{later:?}");
        }
    }

    #[test]
    fn version_alone_does_not_replace_weights() {
        let version = update(UpdateScope::Version, "8", 2);
        assert!(!missed(UpdateScope::Whole).is_made_up_by(&version));
        assert!(missed(UpdateScope::Version).is_made_up_by(&version));
    }
}
