//! Vectored writes with small buffers joined.

use smallvec::SmallVec;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;

/// Up to this many bytes are copied into one buffer, which is cheaper than a vectored write.
const SMALL: usize = 4096;

/// Writes several buffers; small ones, as a head and a short body, in one piece. Returns how many bytes were written.
///
/// # Errors
/// When the stream cannot be written to.
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
