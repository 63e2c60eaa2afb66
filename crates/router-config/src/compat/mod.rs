//! The command lines of other routers: sglang-router, smg, vllm-router, and the launcher that came before them.
//!
//! One table says of each of their flags what becomes of it. [`translate`] carries it out, and the pages of the
//! documentation are written from it. It is no second configuration: what comes out are flags of [`crate::Options`].

mod flag;
mod sglang_router;
mod smg;
mod translate;
mod vllm_router;

pub use flag::{FlagMapping, FlagValues, ForeignFlag, SourceRouter};
pub use translate::{ForeignError, Translation, translate};

/// Every flag of the routers named above.
pub fn foreign_flags() -> impl Iterator<Item = ForeignFlag> {
    let rows = sglang_router::ROWS.iter().chain(smg::ROWS).chain(vllm_router::ROWS);
    rows.flat_map(|row| {
        row.names.iter().map(|name| ForeignFlag { name, peers: row.peers, takes: row.takes, fate: row.fate })
    })
}
