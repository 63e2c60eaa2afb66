//! Constructors that create and register a metric in one step.

use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::{TypedMetric, counter::Counter, histogram::Histogram};
use prometheus_client::registry::Registry;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

/// Upper bounds in seconds, as in SGLang's routers, so that their dashboards work.
pub(crate) const DURATION_BUCKETS: [f64; 20] = [
    0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 45.0, 60.0, 90.0,
    120.0, 180.0, 240.0,
];

/// Upper bounds of a histogram's buckets, in seconds, ascending.
#[derive(Clone, Debug)]
pub struct Buckets(Arc<[f64]>);

impl Buckets {
    /// Buckets with these upper bounds, in seconds, ascending.
    pub fn new(bounds: &[f64]) -> Self {
        Self(bounds.into())
    }

    pub(crate) fn bounds(&self) -> &[f64] {
        &self.0
    }
}

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.0.iter().copied())
    }
}

/// Registers a metric with labels.
pub(crate) fn family<L, M>(registry: &mut Registry, name: &str, help: &str) -> Family<L, M>
where
    L: Clone + Hash + Eq + EncodeLabelSet + Debug + Send + Sync + 'static,
    M: Default + EncodeMetric + TypedMetric + Debug + Send + Sync + 'static,
{
    let family = Family::default();
    registry.register(name, help, family.clone());
    family
}

/// Registers a histogram with labels.
pub(crate) fn histograms<L>(r: &mut Registry, name: &str, help: &str, bounds: &Buckets) -> Histograms<L>
where
    L: Clone + Hash + Eq + EncodeLabelSet + Debug + Send + Sync + 'static,
{
    let family = Family::new_with_constructor(bounds.clone());
    r.register(name, help, family.clone());
    family
}

/// Histograms by labels.
pub(crate) type Histograms<L> = Family<L, Histogram, Buckets>;

/// Registers a counter without labels.
pub(crate) fn counter(registry: &mut Registry, name: &str, help: &str) -> Counter {
    let counter = Counter::default();
    registry.register(name, help, counter.clone());
    counter
}
