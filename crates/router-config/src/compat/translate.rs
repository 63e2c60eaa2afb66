//! From a command line of theirs to one of ours.

use super::flag::{FlagMapping, FlagValues, ForeignFlag, SourceRouter};
use super::foreign_flags;
use std::ffi::{OsStr, OsString};
use std::iter::Peekable;
use std::vec::IntoIter;

/// A command line of ours.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Translation {
    /// The words.
    pub args: Vec<OsString>,
    /// What was taken and changes nothing, a line each, for the log.
    pub notes: Vec<String>,
}

/// Why a command line cannot be carried out: one line that names the flag.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ForeignError {
    /// The router does not do this.
    #[error("--{flag}: {instead}")]
    Refused {
        /// The flag.
        flag: &'static str,
        /// What to do instead.
        instead: &'static str,
    },
    /// The router does not do this with that value.
    #[error("--{flag} {value}: {instead}")]
    RefusedValue {
        /// The flag.
        flag: &'static str,
        /// Its value.
        value: String,
        /// What to do instead.
        instead: &'static str,
    },
    /// An abbreviation has several meanings.
    #[error("{given} is short for several flags: {}", list(candidates))]
    Ambiguous {
        /// The abbreviation.
        given: String,
        /// What it may stand for.
        candidates: Vec<String>,
    },
    /// A value is given, and the flag takes none.
    #[error("--{flag} takes no value")]
    Unwanted {
        /// The flag.
        flag: &'static str,
    },
    /// The value is missing.
    #[error("--{flag} needs a value")]
    NoValue {
        /// The flag.
        flag: &'static str,
    },
}

fn list(candidates: &[String]) -> String {
    candidates.iter().map(|name| format!("--{name}")).collect::<Vec<_>>().join(", ")
}

/// The words that follow `launch`, in our flags. `own` are the long names of those, without dashes.
///
/// A name may be cut short as long as one flag begins so. Where several do, the one of sglang-router is meant, because a
/// command line that worked there has to work here; then the one of ours.
///
/// # Errors
/// The first flag that is refused, has no value, or is short for several.
pub fn translate(args: Vec<OsString>, own: &[&str]) -> Result<Translation, ForeignError> {
    let foreign: Vec<ForeignFlag> = foreign_flags().collect();
    let mut words = args.into_iter().peekable();
    let mut done = Translation { args: Vec::new(), notes: Vec::new() };
    while let Some(word) = words.next() {
        let Some(flag) = word.to_str().and_then(|w| w.strip_prefix("--")).filter(|f| !f.is_empty()) else {
            done.args.push(word);
            continue;
        };
        let (given, value) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (flag, None),
        };
        let name = whole_name(given, own, &foreign)?;
        match foreign.iter().find(|f| f.name == name) {
            Some(theirs) => done.carry_out(*theirs, value, &mut words)?,
            None => done.args.push(with_value(&name, value)),
        }
    }
    Ok(done)
}

/// What a name is short for; a name that begins no flag stays, for the parser to complain about.
fn whole_name(given: &str, own: &[&str], foreign: &[ForeignFlag]) -> Result<String, ForeignError> {
    let of_sglang = |f: &&ForeignFlag| f.peers.contains(&SourceRouter::SglangRouter);
    let theirs = || foreign.iter().map(|f| f.name);
    if own.contains(&given) || theirs().any(|name| name == given) {
        return Ok(given.to_owned());
    }
    let begun = |names: &mut dyn Iterator<Item = &str>| {
        let mut begun: Vec<_> = names.filter(|name| name.starts_with(given)).map(str::to_owned).collect();
        begun.sort_unstable();
        begun.dedup();
        begun
    };
    let all = begun(&mut own.iter().copied().chain(theirs()));
    let first_choice = begun(&mut foreign.iter().filter(of_sglang).map(|f| f.name));
    let second_choice = begun(&mut own.iter().copied());
    let one = [&all, &first_choice, &second_choice].into_iter().find(|names| names.len() == 1);
    match one.map(|names| names.concat()) {
        Some(name) => Ok(name),
        None if all.is_empty() => Ok(given.to_owned()),
        None => Err(ForeignError::Ambiguous { given: format!("--{given}"), candidates: all }),
    }
}

fn with_value(name: &str, value: Option<&str>) -> OsString {
    match value {
        Some(value) => format!("--{name}={value}").into(),
        None => format!("--{name}").into(),
    }
}

impl Translation {
    fn carry_out(
        &mut self,
        flag: ForeignFlag,
        value: Option<&str>,
        words: &mut Peekable<IntoIter<OsString>>,
    ) -> Result<(), ForeignError> {
        if let FlagMapping::Same(_) = flag.fate {
            self.args.push(with_value(flag.name, value));
            return Ok(());
        }
        // A refusal needs no value, and is the better message where there is none.
        if let FlagMapping::Refused(instead) = flag.fate {
            return Err(ForeignError::Refused { flag: flag.name, instead });
        }
        let values = values(flag, value, words)?;
        let value = values.first().map_or("", String::as_str);
        match fate_of(&flag.fate, value) {
            FlagMapping::Same(_) | FlagMapping::ByValue(..) => {
                self.args.push(with_value(flag.name, Some(value)))
            }
            FlagMapping::Becomes(ours) => {
                self.args.extend(ours.iter().map(|word| OsString::from(word.replace("{}", value))));
            }
            FlagMapping::Nothing(why) => self.notes.push(format!("--{} changes nothing: {why}", flag.name)),
            FlagMapping::Refused(instead) => {
                return Err(ForeignError::RefusedValue { flag: flag.name, value: value.to_owned(), instead });
            }
        }
        Ok(())
    }
}

fn fate_of<'a>(fate: &'a FlagMapping, value: &str) -> &'a FlagMapping {
    match fate {
        FlagMapping::ByValue(some, other) => {
            some.iter().find(|(v, _)| *v == value).map_or(*other, |(_, fate)| fate)
        }
        fate => fate,
    }
}

/// FlagValues the values of a flag off the words.
fn values(
    flag: ForeignFlag,
    attached: Option<&str>,
    words: &mut Peekable<IntoIter<OsString>>,
) -> Result<Vec<String>, ForeignError> {
    let most = match flag.takes {
        FlagValues::Nothing if attached.is_some() => return Err(ForeignError::Unwanted { flag: flag.name }),
        FlagValues::Nothing => return Ok(Vec::new()),
        _ if attached.is_some() => return Ok(attached.map(str::to_owned).into_iter().collect()),
        FlagValues::One => 1,
        FlagValues::Many => usize::MAX,
    };
    let mut values = Vec::new();
    while values.len() < most
        && let Some(word) = words.next_if(|word| !begins_a_flag(word))
    {
        values.push(word.to_string_lossy().into_owned());
    }
    if flag.takes == FlagValues::One && values.is_empty() {
        return Err(ForeignError::NoValue { flag: flag.name });
    }
    Ok(values)
}

/// Numbers below zero are values.
fn begins_a_flag(word: &OsStr) -> bool {
    word.to_str().is_some_and(|w| {
        w.strip_prefix('-')
            .is_some_and(|rest| !rest.is_empty() && !rest.starts_with(|c: char| c.is_ascii_digit()))
    })
}
