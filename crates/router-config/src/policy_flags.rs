//! The flags that are options of policies.

use crate::compat::ForeignPolicyOption;
use crate::options::Options;
use router_core::Registry;
use serde_json::Value;

impl Options {
    /// The flags that are options of policies, as the registry takes them. Those that the policy does not accept are left
    /// out, so that one command line works with every policy.
    pub(crate) fn policy_flags(&self, accepts: impl Fn(&str) -> bool) -> serde_json::Map<String, Value> {
        let flags = [
            ("cache_threshold", self.cache_threshold.map(Value::from)),
            ("balance_abs_threshold", self.balance_abs_threshold.map(Into::into)),
            ("balance_rel_threshold", self.balance_rel_threshold.map(Into::into)),
            ("eviction_interval_secs", self.eviction_interval_secs.map(Into::into)),
            ("max_tree_size", self.max_tree_size.map(Into::into)),
            ("max_idle_secs", self.max_idle_secs.map(Into::into)),
            ("assignment_mode", self.assignment_mode.clone().map(Into::into)),
            ("bucket_adjust_interval_secs", self.bucket_adjust_interval_secs.map(Into::into)),
        ];
        let flags = flags.into_iter().filter(|(name, _)| accepts(name));
        flags.filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }

    /// Takes flags of another router that are options of a policy. Returns a line for the log for each that the policy does
    /// not have.
    pub fn set_foreign_policy_options(
        &mut self,
        foreign: Vec<ForeignPolicyOption>,
        registry: &Registry,
    ) -> Vec<String> {
        let policy = self.live_policy().to_owned();
        let mut notes = Vec::new();
        for ForeignPolicyOption { flag, name, value } in foreign {
            if registry.options(&policy).is_some_and(|mut all| all.any(|option| option == name)) {
                self.policy_options.push((name.to_owned(), value));
            } else {
                notes.push(format!("--{flag} changes nothing: it is not an option of {policy}"));
            }
        }
        notes
    }

    /// Policy options that are given but have no effect, because no chosen policy accepts them.
    pub fn unused_policy_options(&self, registry: &Registry) -> Vec<String> {
        let others =
            [&self.prefill_policy, &self.decode_policy].into_iter().flatten().chain(&self.shadow_policies);
        let chosen: Vec<_> = others.chain([&self.policy]).collect();
        let takes =
            |option: &str| chosen.iter().filter_map(|p| registry.options(p)).flatten().any(|k| k == option);
        self.policy_flags(|option| !takes(option)).into_iter().map(|(name, _)| name).collect()
    }
}
