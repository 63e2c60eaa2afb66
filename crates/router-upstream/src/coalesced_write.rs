//! Writes to sockets.

use smallvec::SmallVec;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;

/// What is no longer than this, in bytes, is copied into one piece: that is cheaper than a list of pieces for the kernel.
const SMALL: usize = 4096;

/// Writes a list of pieces: a head and a small body as one.
pub fn write_coalesced<S: AsyncWrite>(
    stream: Pin<&mut S>,
    cx: &mut Context<'_>,
    pieces: &[io::IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    let size: usize = pieces.iter().map(|piece| piece.len()).sum();
    match pieces {
        [piece] => stream.poll_write(cx, piece),
        pieces if size > SMALL => stream.poll_write_vectored(cx, pieces),
        pieces => {
            let mut whole = SmallVec::<[u8; SMALL]>::new();
            pieces.iter().for_each(|piece| whole.extend_from_slice(piece));
            stream.poll_write(cx, &whole)
        }
    }
}
