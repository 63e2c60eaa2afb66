//! Translates a command line of another router to one of this router.

use super::flag::{FlagMapping, FlagValues, ForeignFlag, SourceRouter};
use super::foreign_flags;
use std::ffi::{OsStr, OsString};
use std::iter::Peekable;
use std::vec::IntoIter;

/// A command line of this router.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Translation {
    /// The arguments.
    pub args: Vec<OsString>,
    /// Options of policies, which only a policy that has them can take.
    pub policy_options: Vec<ForeignPolicyOption>,
    /// One line for the log for each flag without effect.
    pub notes: Vec<String>,
}

/// A flag of another router that is an option of a policy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ForeignPolicyOption {
    /// The flag, without dashes.
    pub flag: &'static str,
    /// The option.
    pub name: &'static str,
    /// Its value.
    pub value: String,
}

/// Why a command line is invalid: one line that names the flag.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ForeignError {
    /// The flag is not supported.
    #[error("--{flag}: {instead}")]
    Rejected {
        /// The flag.
        flag: &'static str,
        /// What to do instead.
        instead: &'static str,
    },
    /// The value of the flag is not supported.
    #[error("--{flag} {value}: {instead}")]
    RejectedValue {
        /// The flag.
        flag: &'static str,
        /// Its value.
        value: String,
        /// What to do instead.
        instead: &'static str,
    },
    /// An abbreviation matches several flags.
    #[error("{given} matches several flags: {}", list(candidates))]
    Ambiguous {
        /// The abbreviation.
        given: String,
        /// The flags that it matches.
        candidates: Vec<String>,
    },
    /// A value is given to a flag that takes none.
    #[error("--{flag} takes no value")]
    UnexpectedValue {
        /// The flag.
        flag: &'static str,
    },
    /// The value is missing.
    #[error("--{flag} needs a value")]
    MissingValue {
        /// The flag.
        flag: &'static str,
    },
}

fn list(candidates: &[String]) -> String {
    candidates.iter().map(|name| format!("--{name}")).collect::<Vec<_>>().join(", ")
}

/// Translates the arguments after `launch`. `own` are the long names of this router's flags, without dashes.
///
/// A flag may be abbreviated as long as only one flag begins so. If several do, the one of sglang-router is meant, because
/// a command line that worked there has to work here; otherwise the one of this router.
///
/// # Errors
/// For the first flag that is not supported, has no value, or matches several flags.
pub fn translate(args: Vec<OsString>, own: &[&str]) -> Result<Translation, ForeignError> {
    let foreign: Vec<ForeignFlag> = foreign_flags().collect();
    let mut words = args.into_iter().peekable();
    let mut done = Translation { args: Vec::new(), policy_options: Vec::new(), notes: Vec::new() };
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
            Some(theirs) => done.apply(*theirs, value, &mut words)?,
            None => done.args.push(with_value(&name, value)),
        }
    }
    Ok(done)
}

/// The full name of an abbreviated flag. An unknown name stays as it is, so that the argument parser reports it.
fn whole_name(given: &str, own: &[&str], foreign: &[ForeignFlag]) -> Result<String, ForeignError> {
    let of_sglang = |f: &&ForeignFlag| f.routers.contains(&SourceRouter::SglangRouter);
    let theirs = || foreign.iter().map(|f| f.name);
    if own.contains(&given) || theirs().any(|name| name == given) {
        return Ok(given.to_owned());
    }
    let starting = |names: &mut dyn Iterator<Item = &str>| {
        let mut found: Vec<_> = names.filter(|name| name.starts_with(given)).map(str::to_owned).collect();
        found.sort_unstable();
        found.dedup();
        found
    };
    let all = starting(&mut own.iter().copied().chain(theirs()));
    let first_choice = starting(&mut foreign.iter().filter(of_sglang).map(|f| f.name));
    let second_choice = starting(&mut own.iter().copied());
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
    fn apply(
        &mut self,
        flag: ForeignFlag,
        value: Option<&str>,
        words: &mut Peekable<IntoIter<OsString>>,
    ) -> Result<(), ForeignError> {
        if let FlagMapping::Same(_) = flag.mapping {
            self.args.push(with_value(flag.name, value));
            return Ok(());
        }
        // An unsupported flag is reported before a missing value.
        if let FlagMapping::Rejected(instead) = flag.mapping {
            return Err(ForeignError::Rejected { flag: flag.name, instead });
        }
        let values = values(flag, value, words)?;
        let value = values.first().map_or("", String::as_str);
        match mapping_of(&flag.mapping, value) {
            FlagMapping::Same(_) | FlagMapping::ByValue(..) => {
                self.args.push(with_value(flag.name, Some(value)))
            }
            FlagMapping::ReplacedBy(ours) => {
                self.args.extend(ours.iter().map(|word| OsString::from(word.replace("{}", value))));
            }
            FlagMapping::PolicyOption(name) => {
                let value = value.to_owned();
                self.policy_options.push(ForeignPolicyOption { flag: flag.name, name, value });
            }
            FlagMapping::Ignored(why) => self.notes.push(format!("--{} changes nothing: {why}", flag.name)),
            FlagMapping::Rejected(instead) => {
                return Err(ForeignError::RejectedValue {
                    flag: flag.name,
                    value: value.to_owned(),
                    instead,
                });
            }
        }
        Ok(())
    }
}

fn mapping_of<'a>(mapping: &'a FlagMapping, value: &str) -> &'a FlagMapping {
    match mapping {
        FlagMapping::ByValue(some, other) => {
            some.iter().find(|(v, _)| *v == value).map_or(*other, |(_, mapping)| mapping)
        }
        mapping => mapping,
    }
}

/// Takes the values of a flag from the arguments.
fn values(
    flag: ForeignFlag,
    attached: Option<&str>,
    words: &mut Peekable<IntoIter<OsString>>,
) -> Result<Vec<String>, ForeignError> {
    let most = match flag.values {
        FlagValues::Zero if attached.is_some() => {
            return Err(ForeignError::UnexpectedValue { flag: flag.name });
        }
        FlagValues::Zero => return Ok(Vec::new()),
        _ if attached.is_some() => return Ok(attached.map(str::to_owned).into_iter().collect()),
        FlagValues::One => 1,
        FlagValues::Many => usize::MAX,
    };
    let mut values = Vec::new();
    while values.len() < most
        && let Some(word) = words.next_if(|word| !is_flag(word))
    {
        values.push(word.to_string_lossy().into_owned());
    }
    if flag.values == FlagValues::One && values.is_empty() {
        return Err(ForeignError::MissingValue { flag: flag.name });
    }
    Ok(values)
}

/// Whether a word is a flag; a negative number is a value.
fn is_flag(word: &OsStr) -> bool {
    word.to_str().is_some_and(|w| {
        w.strip_prefix('-')
            .is_some_and(|rest| !rest.is_empty() && !rest.starts_with(|c: char| c.is_ascii_digit()))
    })
}
