//! Pages made of recorded files.
//!
//! One program, because each costs seconds of linking. A file has one subject.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    reason = "tests fail by panicking, and print what they skip"
)]

mod captured;
mod comparing;
mod files;
mod real_files;
mod recording;
