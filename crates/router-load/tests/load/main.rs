//! Loads against emulated servers, and files as users have them.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

mod datasets;
mod outcomes;
mod recorded;
mod support;
