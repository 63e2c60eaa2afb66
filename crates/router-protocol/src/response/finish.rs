//! `finish_reason`: whether a response has ended, and why.

use super::error::EngineError;
use crate::json::{JsonReader, Parse};

/// How a response, or one choice of it, has ended so far.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) enum FinishState {
    /// `finish_reason` is null or missing: more is to come.
    #[default]
    Unfinished,
    /// It ended by itself: stop, length.
    Finished,
    /// It was aborted, on request or because of the error given.
    Aborted(Option<Box<EngineError>>),
}

impl FinishState {
    /// Reads `finish_reason`: an object with a `type` on the native route, a plain string on the OpenAI routes.
    pub(super) fn read(r: &mut JsonReader<'_>) -> Parse<Self> {
        match r.peek()? {
            b'"' => Ok(if r.string()?.0 == b"abort" { Self::Aborted(None) } else { Self::Finished }),
            b'{' => Self::read_object(r),
            _ => r.skip().map(|()| Self::Unfinished),
        }
    }

    fn read_object(r: &mut JsonReader<'_>) -> Parse<Self> {
        let mut aborted = false;
        let mut error = EngineError::default();
        r.fields(|key, r| {
            match key {
                b"type" => aborted = r.raw()? == br#""abort""#,
                b"status_code" => error.status = EngineError::read_status(r)?,
                b"message" => error.read_message(r)?,
                b"err_type" => error.read_kind(r)?,
                _ => r.skip()?,
            }
            Ok(())
        })?;
        Ok(match aborted {
            false => Self::Finished,
            true => Self::Aborted(error.status.is_some().then(|| Box::new(error))),
        })
    }
}
