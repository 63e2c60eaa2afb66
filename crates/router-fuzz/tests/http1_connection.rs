//! The bounded run of the target `http1_connection`: mutated responses, and long ones made of repeated pieces.

mod support;

use router_fuzz::http1_connection;
use support::{Mutator, run_long, run_mutated};

/// Mutated responses.
const CASES: usize = 200_000;

/// Long responses, and their length in bytes.
const LONG: (usize, usize) = (30, 1 << 20);

/// Pieces of HTTP/1.1.
const WORDS: [&str; 27] = [
    "\r\n",
    "\n",
    "\r",
    " ",
    "\t",
    ":",
    ";",
    ",",
    "\0",
    "\x0c",
    "0\r\n\r\n",
    "5\r\nhello\r\n",
    "ffffffffffffffff\r\n",
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.1 204 No Content\r\n\r\n",
    "HTTP/1.0 ",
    "HTTP/2",
    "Content-Length: 2\r\n",
    "Content-Length: 18446744073709551616\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: gzip, chunked\r\n",
    "Transfer-Encoding: identity\r\n",
    "Connection: close\r\n",
    "Connection: keep-alive\r\n",
    "Trailer: a\r\n",
    "data: {\"text\":\"hi\"}\n\n",
];

fn corpus() -> Vec<Vec<u8>> {
    const RESPONSES: [&[u8]; 6] = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\nConnection: keep-alive\r\n\r\n{\"text\":\"\"}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\ndata: \r\n10;x\r\n{\"text\":\"hello\"}\r\n0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 503 Busy\r\nRetry-After: 1\r\n\r\nno room",
        b"HTTP/1.1 200 OK\nTransfer-Encoding: gzip, chunked\nContent-Length: 3\n\n1\r\na\r\n0\r\nA: b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nho",
        b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nHTTP/1.1 200 OK\r\n\r\nend",
    ];
    RESPONSES.map(<[u8]>::to_vec).to_vec()
}

#[test]
fn outcome_is_independent_of_reads() {
    let mut mutator = Mutator::new("http1_connection", corpus(), &WORDS);
    run_mutated("http1_connection", &mut mutator, CASES, http1_connection::run_seeded);
}

#[test]
fn long_responses_take_linear_time() {
    let mut mutator = Mutator::new("http1_connection", corpus(), &WORDS);
    run_long("http1_connection", &mut mutator, LONG.0, LONG.1, http1_connection::run_seeded);
}
