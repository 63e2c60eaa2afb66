//! What all metrics share: constructors that register a metric, and label sets.

pub(crate) mod family;
pub(crate) mod labels;
mod text_format;

pub(crate) use text_format::to_text_format;
