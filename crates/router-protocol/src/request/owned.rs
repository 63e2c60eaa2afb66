//! Facts about a request that do not borrow from its body, for those who scan on another thread.

use super::{RequestFacts, scan};
use bytes::Bytes;
use router_core::Route;
use std::borrow::Cow;

/// What [`scan`] found, with parts of the body that share its memory.
#[derive(Clone, Debug)]
pub struct OwnedFacts {
    /// All but the members below.
    rest: RequestFacts<'static>,
    prompt: Option<Bytes>,
    preamble: [Option<Bytes>; 2],
    rid: Option<String>,
    session: Option<String>,
}

impl OwnedFacts {
    /// Scans `body`.
    pub fn scan(route: Route, body: &Bytes) -> Self {
        let facts = scan(route, body);
        let part = |part: Option<&[u8]>| part.map(|part| body.slice_ref(part));
        Self {
            prompt: part(facts.prompt),
            preamble: facts.preamble.map(part),
            rid: facts.rid.map(Cow::into_owned),
            session: facts.session.map(Cow::into_owned),
            rest: RequestFacts { prompt: None, preamble: [None; 2], rid: None, session: None, ..facts },
        }
    }

    /// The facts, as [`scan`] gives them.
    pub fn facts(&self) -> RequestFacts<'_> {
        RequestFacts {
            prompt: self.prompt.as_deref(),
            preamble: [self.preamble[0].as_deref(), self.preamble[1].as_deref()],
            rid: self.rid.as_deref().map(Cow::Borrowed),
            session: self.session.as_deref().map(Cow::Borrowed),
            ..self.rest.clone()
        }
    }
}
