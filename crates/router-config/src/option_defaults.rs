//! The defaults of the options: those of the command line.

use crate::options::Options;
use clap::Args as _;

impl Default for Options {
    fn default() -> Self {
        use clap::FromArgMatches as _;
        let matches = Self::augment_args(clap::Command::new("defaults")).get_matches_from(["defaults"]);
        // The defaults are those of the command line; a default that did not parse would fail every test.
        Self::from_arg_matches(&matches).unwrap_or_else(|e| e.exit())
    }
}
