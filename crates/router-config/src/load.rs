//! Merges command line and TOML file: a flag overrides the file, the file overrides the default.

use crate::error::ConfigError;
use crate::options::Options;
use crate::sources::{SourcedOptions, Sources};
use clap::ArgMatches;
use clap::parser::ValueSource;
use router_core::similar_name;
use serde_json::Value;
use std::path::Path;

impl Options {
    /// The options of a TOML file, overridden by the flags given on the command line or in the environment.
    ///
    /// # Errors
    /// When the file cannot be read, or has an unknown key or an invalid value; the message names it.
    pub fn load(matches: &ArgMatches, flags: Self, file: Option<&Path>) -> Result<Self, ConfigError> {
        Self::load_sourced(matches, flags, file).map(|loaded| loaded.options)
    }

    /// The same, and where each value is from.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_sourced(
        matches: &ArgMatches,
        flags: Self,
        file: Option<&Path>,
    ) -> Result<SourcedOptions, ConfigError> {
        let Some(path) = file else {
            return Ok(SourcedOptions { options: flags, sources: Sources::of(matches, []) });
        };
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let origin = format!("config file {}", path.display());
        let from_file = Self::from_toml(&text, &origin)?;
        let keys = toml::from_str::<toml::Table>(&text).unwrap_or_default();
        let sources = Sources::of(matches, keys.into_iter().map(|(key, _)| key));
        let given = |name: &str| {
            matches!(matches.value_source(name), Some(ValueSource::CommandLine | ValueSource::EnvVariable))
        };
        let merged = (|| {
            let mut base = serde_json::to_value(&from_file)?;
            let flags = serde_json::to_value(&flags)?;
            if let (Some(base), Value::Object(flags)) = (base.as_object_mut(), flags) {
                let known: Vec<_> = matches.ids().map(|id| id.as_str().to_owned()).collect();
                base.extend(flags.into_iter().filter(|(k, _)| known.contains(k) && given(k)));
            }
            serde_json::from_value(base)
        })();
        let merged: Self =
            merged.map_err(|e: serde_json::Error| ConfigError::Parse { origin, problem: e.to_string() })?;
        // No flag gives such workers, and their keys are not in the JSON.
        let merged = Self { workers: from_file.workers.clone(), ..merged };
        Ok(SourcedOptions { options: merged.keep_secrets(flags, from_file, given), sources })
    }

    /// The options of a TOML text; `origin` says in errors where it is from.
    ///
    /// # Errors
    /// When it has an unknown key or an invalid value; the message names it.
    pub fn from_toml(text: &str, origin: &str) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|error: toml::de::Error| {
            let line = error
                .span()
                .and_then(|span| text.get(..span.start))
                .map(|before| before.matches('\n').count() + 1);
            let problem = unknown_key(error.message(), line).unwrap_or_else(|| one_line(&error.to_string()));
            ConfigError::Parse { origin: origin.to_owned(), problem }
        })
    }

    /// The options that differ from their defaults, as TOML. Secrets are left out.
    ///
    /// # Errors
    /// When TOML cannot represent a value, such as a number beyond its range.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        let (Value::Object(own), Value::Object(defaults)) = (as_json(self)?, as_json(&Self::default())?)
        else {
            return Ok(String::new());
        };
        let changed = own.into_iter().filter(|(key, value)| defaults.get(key) != Some(value));
        toml::to_string(&Value::Object(changed.collect()))
    }
}

fn as_json(options: &Options) -> Result<Value, toml::ser::Error> {
    serde_json::to_value(options).map_err(serde::ser::Error::custom)
}

/// The problem of an unknown key, from serde's message, which lists all keys.
fn unknown_key(message: &str, line: Option<usize>) -> Option<String> {
    // The names are in backquotes, the unknown one first.
    let mut names = message.strip_prefix("unknown field ")?.split('`').skip(1).step_by(2);
    let name = names.next()?;
    let hint = match similar_name(name, names) {
        Some(known) => format!(", did you mean `{known}`?"),
        None => "; docs/configuration.md lists all keys".to_owned(),
    };
    let line = line.map_or_else(String::new, |line| format!("line {line}: "));
    Some(format!("{line}unknown key `{name}`{hint}"))
}

/// The message of toml, which has several lines, as one line for the log.
fn one_line(message: &str) -> String {
    message
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty() && !l.starts_with('|') && !shows_a_secret(l))
        .collect::<Vec<_>>()
        .join(" ")
}

/// Whether the line quotes a line of the file that has a key in it.
fn shows_a_secret(line: &str) -> bool {
    line.split_once('|').is_some_and(|(number, quoted)| {
        number.trim().bytes().all(|b| b.is_ascii_digit()) && quoted.contains("api_key")
    })
}
