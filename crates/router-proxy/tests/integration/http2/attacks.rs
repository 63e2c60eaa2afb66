//! The known attacks by frames: each is ended or costs nobody else anything.

use super::client::{Client, request};
use super::frames::{
    ACK, CANCEL, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, FLOW_CONTROL_ERROR, Fate,
    GOAWAY, HEADERS, PING, PROTOCOL_ERROR, RST_STREAM, RawConnection, SETTINGS, WINDOW_UPDATE, frame, get,
    head, literals, post, setting, string,
};
use super::requests::observed;
use crate::support::{Incoming, options, router, until, worker};
use router_config::Options;
use router_proxy::RunningRouter;
use std::sync::Arc;
use tokio::sync::Notify;

/// More frames than any attack here is let go on for.
const MANY: usize = 1_000_000;

/// Other clients are served, and nothing is left behind.
async fn others_are_served(router: &RunningRouter) {
    assert_eq!(Client::connect(router).await.post("/generate", r#"{"text":"a"}"#).await.status, 200);
    assert!(crate::support::get(router, "/v1/models").await.starts_with("HTTP/1.1 200 "));
    until(|| router.in_flight() == 0).await;
}

/// Sends bursts until the router ends the connection; the code that it gives.
async fn flood(
    router: &RunningRouter,
    settings: &[u8],
    mut burst: impl FnMut(usize) -> Vec<u8>,
) -> Option<u32> {
    let mut raw = RawConnection::connect(router, settings).await;
    let mut sent = 0;
    while raw.try_send(burst(sent)).await {
        sent += 1;
        assert!(sent < MANY, "the flood was let in");
    }
    raw.ended().await
}

/// CVE-2023-44487.
#[tokio::test]
async fn rapid_resets_end_the_connection() {
    let (router, _told) = observed(|options| options).await;
    let code = flood(&router, &[], |n| {
        let stream = u32::try_from(2 * n + 1).unwrap();
        let reset = frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes());
        [get(stream, "/v1/models"), reset].concat()
    })
    .await;
    // A closed socket with data unread may take the reason from the client.
    assert!(matches!(code, Some(ENHANCE_YOUR_CALM) | None), "{code:?}");
    others_are_served(&router).await;
}

/// The same at the pace of the worker, so that each request reaches one before it is reset.
#[tokio::test]
async fn endless_cancellations_end_the_connection() {
    let asked = Arc::new(Notify::new());
    let tell = Arc::clone(&asked);
    let address = worker(move |mut incoming: Incoming| {
        let tell = Arc::clone(&tell);
        async move {
            match incoming.path() {
                "/never" => {
                    tell.notify_one();
                    incoming.closed().await;
                }
                _ => incoming.send_json("{}").await,
            }
        }
    })
    .await;
    let router = router(options(&[address])).await;
    let mut raw = RawConnection::connect(&router, &[]).await;
    for n in 0..500 {
        let stream = 2 * n + 1;
        raw.send(get(stream, "/never")).await;
        asked.notified().await;
        raw.send(frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())).await;
    }
    assert_eq!(raw.next_of(GOAWAY).await.map(|frame| frame.payload[4..8].to_vec()), Some(vec![0; 4]));
    others_are_served(&router).await;
    // One answer for each cancelled request is what a client that hedges does.
    let mut client = Client::connect(&router).await;
    for _ in 0..600 {
        let cancelled = client.begin(request("GET", "/never"), "").await;
        asked.notified().await;
        drop(cancelled);
        assert_eq!(client.get("/v1/models").await.status, 200);
    }
    others_are_served(&router).await;
}

/// CVE-2024-27316.
#[tokio::test]
async fn endless_continuations_end_the_connection() {
    let (router, mut told) = observed(|options| options).await;
    let code = flood(&router, &[], |n| match n {
        0 => frame(HEADERS, END_STREAM, 1, &literals(&head("GET", "/v1/models"))),
        _ => frame(CONTINUATION, 0, 1, &literals(&[("x-a", "b")])),
    })
    .await;
    assert!(matches!(code, Some(ENHANCE_YOUR_CALM) | None), "{code:?}");
    let code = flood(&router, &[], |n| match n {
        0 => frame(HEADERS, END_STREAM, 1, &literals(&head("GET", "/v1/models"))),
        _ => frame(CONTINUATION, 0, 1, &[]),
    })
    .await;
    assert!(matches!(code, Some(ENHANCE_YOUR_CALM) | None), "{code:?}");
    assert!(told.try_recv().is_err());
    others_are_served(&router).await;
}

/// The answers to these frames go no faster than the client reads them, and none is kept for later.
#[tokio::test]
async fn answered_frames_are_bounded_by_their_reader() {
    let (router, _told) = observed(|options| Options { client_write_timeout_secs: 0.2, ..options }).await;
    for (kind, bytes) in
        [(SETTINGS, frame(SETTINGS, 0, 0, &setting(4, 65_535))), (PING, frame(PING, 0, 0, &[0; 8]))]
    {
        // One that reads gets its answers, in order, and others are served meanwhile.
        let mut raw = RawConnection::connect(&router, &[]).await;
        for _ in 0..20 {
            raw.send(bytes.repeat(100)).await;
            for _ in 0..100 {
                while raw.next_of(kind).await.expect("the connection ended").flags & ACK == 0 {}
            }
        }
        others_are_served(&router).await;
        // One that does not is disconnected when nothing more goes out.
        flood(&router, &[], |_| bytes.repeat(100)).await;
        others_are_served(&router).await;
    }
}

#[tokio::test]
async fn endless_empty_data_ends_the_connection() {
    let (router, mut told) = observed(|options| options).await;
    let code = flood(&router, &[], |n| match n {
        0 => post(1, "/generate"),
        _ => frame(DATA, 0, 1, &[]).repeat(100),
    })
    .await;
    assert!(matches!(code, Some(ENHANCE_YOUR_CALM) | None), "{code:?}");
    assert!(told.try_recv().is_err());
    others_are_served(&router).await;
}

#[tokio::test]
async fn invalid_windows_end_stream_or_connection() {
    let (router, _told) = observed(|options| options).await;
    let (zero, most) = (0_u32.to_be_bytes(), 0x7FFF_FFFF_u32.to_be_bytes());
    for (name, bytes, code) in [
        ("no increment", frame(WINDOW_UPDATE, 0, 0, &zero), PROTOCOL_ERROR),
        ("too much", frame(WINDOW_UPDATE, 0, 0, &most), FLOW_CONTROL_ERROR),
        ("a window beyond the greatest", frame(SETTINGS, 0, 0, &setting(4, u32::MAX)), PROTOCOL_ERROR),
    ] {
        let mut raw = RawConnection::connect(&router, &[]).await;
        raw.send(bytes).await;
        assert_eq!(raw.ended().await, Some(code), "{name}");
    }
    others_are_served(&router).await;
    // A flood of valid ones changes nothing.
    let mut raw = RawConnection::connect(&router, &[]).await;
    raw.send(post(1, "/generate")).await;
    let one = 1_u32.to_be_bytes();
    for _ in 0..100 {
        raw.send([frame(WINDOW_UPDATE, 0, 0, &one), frame(WINDOW_UPDATE, 0, 1, &one)].concat().repeat(100))
            .await;
    }
    others_are_served(&router).await;
    raw.send(frame(DATA, END_STREAM, 1, b"{}")).await;
    assert_eq!(raw.fate(1).await, Fate::Status(200));
}

/// A header that fills the table of the decoder, named again and again by one byte each.
#[tokio::test]
async fn compressed_bombs_are_refused() {
    let (router, mut told) = observed(|options| options).await;
    let mut block = literals(&head("GET", "/v1/models"));
    block.push(0x40);
    string(b"x-bomb", &mut block);
    string(&vec![b'b'; 4000], &mut block);
    block.extend(vec![0xBE; 12_000]);
    let mut raw = RawConnection::connect(&router, &[]).await;
    raw.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, &block)).await;
    let fate = raw.fate(1).await;
    assert!(matches!(fate, Fate::Status(0) | Fate::GoAway(_)), "{fate:?}");
    assert!(told.try_recv().is_err());
    others_are_served(&router).await;
}

#[tokio::test]
async fn oversized_heads_are_refused() {
    let (router, mut told) = observed(|options| options).await;
    let mut client = Client::connect(&router).await;
    let long = |size| request("GET", "/v1/models").header("x-long", "v".repeat(size));
    assert_eq!(client.send(long(65 << 10), "").await.status, 431);
    let many =
        (0..2_500).fold(request("GET", "/v1/models"), |request, n| request.header(format!("x-{n}"), "v"));
    assert_eq!(client.send(many, "").await.status, 431);
    assert!(told.try_recv().is_err());
    assert_eq!(client.send(long(30 << 10), "").await.status, 200, "the connection lives on");
}
