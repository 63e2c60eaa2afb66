//! What the workers of each model did. Counted once the model is known.

use crate::leg::Leg;
use crate::prometheus::family::family;
use crate::prometheus::labels::{ModelLabel, ModelOutcomeLabels};
use crate::record::CompletionRecord;
use prometheus_client::metrics::{counter::Counter, family::Family};
use prometheus_client::registry::Registry;
use router_core::Outcome;
use std::sync::{Arc, OnceLock};

/// The families of all models.
#[derive(Clone, Debug)]
pub(crate) struct ModelMetrics {
    requests: Family<ModelOutcomeLabels, Counter>,
    prompt_tokens: Family<ModelLabel, Counter>,
    output_tokens: Family<ModelLabel, Counter>,
}

/// The counters of one model.
#[derive(Debug)]
pub(crate) struct ModelCounters {
    name: Arc<str>,
    families: ModelMetrics,
    successes: OnceLock<Counter>,
    prompt_tokens: Counter,
    output_tokens: Counter,
}

impl ModelMetrics {
    pub(crate) fn new(r: &mut Registry) -> Self {
        Self {
            requests: family(r, "model_requests", "Requests that a worker of the model ended, by outcome"),
            prompt_tokens: family(r, "model_prompt_tokens", "Prompt tokens of these requests, as reported"),
            output_tokens: family(r, "model_output_tokens", "Output tokens of these requests, as reported"),
        }
    }

    pub(crate) fn of(&self, model: &Arc<str>) -> ModelCounters {
        let label = ModelLabel { model: Arc::clone(model) };
        ModelCounters {
            name: Arc::clone(model),
            successes: OnceLock::new(),
            prompt_tokens: self.prompt_tokens.get_or_create_owned(&label),
            output_tokens: self.output_tokens.get_or_create_owned(&label),
            families: self.clone(),
        }
    }
}

impl ModelCounters {
    /// Counts the attempt that the client got the response of.
    pub(crate) fn completed(&self, record: &CompletionRecord) {
        if !record.forwarded || record.info.leg == Leg::Prefill {
            return;
        }
        let result = &record.completion.result;
        if result.outcome == Outcome::Success {
            self.successes.get_or_init(|| self.counter(Outcome::Success)).inc();
        } else {
            self.counter(result.outcome).inc();
        }
        self.prompt_tokens.inc_by(result.usage.prompt_tokens.unwrap_or(0).into());
        self.output_tokens.inc_by(result.usage.output_tokens.unwrap_or(0).into());
    }

    fn counter(&self, outcome: Outcome) -> Counter {
        let labels = ModelOutcomeLabels { model: Arc::clone(&self.name), outcome: outcome.as_str() };
        self.families.requests.get_or_create_owned(&labels)
    }
}
