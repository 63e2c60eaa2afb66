//! What a request's body says about the session it belongs to.

use super::routing_key;
use router_core::SessionMember;
use std::borrow::Cow;

/// The values of the members that may name a session.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SessionNames<'b> {
    by_member: [Option<Cow<'b, str>>; SessionMember::ALL.len()],
}

impl<'b> SessionNames<'b> {
    pub(super) fn set(&mut self, member: SessionMember, name: Option<Cow<'b, str>>) {
        self.by_member[member.index()] = name.filter(|name| !name.is_empty());
    }

    /// The value of one member, unless it is empty.
    pub fn get(&self, member: SessionMember) -> Option<&str> {
        self.by_member[member.index()].as_deref()
    }

    /// The hash of one member's value, which policies see.
    pub fn routing_key(&self, member: SessionMember) -> Option<u64> {
        self.get(member).map(|name| routing_key(name.as_bytes()))
    }

    /// A copy that borrows from nothing.
    pub(super) fn into_owned(self) -> SessionNames<'static> {
        SessionNames { by_member: self.by_member.map(|name| name.map(|name| Cow::Owned(name.into_owned()))) }
    }

    /// A copy that borrows from this one.
    pub(super) fn borrowed(&self) -> SessionNames<'_> {
        SessionNames { by_member: self.by_member.each_ref().map(|name| name.as_deref().map(Cow::Borrowed)) }
    }
}
