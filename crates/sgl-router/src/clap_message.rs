//! clap's error messages in one line.

use clap::error::{ContextKind, ContextValue};

/// The first line of clap's message, with its suggestion.
pub(crate) fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let mut lines = text.lines().map(str::trim).filter(|l| !l.is_empty());
    let first = lines.next().unwrap_or("invalid command line").trim_start_matches("error: ").to_owned();
    let first = if first.ends_with(':') { format!("{first} {}", lines.next().unwrap_or("")) } else { first };
    let suggestion =
        [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand, ContextKind::SuggestedValue]
            .into_iter()
            .find_map(|kind| match error.get(kind) {
                Some(ContextValue::String(s)) => Some(s.clone()),
                Some(ContextValue::Strings(all)) => all.first().cloned(),
                _ => None,
            });
    match suggestion {
        Some(suggestion) => format!("{first}; did you mean '{suggestion}'?"),
        None => first,
    }
}
