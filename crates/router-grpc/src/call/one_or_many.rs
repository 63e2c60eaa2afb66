//! Members of JSON that are one value or a list of them.

use super::refusal::Refusal;
use serde::Deserialize;

/// One value, or a list of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum OneOrMany<T> {
    // First, because a value of any kind is also a value.
    Many(Vec<T>),
    One(T),
}

impl<T> OneOrMany<T> {
    /// All values.
    pub(super) fn into_list(self) -> Vec<T> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }

    /// What `read` makes of each value.
    ///
    /// # Errors
    /// The first of its errors.
    pub(super) fn try_map<U, E>(self, mut read: impl FnMut(T) -> Result<U, E>) -> Result<OneOrMany<U>, E> {
        Ok(match self {
            Self::One(one) => OneOrMany::One(read(one)?),
            Self::Many(many) => OneOrMany::Many(many.into_iter().map(read).collect::<Result<_, _>>()?),
        })
    }

    /// Whether it is a list.
    pub(super) const fn is_list(&self) -> bool {
        matches!(self, Self::Many(_))
    }
}

impl<T: Clone> OneOrMany<T> {
    /// The value of the member `name` for the prompt at `index` of `count`: that of all, or its own.
    ///
    /// # Errors
    /// When the list is not as long as there are prompts.
    pub(super) fn of_prompt(
        this: Option<&Self>,
        name: &str,
        index: usize,
        count: usize,
    ) -> Result<Option<T>, Refusal> {
        match this {
            None => Ok(None),
            Some(Self::One(value)) => Ok(Some(value.clone())),
            Some(Self::Many(values)) if values.len() == count => Ok(values.get(index).cloned()),
            Some(Self::Many(values)) => {
                Err(Refusal::Malformed(format!("{name} has {} entries for {count} prompts", values.len())))
            }
        }
    }
}
