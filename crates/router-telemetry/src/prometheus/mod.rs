//! What all metrics share: constructors that register a metric, and label sets.

pub(crate) mod family;
pub(crate) mod labels;
