//! The HTTP API: what requests mean, and what responses say.

pub(crate) mod body;
pub(crate) mod errors;
pub(crate) mod faulty_body;
pub(crate) mod formats;
pub(crate) mod generate;
pub(crate) mod generation;
pub(crate) mod info;
pub(crate) mod meta_info;
pub(crate) mod metrics;
pub(crate) mod plan;
pub(crate) mod request;
pub(crate) mod scoring;
pub(crate) mod text;
