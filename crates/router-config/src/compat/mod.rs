//! Command lines of other routers: sglang-router, smg and vllm-router.
//!
//! A table maps each of their flags. [`translate`] applies it to a command line, and the documentation is generated from
//! it. The result is a command line with flags of [`crate::Options`] only.

mod flag;
mod sglang_router;
mod smg;
mod translate;
mod vllm_router;

pub use flag::{FlagMapping, FlagValues, ForeignFlag, SourceRouter};
pub use translate::{ForeignError, ForeignPolicyOption, Translation, translate};

/// All flags of the routers named above.
pub fn foreign_flags() -> impl Iterator<Item = ForeignFlag> {
    let rows = sglang_router::ROWS.iter().chain(smg::ROWS).chain(vllm_router::ROWS);
    rows.flat_map(|row| {
        row.names.iter().map(|name| ForeignFlag {
            name,
            routers: row.routers,
            values: row.values,
            mapping: row.mapping,
        })
    })
}
