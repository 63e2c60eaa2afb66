//! How well what was foreseen of requests agrees with what came: lengths of outputs, and tokens in caches.

use crate::leg::Leg;
use crate::prometheus::family::{Buckets, Histograms, counter, histograms};
use crate::prometheus::labels::ClassLabel;
use crate::record::CompletionRecord;
use prometheus_client::metrics::{counter::Counter, histogram::Histogram};
use prometheus_client::registry::Registry;
use router_core::LengthClass;
use std::sync::OnceLock;

/// Quantiles of a forecast: if it is calibrated, this share of the answers is at or below each.
const RANK_BUCKETS: [f64; 12] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0];
/// Absolute logarithms of lengths over forecasts: 10 % off, a quarter, half as much again, twice, three times, five times, ten times.
const ERROR_BUCKETS: [f64; 7] = [0.1, 0.22, 0.41, 0.7, 1.1, 1.61, 2.31];

/// Metrics of what was foreseen.
#[derive(Clone, Debug)]
pub(super) struct ForecastMetrics {
    ranks: Histograms<ClassLabel>,
    errors: Histograms<ClassLabel>,
    /// By class, created when a forecast of it is first compared.
    classes: [OnceLock<ClassHistograms>; LengthClass::ALL.len()],
    cached: CachePredictions,
}

/// The histograms of one class.
#[derive(Clone, Debug)]
struct ClassHistograms {
    rank: Histogram,
    error: Histogram,
}

/// Sums over the responses of which both the predicted and the reported number of cached tokens are known.
#[derive(Clone, Debug)]
struct CachePredictions {
    predicted: Counter,
    reported: Counter,
    mispredicted: Counter,
}

impl ForecastMetrics {
    pub(super) fn new(r: &mut Registry) -> Self {
        let help = "Rank of the length of an output in its forecast, by the class that it came from: the forecast's quantile";
        let ranks = histograms(r, "output_forecast_rank", help, &Buckets::new(&RANK_BUCKETS));
        let help = "Absolute logarithm of the length of an output over its forecast, by class: 0.69 is twice or half";
        let errors = histograms(r, "output_forecast_error", help, &Buckets::new(&ERROR_BUCKETS));
        let predicted =
            "Prompt tokens that the policy predicted in a cache, of responses whose worker reported them";
        let reported = "Prompt tokens that workers reported in their caches, of responses with a prediction";
        let mispredicted = "Differences between the two, response by response, without their signs";
        Self {
            ranks,
            errors,
            classes: Default::default(),
            cached: CachePredictions {
                predicted: counter(r, "cache_predicted_tokens", predicted),
                reported: counter(r, "cache_reported_tokens", reported),
                mispredicted: counter(r, "cache_mispredicted_tokens", mispredicted),
            },
        }
    }

    /// Compares what was foreseen of an attempt with what came.
    pub(super) fn completed(&self, record: &CompletionRecord) {
        // The prefill leg of a split request has the prompt's cache, the decode leg its output.
        if record.info.leg != Leg::Prefill {
            self.compare_length(record);
        }
        if record.info.leg != Leg::Decode
            && let Some((predicted, reported)) = record.completion.cached_tokens()
        {
            self.cached.predicted.inc_by(predicted.into());
            self.cached.reported.inc_by(reported.into());
            self.cached.mispredicted.inc_by(predicted.abs_diff(reported).into());
        }
    }

    fn compare_length(&self, record: &CompletionRecord) {
        let Some(forecast) = record.completion.forecast else { return };
        let tokens = record.completion.result.usage.output_tokens;
        if let Some((rank, tokens)) = forecast.rank.zip(tokens) {
            let of = self.classes[forecast.class.index()].get_or_init(|| {
                let label = ClassLabel { class: forecast.class.as_str() };
                ClassHistograms {
                    rank: self.ranks.get_or_create_owned(&label),
                    error: self.errors.get_or_create_owned(&label),
                }
            });
            of.rank.observe(rank.into());
            of.error.observe(forecast.log_error(tokens));
        }
    }
}
