//! clap's error messages in one line.

use clap::error::{ContextKind, ContextValue, ErrorKind};

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
    // The words of Rust's own parsers.
    let first = first.replace("number would be zero for non-zero type", "must be at least 1");
    match (suggestion, error.get(ContextKind::ValidValue)) {
        (Some(suggestion), _) => format!("{first}; did you mean '{suggestion}'?"),
        (None, Some(ContextValue::Strings(values))) if !values.is_empty() => {
            format!("{first}; possible values: {}", values.join(", "))
        }
        _ => first,
    }
}

/// The URL that the command line has without a flag before it, if that is the error.
pub(crate) fn stray_url(error: &clap::Error) -> Option<&str> {
    match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(word)) if error.kind() == ErrorKind::UnknownArgument => {
            (word.contains("://") && !word.starts_with('-')).then_some(word)
        }
        _ => None,
    }
}
