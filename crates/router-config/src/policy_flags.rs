//! The flags that are options of policies.

use crate::compat::ForeignPolicyOption;
use crate::error::ConfigError;
use crate::options::Options;
use crate::policy_options;
use router_core::{PolicyError, PolicyFactory, Registry};
use serde_json::Value;

/// The flag of the shadow policies, and that of their options.
const SHADOWS: &str = "--shadow-policies";
const SHADOW_OPTION: &str = "--shadow-policy-option";

/// The flags that are options of policies, and the names of these options.
const FLAGS: [(&str, &str); 8] = [
    ("--cache-threshold", "cache_threshold"),
    ("--balance-abs-threshold", "balance_abs_threshold"),
    ("--balance-rel-threshold", "balance_rel_threshold"),
    ("--eviction-interval-secs", "eviction_interval_secs"),
    ("--max-tree-size", "max_tree_size"),
    ("--max-idle-secs", "max_idle_secs"),
    ("--assignment-mode", "assignment_mode"),
    ("--bucket-adjust-interval-secs", "bucket_adjust_interval_secs"),
];

/// A policy, and an option of it with its value.
type ShadowOption = (String, (String, String));

/// A policy, and the flag that names it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NamedPolicy<'a> {
    pub(crate) flag: &'static str,
    pub(crate) name: &'a str,
}

impl Options {
    /// What makes a policy with the flags that it accepts, and with `options`. An error names the flag that it is about.
    pub(crate) fn build_policy(
        &self,
        registry: &Registry,
        policy: NamedPolicy<'_>,
        options: &[(String, String)],
    ) -> Result<PolicyFactory, ConfigError> {
        let NamedPolicy { flag, name } = policy;
        let accepts = |option: &str| registry.options(name).is_some_and(|mut all| all.any(|k| k == option));
        let mut params = self.policy_flags(accepts);
        params.extend(options.iter().map(|(name, text)| (name.clone(), policy_options::value(text))));
        registry.factory(name, params).map_err(|error| {
            let flag = match &error {
                PolicyError::Option { option, .. } if options.iter().any(|(name, _)| name == option) => {
                    if flag == SHADOWS {
                        SHADOW_OPTION
                    } else {
                        "--policy-option"
                    }
                }
                PolicyError::Option { option, .. } => {
                    FLAGS.iter().find(|(_, name)| name == option).map_or(flag, |(flag, _)| flag)
                }
                _ => flag,
            };
            ConfigError::option(flag, error)
        })
    }

    /// Builds the shadow policies. `--policy-option` is for the live policy alone; they have options of their own.
    pub(crate) fn check_shadows(&self, registry: &Registry) -> Result<Vec<PolicyFactory>, ConfigError> {
        let options = self.shadow_options()?;
        let build = |name: &String| {
            let own = options.iter().filter(|(policy, _)| policy == name).map(|(_, option)| option.clone());
            self.build_policy(registry, NamedPolicy { flag: SHADOWS, name }, &own.collect::<Vec<_>>())
        };
        self.shadow_policies.iter().map(build).collect()
    }

    /// The options of shadow policies, each with its policy: `POLICY.NAME=VALUE` of the flag, and tables of the TOML file.
    fn shadow_options(&self) -> Result<Vec<ShadowOption>, ConfigError> {
        let mut options = Vec::new();
        for (key, text) in &self.shadow_policy_options {
            match (key.split_once('.'), policy_options::value(text)) {
                (Some((policy, name)), _) => {
                    options.push((policy.to_owned(), (name.to_owned(), text.clone())))
                }
                (None, Value::Object(table)) => options.extend(table.into_iter().map(|(name, value)| {
                    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    (key.clone(), (name, text))
                })),
                (None, _) => {
                    return Err(ConfigError::option(SHADOW_OPTION, format!("'{key}' is not POLICY.NAME")));
                }
            }
        }
        match options.iter().find(|(policy, _)| !self.shadow_policies.contains(policy)) {
            Some((policy, _)) => {
                let problem = format!("'{policy}' is not among --shadow-policies");
                Err(ConfigError::option(SHADOW_OPTION, problem))
            }
            None => Ok(options),
        }
    }

    /// What may not be meant in the choice of policies and of their options, in sentences.
    pub fn policy_warnings(&self, registry: &Registry) -> Vec<String> {
        let unused = self.unused_policy_options(registry).into_iter();
        let unused =
            unused.map(|option| format!("{option} is not an option of {}: it has no effect", self.policy));
        unused.chain(self.unheard_shadows(registry).map(str::to_owned)).collect()
    }

    /// A warning when shadow policies decide and nothing keeps what they decided.
    fn unheard_shadows(&self, registry: &Registry) -> Option<&'static str> {
        let records = registry.spec(self.live_policy()).is_some_and(|spec| spec.records);
        let is_kept = self.record_dir.is_some() || self.enable_tracking || self.enable_trace || records;
        (!self.shadow_policies.is_empty() && !is_kept).then_some(
            "the decisions of --shadow-policies are not kept anywhere: give --record-dir or --enable-tracking",
        )
    }

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
    fn unused_policy_options(&self, registry: &Registry) -> Vec<String> {
        let others =
            [&self.prefill_policy, &self.decode_policy].into_iter().flatten().chain(&self.shadow_policies);
        let chosen: Vec<_> = others.chain([&self.policy]).collect();
        let takes =
            |option: &str| chosen.iter().filter_map(|p| registry.options(p)).flatten().any(|k| k == option);
        self.policy_flags(|option| !takes(option)).into_iter().map(|(name, _)| name).collect()
    }
}
