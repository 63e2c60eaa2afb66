//! What the guard counts, by name.

mod decisions;
mod piece;
mod prefixes;
mod protocol;
mod records;

pub use piece::{CountedThreads, Piece, ReadyPiece};

/// All pieces.
pub fn all() -> Vec<Piece> {
    [decisions::pieces(), prefixes::pieces(), protocol::pieces(), records::pieces()]
        .into_iter()
        .flatten()
        .collect()
}
