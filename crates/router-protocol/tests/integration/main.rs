//! The readers against what real servers sent, and against bytes that are meant to break them.
//!
//! One program, because each costs seconds of linking. A file has one subject.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests fail by panicking, and print what they skip")]

mod disaggregation;
mod hostile;
mod loads;
mod requests;
mod responses;
mod stream_splits;
mod streams;
mod support;
