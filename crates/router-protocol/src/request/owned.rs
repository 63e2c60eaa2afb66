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
    model: [Option<Bytes>; 2],
}

impl OwnedFacts {
    /// Scans `body`.
    pub fn scan(route: Route, body: &Bytes) -> Self {
        let facts = scan(route, body);
        let part = |part: Option<&[u8]>| part.map(|part| body.slice_ref(part));
        let owned = |text: Option<Cow<'_, str>>| text.map(|text| Cow::Owned(text.into_owned()));
        Self {
            prompt: part(facts.prompt),
            preamble: facts.preamble.map(part),
            model: facts.model.map(part),
            rest: RequestFacts {
                prompt: None,
                preamble: [None; 2],
                model: [None; 2],
                rid: owned(facts.rid),
                session: facts.session.into_owned(),
                previous_response: owned(facts.previous_response),
                conversation: owned(facts.conversation),
                ..facts
            },
        }
    }

    /// The facts, as [`scan`] gives them.
    pub fn facts(&self) -> RequestFacts<'_> {
        let rest = &self.rest;
        RequestFacts {
            prompt: self.prompt.as_deref(),
            preamble: self.preamble.each_ref().map(Option::as_deref),
            model: self.model.each_ref().map(Option::as_deref),
            rid: rest.rid.as_deref().map(Cow::Borrowed),
            session: rest.session.borrowed(),
            previous_response: rest.previous_response.as_deref().map(Cow::Borrowed),
            conversation: rest.conversation.as_deref().map(Cow::Borrowed),
            ..*rest
        }
    }
}
