//! One decision, with what each candidate would have cost.

use serde::{Deserialize, Serialize};

/// One decision.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DecisionRow {
    /// When it was made.
    pub at: f64,
    /// The request's id, by which its trace is found.
    pub request_id: String,
    /// The number of the attempt, from 0.
    pub attempt: u32,
    /// The part of the request: `whole`, `prefill` or `decode`.
    pub leg: String,
    /// The policy.
    pub policy: String,
    /// The model of the pool; `None` while it is not known.
    pub model: Option<String>,
    /// The path of the request.
    pub route: String,
    /// The chosen worker.
    pub worker: String,
    /// Why it was chosen.
    pub reason: String,
    /// How many workers could be chosen.
    pub candidates: u32,
    /// Length of the prompt in bytes.
    pub prompt_bytes: u64,
    /// The candidates that were compared, cheapest first, at most eight; the chosen one is always among them. Empty where the rule
    /// compares no costs.
    pub costs: Vec<CandidateCost>,
    /// What the shadow policies would have chosen.
    pub shadows: Vec<ShadowChoice>,
}

/// What one candidate would have cost.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct CandidateCost {
    /// The worker.
    pub worker: String,
    /// Its cost; lower is better.
    pub cost: f64,
    /// The terms of the cost, as the policy's page explains them.
    pub terms: Vec<CostTerm>,
}

/// One term of a cost.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct CostTerm {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: f64,
}

/// What a shadow policy would have chosen.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct ShadowChoice {
    /// The policy.
    pub policy: String,
    /// Its choice.
    pub worker: String,
}
