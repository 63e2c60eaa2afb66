//! Reading a request, a response and the events of a stream.

use super::piece::Piece;
use crate::long_prompts::LongPrompts;
use crate::messages::{chat_request, chat_request_with, chat_response, chat_stream};
use router_core::Route;
use router_protocol::{StreamObserver, read_response, scan};
use std::hint::black_box;

const EVENTS: usize = 500;

pub(super) fn pieces() -> Vec<Piece> {
    let short = || chat_request(300);
    let long = || chat_request_with(&LongPrompts::default().unseen());
    vec![
        scanned("scan/600B", 200, short),
        scanned("scan/100KB", 10, long),
        hashed("scan_and_hash/600B", 200, short),
        hashed("scan_and_hash/100KB", 10, long),
        Piece::new("response/600B", 200, || {
            let body = chat_response();
            Box::new(move || {
                for _ in 0..200 {
                    black_box(read_response(black_box(body.as_bytes())));
                }
            })
        }),
        Piece::new("streamed_event", EVENTS, || {
            let chunks = chat_stream(EVENTS);
            Box::new(move || {
                let mut observer = StreamObserver::new(Route::ChatCompletions);
                black_box(&chunks).iter().for_each(|chunk| observer.push(chunk));
                black_box(observer.finish());
            })
        }),
    ]
}

/// Scans without prefix hashes, as for a policy that does not need them.
fn scanned(name: &str, calls: usize, body: impl Fn() -> String + 'static) -> Piece {
    Piece::new(name, calls, move || {
        let body = body();
        Box::new(move || {
            for _ in 0..calls {
                black_box(scan(Route::ChatCompletions, black_box(body.as_bytes())));
            }
        })
    })
}

/// Scans with prefix hashes.
fn hashed(name: &str, calls: usize, body: impl Fn() -> String + 'static) -> Piece {
    Piece::new(name, calls, move || {
        let (body, mut prefix) = (body(), Vec::new());
        Box::new(move || {
            for _ in 0..calls {
                scan(Route::ChatCompletions, black_box(body.as_bytes()))
                    .prefix_hashes(black_box(&mut prefix));
            }
        })
    })
}
