//! Errors that an engine reports in a response.

use std::borrow::Cow;

use crate::json::{JsonReader, Parse};

/// Longest error message kept, in bytes: enough to read in a log, too little to flood it.
const MAX_MESSAGE: usize = 512;

/// An error that an engine reported inside a response, whatever the HTTP status was.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EngineError {
    /// `code` or `status_code`, when it is an HTTP status.
    pub status: Option<u16>,
    /// `type` or `err_type`.
    pub kind: Option<Box<str>>,
    /// The message, cut to 512 bytes.
    pub message: Box<str>,
}

impl EngineError {
    /// The HTTP status that the error stands for: its own, or the one that goes with its type in the APIs of OpenAI and
    /// Anthropic and in those of SGLang and vLLM, or 500.
    pub fn http_status(&self) -> u16 {
        self.status.unwrap_or_else(|| match self.kind.as_deref().unwrap_or_default() {
            "invalid_request_error" | "BadRequestError" | "BAD_REQUEST" => 400,
            "authentication_error" => 401,
            "permission_error" => 403,
            "not_found_error" | "NotFoundError" | "NOT_FOUND" => 404,
            "request_too_large" => 413,
            "rate_limit_error" | "insufficient_quota" => 429,
            "overloaded_error" | "SERVICE_UNAVAILABLE" => 503,
            _ => 500,
        })
    }

    pub(super) fn with_message(message: &str) -> Self {
        Self { message: cut(message).into(), ..Self::default() }
    }

    /// Reads the value of `error`: an object, or a string. `null` and the like are no error.
    pub(super) fn read(r: &mut JsonReader<'_>) -> Parse<Option<Box<Self>>> {
        match r.peek()? {
            b'"' => Ok(r.text()?.filter(|m| !m.is_empty()).map(|m| Box::new(Self::with_message(&m)))),
            b'{' => {
                let mut error = Self::default();
                r.fields(|key, r| {
                    match key {
                        b"message" => error.read_message(r)?,
                        b"type" => error.read_kind(r)?,
                        b"code" => error.status = Self::read_status(r)?,
                        _ => r.skip()?,
                    }
                    Ok(())
                })?;
                Ok(Some(Box::new(error)))
            }
            _ => r.skip().map(|()| None),
        }
    }

    pub(super) fn read_message(&mut self, r: &mut JsonReader<'_>) -> Parse<()> {
        self.message = cut(&r.text()?.unwrap_or(Cow::Borrowed(""))).into();
        Ok(())
    }

    pub(super) fn read_kind(&mut self, r: &mut JsonReader<'_>) -> Parse<()> {
        self.kind = r.text()?.filter(|k| !k.is_empty()).map(|k| cut(&k).into());
        Ok(())
    }

    /// A code that is an HTTP error status, as a number or as a string of one.
    pub(super) fn read_status(r: &mut JsonReader<'_>) -> Parse<Option<u16>> {
        let raw = r.raw()?;
        let digits = raw.strip_prefix(b"\"").and_then(|s| s.strip_suffix(b"\"")).unwrap_or(raw);
        let status = std::str::from_utf8(digits).ok().and_then(|s| s.parse::<u16>().ok());
        Ok(status.filter(|s| (400..600).contains(s)))
    }
}

fn cut(message: &str) -> &str {
    let mut end = message.len().min(MAX_MESSAGE);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    &message[..end]
}
