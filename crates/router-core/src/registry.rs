//! Policies by name: how a configuration becomes a policy, built in or registered by a user.
//!
//! ```
//! use router_core::{PolicyOptions, PolicySpec, Registry, policy::Random};
//!
//! let mut registry = Registry::builtin();
//! registry.register(PolicySpec::new("coin", "my own"), |_| Ok(Box::new(Random)))?;
//! assert!(registry.build("coin", &PolicyOptions::new()).is_ok());
//! let error = registry.build("round-robin", &PolicyOptions::new()).unwrap_err();
//! assert!(error.to_string().starts_with("unknown policy `round-robin`, did you mean `round_robin`?"));
//! # Ok::<(), router_core::PolicyError>(())
//! ```

use crate::Policy;
use crate::policy::{
    Bucket, CacheAware, ConsistentHashing, FixedProbability, InvalidOption, LMetric, LeastLoad, LeastRequest,
    Manual, MarginalCost, MarginalUtility, Passthrough, PeakEwma, PowerOfTwo, PrefixHash, Prequal, Random,
    RoundRobin, ShortestQueue,
};
use crate::similar_name::similar_name;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// The options of one policy by name, as they stand in a configuration.
pub type PolicyOptions = serde_json::Map<String, serde_json::Value>;

/// Why a policy could not be registered or built. One line each, written for the author of the configuration.
#[non_exhaustive]
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PolicyError {
    /// No policy has this name.
    #[error("unknown policy `{name}`{}; known: {known}", suggestion.as_ref().map_or(String::new(), |s| format!(", did you mean `{s}`?")))]
    Unknown {
        /// The unknown name.
        name: String,
        /// The most similar name, if one is similar enough.
        suggestion: Option<String>,
        /// All names, separated by commas.
        known: String,
    },
    /// The options do not fit the policy.
    #[error("policy `{policy}`: {message}")]
    Options {
        /// The policy.
        policy: String,
        /// What is wrong, naming the option.
        message: String,
    },
    /// One option does not fit the policy.
    #[error("policy `{policy}`: option `{option}` {problem}")]
    Option {
        /// The policy.
        policy: String,
        /// The option.
        option: String,
        /// What is wrong, to be read after the name: "must be at least 2, not 1".
        problem: String,
    },
    /// The name is already registered.
    #[error("a policy called `{name}` is already registered")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// The name cannot be a label, a column or part of a file name.
    #[error("`{name}` is no name for a policy: lower-case letters, digits and `_` only")]
    BadName {
        /// The name.
        name: String,
    },
}

/// What is known about a policy before it is built.
#[derive(Clone, PartialEq, Debug)]
pub struct PolicySpec {
    /// The name by which users ask for it.
    pub name: String,
    /// Its rule in one line.
    pub summary: String,
    /// Whether choosing it switches the recording of decisions on.
    pub records: bool,
    /// First part of the names of recorded files: the name of the rule.
    pub record_stem: String,
    /// Its options and their defaults; `null` where the default is to have none.
    pub options: PolicyOptions,
}

impl PolicySpec {
    /// A policy without options that does not ask to be recorded.
    pub fn new(name: &str, summary: &str) -> Self {
        let (name, summary) = (name.to_owned(), summary.to_owned());
        Self { record_stem: name.clone(), name, summary, records: false, options: PolicyOptions::new() }
    }

    /// Sets the options and their defaults to those of `defaults`.
    #[must_use]
    pub fn with_options(mut self, defaults: &impl Serialize) -> Self {
        if let Ok(serde_json::Value::Object(options)) = serde_json::to_value(defaults) {
            self.options = options;
        }
        self
    }

    /// Switches recording on for those who choose the policy, into files named after `rule`.
    #[must_use]
    pub fn recorded(mut self, rule: &str) -> Self {
        self.records = true;
        rule.clone_into(&mut self.record_stem);
        self
    }
}

/// Builds a policy from its options.
type PolicyBuilder = dyn Fn(&PolicyOptions) -> Result<Box<dyn Policy>, PolicyError> + Send + Sync;

/// All policies that can be asked for by name.
#[derive(Clone)]
pub struct Registry {
    entries: Vec<(PolicySpec, Arc<PolicyBuilder>)>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.specs().map(|s| &s.name)).finish()
    }
}

impl Registry {
    /// No policies at all.
    pub const fn empty() -> Self {
        Self { entries: Vec::new() }
    }

    /// The policies of this crate.
    pub fn builtin() -> Self {
        let mut r = Self::empty();
        let spec = PolicySpec::new;
        r.add(spec("random", "uniform over the workers"), |_: NoOptions| Ok(Random));
        r.add(spec("round_robin", "one worker after the other"), |_: NoOptions| Ok(RoundRobin::default()));
        r.add(spec("least_request", "fewest requests in flight, by weight"), LeastRequest::new);
        r.add(spec("peak_ewma", "lowest response time times requests in flight"), PeakEwma::new);
        r.add(spec("prequal", "fastest of those with few in flight, else fewest in flight"), Prequal::new);
        r.add(
            spec("least_load", "shortest time to work off what is queued, as the workers report"),
            LeastLoad::new,
        );
        r.add(spec("lmetric", "fewest tokens to compute times requests in flight"), LMetric::new);
        r.add(spec("bucket", "each worker with the prompts of a range of lengths"), Bucket::new);
        r.add(spec("prefix_hash", "the head of a prompt by hash, while loads are even"), PrefixHash::new);
        let summary = "a routing key by hash, or the worker that the client names";
        r.add(spec("consistent_hashing", summary), |_: NoOptions| Ok(ConsistentHashing::default()));
        r.add(spec("manual", "a routing key stays on the worker it was assigned to"), Manual::new);
        r.add(spec("passthrough", "the first worker, always"), |_: NoOptions| Ok(Passthrough::default()));
        r.add(spec("power_of_two", "the less loaded of two drawn at random"), PowerOfTwo::new);
        let summary = "longest known prefix while loads are even, else least load";
        r.add(spec("cache_aware", summary), CacheAware::new);
        r.add(spec("shortest_queue", "fewest requests waiting"), ShortestQueue::new);
        r.add(spec("marginal_utility", "best recent performance gradient"), MarginalUtility::new);
        let recorder =
            spec("marginal_utility_recorder", "marginal_utility, recorded").recorded("marginal_utility");
        r.add(recorder, MarginalUtility::recorder);
        r.add(
            spec("marginal_cost", "least added latency over all requests, by learned speeds"),
            MarginalCost::new,
        );
        r.add(
            spec("fixed_probability", "at random, with a fixed probability per worker"),
            FixedProbability::new,
        );
        r
    }

    /// Adds a policy under a new name.
    ///
    /// # Errors
    /// A name that is already registered, or that is not made of lower-case letters, digits and `_`.
    pub fn register(
        &mut self,
        spec: PolicySpec,
        build: impl Fn(&PolicyOptions) -> Result<Box<dyn Policy>, PolicyError> + Send + Sync + 'static,
    ) -> Result<(), PolicyError> {
        let name = spec.name.clone();
        if name.is_empty() || !name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_')) {
            return Err(PolicyError::BadName { name });
        }
        if self.spec(&name).is_some() {
            return Err(PolicyError::Duplicate { name });
        }
        self.entries.push((spec, Arc::new(build)));
        Ok(())
    }

    /// Builds the policy called `name` with these options; those not given have their defaults.
    ///
    /// # Errors
    /// An unknown name, an unknown option, or an option whose value makes no sense.
    pub fn build(&self, name: &str, params: &PolicyOptions) -> Result<Box<dyn Policy>, PolicyError> {
        match self.entries.iter().find(|(spec, _)| spec.name == name) {
            Some((_, build)) => build(params),
            None => Err(self.unknown(name)),
        }
    }

    /// What makes policies called `name` with these options, where several balancers need one each.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn factory(&self, name: &str, options: PolicyOptions) -> Result<PolicyFactory, PolicyError> {
        match self.entries.iter().find(|(spec, _)| spec.name == name) {
            Some((_, build)) => PolicyFactory::new(name, options, Arc::clone(build)),
            None => Err(self.unknown(name)),
        }
    }

    /// All policies, in the order in which they were registered.
    pub fn specs(&self) -> impl Iterator<Item = &PolicySpec> {
        self.entries.iter().map(|(spec, _)| spec)
    }

    /// What is known about the policy called `name`.
    pub fn spec(&self, name: &str) -> Option<&PolicySpec> {
        self.specs().find(|s| s.name == name)
    }

    /// The names of the options that the policy called `name` accepts.
    pub fn options(&self, name: &str) -> Option<impl Iterator<Item = &str>> {
        self.spec(name).map(|s| s.options.keys().map(String::as_str))
    }

    /// Adds a built-in policy, whose name is known to be valid and new.
    fn add<C, P>(&mut self, spec: PolicySpec, new: fn(C) -> Result<P, InvalidOption>)
    where
        C: Default + Serialize + DeserializeOwned + 'static,
        P: Policy + 'static,
    {
        let name = spec.name.clone();
        let build = move |params: &PolicyOptions| -> Result<Box<dyn Policy>, PolicyError> {
            let config = read_options::<C>(&name, params)?;
            let invalid = |e: InvalidOption| PolicyError::Option {
                policy: name.clone(),
                option: e.option.to_owned(),
                problem: e.message,
            };
            Ok(Box::new(new(config).map_err(invalid)?))
        };
        self.entries.push((spec.with_options(&C::default()), Arc::new(build)));
    }

    fn unknown(&self, name: &str) -> PolicyError {
        let suggestion = similar_name(name, self.specs().map(|s| s.name.as_str())).map(str::to_owned);
        let known: Vec<_> = self.specs().map(|s| s.name.as_str()).collect();
        PolicyError::Unknown { name: name.to_owned(), suggestion, known: known.join(", ") }
    }
}

/// Makes policies of one name and with the same options: one for each balancer.
///
/// ```
/// use router_core::{PolicyOptions, Registry};
///
/// let mut factory = Registry::builtin().factory("round_robin", PolicyOptions::new())?;
/// assert_eq!((factory.make()?.name(), factory.make()?.name()), ("round_robin", "round_robin"));
/// # Ok::<(), router_core::PolicyError>(())
/// ```
pub struct PolicyFactory {
    name: String,
    options: PolicyOptions,
    build: Arc<PolicyBuilder>,
    /// The first one: only building a policy validates its options.
    first: Option<Box<dyn Policy>>,
}

impl PolicyFactory {
    /// Builds the first policy.
    fn new(name: &str, options: PolicyOptions, build: Arc<PolicyBuilder>) -> Result<Self, PolicyError> {
        let first = Some(build(&options)?);
        Ok(Self { name: name.to_owned(), options, build, first })
    }

    /// The policy's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The options that were given.
    pub const fn options(&self) -> &PolicyOptions {
        &self.options
    }

    /// Whether both make policies of the same name with the same options given.
    pub fn is_same(&self, other: &Self) -> bool {
        self.name == other.name && self.options == other.options
    }

    /// A new policy, which has learned nothing.
    ///
    /// # Errors
    /// A policy from outside may refuse options that it accepted before. The first call cannot fail.
    pub fn make(&mut self) -> Result<Box<dyn Policy>, PolicyError> {
        match self.first.take() {
            Some(policy) => Ok(policy),
            None => (self.build)(&self.options),
        }
    }
}

impl fmt::Debug for PolicyFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolicyFactory").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Reads the options of `policy` into its configuration type. Also for user-registered policies.
///
/// # Errors
/// A message that names the invalid option.
pub fn read_options<C: DeserializeOwned>(policy: &str, params: &PolicyOptions) -> Result<C, PolicyError> {
    let read = |params: PolicyOptions| serde_json::from_value::<C>(serde_json::Value::Object(params));
    read(params.clone()).map_err(|error| {
        let policy = policy.to_owned();
        // serde names an unknown key but not the key of a bad value, so each is tried alone.
        let wrong = params.iter().find_map(|(option, value)| {
            let error = read(PolicyOptions::from_iter([(option.clone(), value.clone())])).err()?.to_string();
            (!error.starts_with("missing field")).then(|| (option.clone(), problem(option, value, &error)))
        });
        match wrong {
            Some((option, problem)) => PolicyError::Option { policy, option, problem },
            None => PolicyError::Options { policy, message: error.to_string() },
        }
    })
}

/// What is wrong with an option, in plain words, from serde's message about it.
fn problem(option: &str, value: &serde_json::Value, error: &str) -> String {
    if error.starts_with("unknown field") {
        // The names are in backquotes, the unknown one first.
        let known: Vec<_> = error.split('`').skip(3).step_by(2).collect();
        return match (similar_name(option, known.iter().copied()), known.is_empty()) {
            (Some(similar), _) => format!("is unknown, did you mean `{similar}`?"),
            (None, true) => "is unknown; the policy has no options".to_owned(),
            (None, false) => format!("is unknown; known: {}", known.join(", ")),
        };
    }
    let kinds = [
        ("expected f64", "a number"),
        ("expected u", "a whole number of at least 0"),
        ("expected a nonzero", "a whole number of at least 1"),
        ("expected a boolean", "true or false"),
        ("expected a map", "a table of names and values"),
    ];
    match kinds.iter().find(|(expected, _)| error.contains(expected)) {
        Some((_, kind)) => format!("must be {kind}, not {value}"),
        None => format!("is invalid: {error}"),
    }
}

/// The configuration of a policy without options.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NoOptions {}
