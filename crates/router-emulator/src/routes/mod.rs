//! The handlers of the routes.

pub(crate) mod control;
pub(crate) mod disaggregation;
pub(crate) mod disaggregation_params;
pub(crate) mod generate;
pub(crate) mod info;
pub(crate) mod metrics;
pub(crate) mod plan;
pub(crate) mod scoring;
pub(crate) mod whole;
