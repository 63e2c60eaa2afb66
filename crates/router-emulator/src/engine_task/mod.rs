//! The engine model under real time, and the progress of each generation in it.

pub(crate) mod driver;
pub(crate) mod progress;
