//! The HTTP API: what requests mean, and what responses say.

pub(crate) mod body;
pub(crate) mod errors;
pub(crate) mod faulty_body;
pub(crate) mod formats;
pub(crate) mod generation;
pub(crate) mod messages;
pub(crate) mod meta_info;
pub(crate) mod request;
pub(crate) mod text;
