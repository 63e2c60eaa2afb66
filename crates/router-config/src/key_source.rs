//! Where a request's routing key may stand.

use crate::error::ConfigError;
use http::HeaderName;
use router_core::SessionMember;

/// What a member of the body begins with in the list.
const MEMBER: &str = "body:";

/// One place where a routing key may stand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeySource {
    /// The value of a header.
    Header(HeaderName),
    /// A member of the body.
    Member(SessionMember),
}

/// The places in order of precedence: those of `names`, and the usual members of the body where `names` has none of the body.
pub(crate) fn key_sources(option: &'static str, names: &[String]) -> Result<Vec<KeySource>, ConfigError> {
    let mut sources = Vec::new();
    let mut lists_members = false;
    for name in names {
        let Some(member) = name.strip_prefix(MEMBER) else {
            let header = name.parse().map_err(|_| {
                ConfigError::option(
                    option,
                    format!("'{name}' is not a header name; a member of the body is body:NAME"),
                )
            })?;
            sources.push(KeySource::Header(header));
            continue;
        };
        lists_members = true;
        match SessionMember::named(member) {
            Some(member) => sources.push(KeySource::Member(member)),
            None if member == "none" => {}
            None => {
                let all = SessionMember::ALL.map(|member| format!("{MEMBER}{}", member.as_str())).join(", ");
                let problem = format!("'{name}' is not known; members are {all}, and {MEMBER}none for none");
                return Err(ConfigError::option(option, problem));
            }
        }
    }
    if !lists_members {
        sources.extend(SessionMember::ALL.map(KeySource::Member));
    }
    Ok(sources)
}
