//! Where the value of each option is from.

use crate::options::Options;
use clap::ArgMatches;
use clap::parser::ValueSource;
use std::collections::BTreeMap;

/// Where a value is from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// Nobody gave one.
    Default,
    /// The file of `--config`.
    File,
    /// A flag of the command line.
    Flag,
    /// An environment variable.
    Environment,
    /// The program that started the router, as one that embeds it does.
    Program,
    /// A change while the router ran.
    Api,
}

impl Source {
    /// The name in responses and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::File => "file",
            Self::Flag => "flag",
            Self::Environment => "environment",
            Self::Program => "program",
            Self::Api => "api",
        }
    }
}

/// Where the values of the options are from.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Sources(BTreeMap<String, Source>);

impl Sources {
    /// Of options that were read from a file with these keys, if there is one, and from flags.
    pub(crate) fn of(matches: &ArgMatches, file: impl IntoIterator<Item = String>) -> Self {
        let mut sources: BTreeMap<_, _> = file.into_iter().map(|key| (key, Source::File)).collect();
        for id in matches.ids().map(|id| id.as_str()) {
            match matches.value_source(id) {
                Some(ValueSource::CommandLine) => sources.insert(id.to_owned(), Source::Flag),
                Some(ValueSource::EnvVariable) => sources.insert(id.to_owned(), Source::Environment),
                _ => None,
            };
        }
        Self(sources)
    }

    /// Notes where an option is from.
    pub fn set(&mut self, key: &str, source: Source) {
        self.0.insert(key.to_owned(), source);
    }

    /// Takes over where these options are from.
    pub fn take(&mut self, keys: &[&str], other: &Self) {
        for key in keys {
            match other.0.get(*key) {
                Some(source) => self.0.insert((*key).to_owned(), *source),
                None => self.0.remove(*key),
            };
        }
    }

    /// Where an option is from; `differs` says whether it has another value than its default.
    pub(crate) fn get(&self, key: &str, differs: bool) -> Source {
        let unsaid = if differs { Source::Program } else { Source::Default };
        self.0.get(key).copied().unwrap_or(unsaid)
    }
}

/// Options, and where they are from.
#[derive(Clone, Debug)]
pub struct SourcedOptions {
    /// The options.
    pub options: Options,
    /// Where they are from.
    pub sources: Sources,
}
