//! The clients of a load: their names, and how a router recognises their requests.

use crate::target::LoadTarget;
use http::{HeaderName, HeaderValue, header};
use serde::Deserialize;
use std::fmt;
use std::str::FromStr;

/// A longer name is a mistake.
const LONGEST: usize = 128;

/// Names a client where the requests carry another authorization: a header that this router takes as a routing key by default.
const TENANT: HeaderName = HeaderName::from_static("x-tenant-id");

/// The name of a client: visible ASCII characters, at most 128, so that it fits into a header.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Deserialize)]
#[serde(try_from = "NameOrNumber")]
pub struct ClientName(String);

/// The text is not the name of a client.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{0}` is no name of a client: visible ASCII characters, at most {LONGEST}")]
pub struct InvalidClientName(String);

/// A client as a trace names it.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a client is a text or a whole number")]
enum NameOrNumber {
    Number(u64),
    Name(String),
}

impl TryFrom<NameOrNumber> for ClientName {
    type Error = InvalidClientName;

    fn try_from(given: NameOrNumber) -> Result<Self, InvalidClientName> {
        match given {
            NameOrNumber::Number(number) => Ok(Self(number.to_string())),
            NameOrNumber::Name(name) => name.parse(),
        }
    }
}

impl FromStr for ClientName {
    type Err = InvalidClientName;

    fn from_str(name: &str) -> Result<Self, InvalidClientName> {
        let valid = (1..=LONGEST).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic());
        valid.then(|| Self(name.to_owned())).ok_or_else(|| InvalidClientName(name.to_owned()))
    }
}

impl fmt::Display for ClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for ClientName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// The header with which each client names itself to `target`: its name as the bearer token. A target that gets an authorization
/// already needs that one, so there the name is in `x-tenant-id`.
pub(crate) fn headers(clients: &[ClientName], target: &LoadTarget) -> Vec<(HeaderName, HeaderValue)> {
    let (header, scheme) = if target.headers.contains_key(header::AUTHORIZATION) {
        (TENANT, "")
    } else {
        (header::AUTHORIZATION, "Bearer ")
    };
    let value = |client: &ClientName| {
        // A name is visible ASCII, so it always fits.
        HeaderValue::try_from(format!("{scheme}{client}")).unwrap_or(HeaderValue::from_static(""))
    };
    clients.iter().map(|client| (header.clone(), value(client))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorization_of_the_target_is_kept() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let target = runtime.block_on(LoadTarget::resolve("http://127.0.0.1")).unwrap();
        let clients = [ClientName("chat".to_owned())];
        let sent = |target: &LoadTarget| {
            let (name, value) = headers(&clients, target).remove(0);
            (name.to_string(), value.to_str().unwrap().to_owned())
        };
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(sent(&target), pair("authorization", "Bearer chat"));
        assert_eq!(sent(&target.with_api_key("k").unwrap()), pair("x-tenant-id", "chat"));
    }

    #[test]
    fn names_fit_into_headers() {
        for name in ["chat", "team-7/batch", "14"] {
            assert_eq!(name.parse::<ClientName>().unwrap().to_string(), name);
        }
        for name in ["", "my chat", "caf\u{e9}", "a\r\nb: c", &"x".repeat(129)] {
            assert!(name.parse::<ClientName>().unwrap_err().to_string().contains(name), "{name}");
        }
        let read = |json: &str| serde_json::from_str::<ClientName>(json).map(|name| name.to_string());
        assert_eq!((read("14").unwrap(), read("\"14\"").unwrap()), ("14".to_owned(), "14".to_owned()));
        assert!(read("\"\"").unwrap_err().to_string().contains("no name of a client"));
        assert!(read("1.5").unwrap_err().to_string().contains("a text or a whole number"));
    }
}
