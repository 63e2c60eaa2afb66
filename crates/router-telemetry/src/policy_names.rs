//! The names of all policies that were live in one router, by number.

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use router_core::PolicyNumber;
use std::sync::Arc;

/// The names of all policies that were live in one router. Records carry the number of the policy that decided, which costs less
/// than its name.
#[derive(Debug)]
pub struct PolicyNames {
    names: ArcSwap<Vec<Arc<str>>>,
    adding: Mutex<()>,
}

impl Default for PolicyNames {
    fn default() -> Self {
        Self { names: ArcSwap::from_pointee(Vec::new()), adding: Mutex::new(()) }
    }
}

impl PolicyNames {
    /// The number of a policy of this name; the same for each of them.
    pub fn number(&self, name: &str) -> PolicyNumber {
        let _one = self.adding.lock();
        let names = self.names.load();
        let number = names.iter().position(|known| &**known == name).unwrap_or_else(|| {
            let more = names.iter().cloned().chain([Arc::from(name)]).collect();
            self.names.store(Arc::new(more));
            names.len()
        });
        PolicyNumber(u32::try_from(number).unwrap_or(u32::MAX))
    }

    /// The name of the policy with this number; empty where there is none.
    pub fn name(&self, number: PolicyNumber) -> Arc<str> {
        self.names.load().get(number.0 as usize).map_or_else(|| Arc::from(""), Arc::clone)
    }
}
