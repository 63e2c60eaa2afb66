//! A contender of an experiment: a policy with its options, or the oracle.

use crate::decision_maker::DecisionMaker;
use crate::oracle::OracleWeights;
use crate::outcome::SimulationOutcome;
use crate::scenario::Scenario;
use crate::simulation;
use crate::workload::Workload;
use router_core::policy::Random;
use router_core::{Policy, PolicyError, PolicyOptions, Registry};

/// The name under which the oracle is asked for.
const ORACLE: &str = "oracle";

/// A policy or the oracle, under the name that it has in the results.
pub struct Contender<'a> {
    /// Its name.
    pub name: String,
    /// What decides where requests go.
    pub decider: DecisionMaker<'a>,
}

impl std::fmt::Debug for Contender<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Contender").field(&self.name).finish()
    }
}

impl<'a> Contender<'a> {
    /// A contender whose policies come from `make`.
    pub fn new(name: impl Into<String>, make: impl Fn() -> Box<dyn Policy> + 'a) -> Self {
        Self { name: name.into(), decider: DecisionMaker::Policy(Box::new(make)) }
    }

    /// Parses `NAME` or `NAME:OPTION=VALUE:OPTION=VALUE`. A value that is valid JSON is read as JSON, any other value as a
    /// string. `oracle` means the oracle; every other name is looked up in `registry`.
    ///
    /// ```
    /// # use router_core::Registry;
    /// # use router_sim::Contender;
    /// let registry = Registry::builtin();
    /// assert!(Contender::parse("marginal_cost:ttft_weight=2", &registry).is_ok());
    /// let error = Contender::parse("marginal_cost:speed=2", &registry).unwrap_err();
    /// assert!(error.to_string().contains("`speed`"));
    /// ```
    ///
    /// # Errors
    /// An unknown name or option, or an invalid value.
    pub fn parse(text: &str, registry: &'a Registry) -> Result<Self, PolicyError> {
        let mut parts = split(text, ':').into_iter();
        let name = parts.next().unwrap_or_default().trim().to_owned();
        let options = parts.map(|part| parse_option(&name, part)).collect::<Result<PolicyOptions, _>>()?;
        if name == ORACLE {
            let decider = DecisionMaker::Oracle(OracleWeights::from_params(&options)?);
            return Ok(Self { name: text.trim().to_owned(), decider });
        }
        registry.build(&name, &options).map_err(with_oracle)?;
        // It was built successfully on the line above, so the fallback is never used.
        let make = move || registry.build(&name, &options).unwrap_or_else(|_| Box::new(Random));
        Ok(Self::new(text.trim(), make))
    }

    /// Parses a comma-separated list of contenders.
    ///
    /// # Errors
    /// As [`parse`](Self::parse), for the first invalid contender.
    pub fn list(text: &str, registry: &'a Registry) -> Result<Vec<Self>, PolicyError> {
        split(text, ',').into_iter().map(|one| Self::parse(one, registry)).collect()
    }

    /// Runs `load` through `scenario`. All randomness follows from `seed` and from the load.
    pub fn run(&self, scenario: &Scenario, load: &Workload, seed: u64) -> SimulationOutcome {
        simulation::run(scenario, load, &self.decider, seed)
    }

    /// Like [`run`](Self::run), as long as `should_continue` says so; `None` if it was cancelled.
    pub(crate) fn run_while(
        &self,
        scenario: &Scenario,
        load: &Workload,
        seed: u64,
        should_continue: &mut dyn FnMut() -> bool,
    ) -> Option<SimulationOutcome> {
        simulation::run_while(scenario, load, &self.decider, seed, should_continue)
    }
}

fn parse_option(policy: &str, text: &str) -> Result<(String, serde_json::Value), PolicyError> {
    let (name, value) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(|| {
        let (policy, message) =
            (policy.to_owned(), format!("`{text}` is not an option: expected NAME=VALUE"));
        PolicyError::Options { policy, message }
    })?;
    Ok((name.trim().to_owned(), serde_json::from_str(value).unwrap_or_else(|_| value.trim().into())))
}

/// Adds the oracle to the names that an error lists.
fn with_oracle(error: PolicyError) -> PolicyError {
    match error {
        PolicyError::Unknown { name, suggestion, known } => {
            PolicyError::Unknown { name, suggestion, known: format!("{known}, {ORACLE}") }
        }
        other => other,
    }
}

/// Splits at a separator outside of JSON brackets and quotes.
fn split(text: &str, separator: char) -> Vec<&str> {
    let (mut parts, mut from, mut depth, mut quoted) = (Vec::new(), 0, 0_usize, false);
    for (at, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '{' | '[' if !quoted => depth += 1,
            '}' | ']' if !quoted => depth = depth.saturating_sub(1),
            c if c == separator && depth == 0 && !quoted => {
                parts.push(&text[from..at]);
                from = at + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_is_split_outside_json() {
        let registry = Registry::builtin();
        let text = r#"random, fixed_probability:probabilities={"http://server-0":0.5,"http://server-1":0.5},oracle:ttft_weight=1"#;
        let list = Contender::list(text, &registry).unwrap();
        let names: Vec<_> = list.iter().map(|c| c.name.split(':').next().unwrap()).collect();
        assert_eq!(names, ["random", "fixed_probability", "oracle"]);
    }

    #[test]
    fn errors_name_the_mistake() {
        let registry = Registry::builtin();
        for (text, parts) in [
            ("rond_robin", &["unknown policy `rond_robin`", "`round_robin`", "oracle"][..]),
            ("", &["unknown policy ``"]),
            ("random,", &["unknown policy ``"]),
            ("marginal_cost:ttft", &["marginal_cost", "`ttft` is not an option"]),
            ("marginal_cost:ttft_weight=-1", &["`ttft_weight`", "0 or more"]),
            ("oracle:ttft_weight=-1", &["oracle", "`ttft_weight` must be 0 or more, not -1"]),
            ("oracle:speed=1", &["oracle", "`speed`"]),
        ] {
            let error = Contender::list(text, &registry).unwrap_err().to_string();
            assert!(parts.iter().all(|part| error.contains(part)), "{text}: {error}");
        }
    }
}
