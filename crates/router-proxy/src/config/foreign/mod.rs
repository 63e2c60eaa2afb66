//! The command lines of other routers: sglang-router, smg, vllm-router, and the launcher that came before them.
//!
//! One table says of each of their flags what becomes of it. [`translate`] carries it out, and the pages of the
//! documentation are written from it. It is no second configuration: what comes out are flags of [`super::Options`].

mod smg;
mod table;
mod translate;
mod vllm;

pub use translate::{ForeignError, Translation, translate};

/// A router whose command lines are understood.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Peer {
    /// sglang-router 0.3.2, as `sglang-router launch` or `python -m sglang_router.launch_router`.
    SglangRouter,
    /// smg 1.13.0.
    Smg,
    /// vllm-router 0.1.17.
    VllmRouter,
    /// The launcher of sglang-router 0.1.
    Seed,
}

impl Peer {
    /// All of them, as the documentation orders them.
    pub const ALL: [Self; 4] = [Self::SglangRouter, Self::Smg, Self::VllmRouter, Self::Seed];

    /// The name and the version whose flags the table has.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::SglangRouter => "sglang-router 0.3.2",
            Self::Smg => "smg 1.13",
            Self::VllmRouter => "vllm-router 0.1.17",
            Self::Seed => "sglang-router 0.1",
        }
    }
}

/// How many values follow a flag.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Takes {
    /// None.
    Nothing,
    /// One.
    One,
    /// All words up to the next flag.
    Many,
}

/// What becomes of a flag.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Fate {
    /// It is a flag of ours; the text says what is different, if anything.
    Same(&'static str),
    /// These words take its place, with the value where `{}` stands.
    Becomes(&'static [&'static str]),
    /// It is taken and changes nothing, because of what the text says; the log says so.
    Nothing(&'static str),
    /// It is refused; the text says what to do instead.
    Refused(&'static str),
    /// Some values have a fate of their own; the other ones have the second.
    ByValue(&'static [(&'static str, Fate)], &'static Fate),
}

/// Some flags that have one fate.
#[derive(Clone, Copy, Debug)]
struct Row {
    peers: &'static [Peer],
    takes: Takes,
    names: &'static [&'static str],
    fate: Fate,
}

/// A flag of other routers.
#[derive(Clone, Copy, Debug)]
pub struct ForeignFlag {
    /// Without the dashes.
    pub name: &'static str,
    /// Those that have it.
    pub peers: &'static [Peer],
    /// Its values.
    pub takes: Takes,
    /// What becomes of it.
    pub fate: Fate,
}

/// Every flag of the routers named above.
pub fn foreign_flags() -> impl Iterator<Item = ForeignFlag> {
    let rows = table::ROWS.iter().chain(smg::ROWS).chain(vllm::ROWS);
    rows.flat_map(|row| {
        row.names.iter().map(|name| ForeignFlag { name, peers: row.peers, takes: row.takes, fate: row.fate })
    })
}
