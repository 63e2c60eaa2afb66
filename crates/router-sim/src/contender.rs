//! What competes in an experiment: a policy with its knobs, or the oracle.

use crate::oracle::OracleWeights;
use crate::outcome::SimulationOutcome;
use crate::scenario::Scenario;
use crate::simulation;
use crate::workload::Workload;
use router_core::policy::Random;
use router_core::{Policy, PolicyError, PolicyOptions, Registry};

/// The name under which the oracle is asked for.
const ORACLE: &str = "oracle";

/// Who decides.
pub enum DecisionMaker<'a> {
    /// A policy; the function makes a fresh one for each router of each run.
    Policy(Box<dyn Fn() -> Box<dyn Policy> + 'a>),
    /// The oracle, which knows what no router can know.
    Oracle(OracleWeights),
}

/// Somebody to compare, under the name it has in the table.
pub struct Contender<'a> {
    /// Its name.
    pub name: String,
    /// Who decides.
    pub brain: DecisionMaker<'a>,
}

impl std::fmt::Debug for Contender<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Contender").field(&self.name).finish()
    }
}

impl<'a> Contender<'a> {
    /// The policies that `make` makes.
    pub fn new(name: impl Into<String>, make: impl Fn() -> Box<dyn Policy> + 'a) -> Self {
        Self { name: name.into(), brain: DecisionMaker::Policy(Box::new(make)) }
    }

    /// From `NAME` or `NAME:KNOB=VALUE:KNOB=VALUE`; a value is JSON where it reads as JSON and a text otherwise. `oracle`
    /// is the oracle, every other name is looked up in `registry`.
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
    /// An unknown name or knob, or a value that makes no sense.
    pub fn parse(text: &str, registry: &'a Registry) -> Result<Self, PolicyError> {
        let mut parts = split(text, ':').into_iter();
        let name = parts.next().unwrap_or_default().trim().to_owned();
        let knobs = parts.map(|part| knob(&name, part)).collect::<Result<PolicyOptions, _>>()?;
        if name == ORACLE {
            let brain = DecisionMaker::Oracle(OracleWeights::from_params(&knobs)?);
            return Ok(Self { name: text.trim().to_owned(), brain });
        }
        registry.build(&name, &knobs).map_err(with_oracle)?;
        // What has just been built can be built again; the compiler does not know it.
        let make = move || registry.build(&name, &knobs).unwrap_or_else(|_| Box::new(Random));
        Ok(Self::new(text.trim(), make))
    }

    /// All contenders of a list separated by commas.
    ///
    /// # Errors
    /// As [`parse`](Self::parse), for the first that is wrong.
    pub fn list(text: &str, registry: &'a Registry) -> Result<Vec<Self>, PolicyError> {
        split(text, ',').into_iter().map(|one| Self::parse(one, registry)).collect()
    }

    /// Runs `load` through `scenario`. All chance follows from `seed` and from the load.
    pub fn run(&self, scenario: &Scenario, load: &Workload, seed: u64) -> SimulationOutcome {
        simulation::run((scenario, load), &self.brain, seed)
    }

    /// The same as long as `goes_on`; nothing when it did not.
    pub(crate) fn run_while(
        &self,
        stage: (&Scenario, &Workload),
        seed: u64,
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Option<SimulationOutcome> {
        simulation::run_while(stage, &self.brain, seed, goes_on)
    }
}

fn knob(policy: &str, text: &str) -> Result<(String, serde_json::Value), PolicyError> {
    let (name, value) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(|| {
        let (policy, message) = (policy.to_owned(), format!("`{text}` is no knob: expected NAME=VALUE"));
        PolicyError::Options { policy, message }
    })?;
    Ok((name.trim().to_owned(), serde_json::from_str(value).unwrap_or_else(|_| value.trim().into())))
}

/// The oracle can be asked for as well, so it is named among the known.
fn with_oracle(error: PolicyError) -> PolicyError {
    match error {
        PolicyError::Unknown { name, suggestion, known } => {
            PolicyError::Unknown { name, suggestion, known: format!("{known}, {ORACLE}") }
        }
        other => other,
    }
}

/// Splits at a separator that stands outside of JSON's brackets and quotes.
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
    fn a_list_is_split_outside_of_json() {
        let registry = Registry::builtin();
        let text = r#"random, fixed_probability:probabilities={"http://server-0":0.5,"http://server-1":0.5},oracle:ttft_weight=1"#;
        let list = Contender::list(text, &registry).unwrap();
        let names: Vec<_> = list.iter().map(|c| c.name.split(':').next().unwrap()).collect();
        assert_eq!(names, ["random", "fixed_probability", "oracle"]);
    }

    #[test]
    fn mistakes_are_named() {
        let registry = Registry::builtin();
        for (text, parts) in [
            ("rond_robin", &["unknown policy `rond_robin`", "`round_robin`", "oracle"][..]),
            ("", &["unknown policy ``"]),
            ("random,", &["unknown policy ``"]),
            ("marginal_cost:ttft", &["marginal_cost", "`ttft` is no knob"]),
            ("marginal_cost:ttft_weight=-1", &["`ttft_weight`", "0 or more"]),
            ("oracle:ttft_weight=-1", &["oracle", "`ttft_weight` must be 0 or more, not -1"]),
            ("oracle:speed=1", &["oracle", "`speed`"]),
        ] {
            let error = Contender::list(text, &registry).unwrap_err().to_string();
            assert!(parts.iter().all(|part| error.contains(part)), "{text}: {error}");
        }
    }
}
