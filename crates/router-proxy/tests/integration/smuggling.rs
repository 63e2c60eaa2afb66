//! Raw bytes that two readers may read in two ways: refused, or read in one way only.

use crate::support::{RawClient, options, router, worker};
use router_proxy::RunningRouter;
use tokio::sync::mpsc;

/// A router, and the request lines and bodies that its worker sees.
async fn observed() -> (RunningRouter, mpsc::UnboundedReceiver<(String, Vec<u8>)>) {
    let (tell, told) = mpsc::unbounded_channel();
    let address = worker(move |mut incoming| {
        let tell = tell.clone();
        async move {
            let _ = tell.send((incoming.head.clone(), incoming.body.clone()));
            incoming.send_json("{}").await;
        }
    })
    .await;
    (router(options(&[address])).await, told)
}

/// Sends the bytes and returns all that comes back until the router closes the connection.
async fn exchange(router: &RunningRouter, bytes: &str) -> String {
    let mut client = RawClient::connect(router).await;
    client.send(bytes).await;
    client.rest().await
}

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: r\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn ambiguous_requests_are_rejected() {
    let (router, mut told) = observed().await;
    let head = "POST /generate HTTP/1.1\r\nhost: r\r\n";
    for (name, bytes) in [
        ("two lengths", format!("{head}content-length: 2\r\ncontent-length: 3\r\n\r\n{{}}")),
        ("one length twice", format!("{head}content-length: 2\r\ncontent-length: 2\r\n\r\n{{}}")),
        ("a list of lengths", format!("{head}content-length: 2, 2\r\n\r\n{{}}")),
        ("a signed length", format!("{head}content-length: +2\r\n\r\n{{}}")),
        (
            "length and chunks",
            format!("{head}content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
        ),
        (
            "chunks and length",
            format!("{head}transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n"),
        ),
        ("another coding", format!("{head}transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n")),
        ("chunked not last", format!("{head}transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n")),
        ("chunked in disguise", format!("{head}transfer-encoding: xchunked\r\n\r\n0\r\n\r\n")),
        ("space before the colon", format!("{head}content-length : 2\r\n\r\n{{}}")),
        ("a folded line", format!("{head}x-a: 1\r\n content-length: 2\r\n\r\n{{}}")),
        ("a bare LF in the head", format!("{head}x-a: 1\ncontent-length: 2\r\n\r\n{{}}")),
        ("a bare LF at its end", "GET /generate HTTP/1.1\r\nhost: r\n\n".to_owned()),
        ("a bare LF after the request line", "GET /generate HTTP/1.1\nhost: r\r\n\r\n".to_owned()),
        ("a bare CR", format!("{head}x-a: 1\rcontent-length: 2\r\n\r\n{{}}")),
        ("a NUL", format!("{head}x-a: \0\r\n\r\n")),
        (
            "chunks in HTTP/1.0",
            "POST /generate HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
        ),
    ] {
        let answer = exchange(&router, &(bytes + SMUGGLED)).await;
        assert!(
            answer.starts_with("HTTP/1.1 400 ") || answer.starts_with("HTTP/1.0 400 "),
            "{name}: {answer}"
        );
        assert_eq!(answer.matches("HTTP/1.").count(), 1, "{name}: {answer}");
        assert!(told.try_recv().is_err(), "{name}: the worker saw it");
    }
}

#[tokio::test]
async fn invalid_chunks_never_reach_workers() {
    let (router, mut told) = observed().await;
    let head = "POST /generate HTTP/1.1\r\nhost: r\r\ntransfer-encoding: chunked\r\n\r\n";
    for chunks in [
        "zz\r\n",
        "-1\r\n{}\r\n",
        "0x2\r\n{}\r\n",
        "2\n{}\r\n",
        "ffffffffffffffffff\r\n",
        "2\r\n{}}\r\n0\r\n\r\n",
        "2;\n\r\n{}\r\n0\r\n\r\n",
    ] {
        let answer = exchange(&router, &format!("{head}{chunks}{SMUGGLED}")).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{chunks:?}: {answer}");
        assert!(answer.matches("HTTP/1.").count() <= 1, "{chunks:?}: {answer}");
        assert!(told.try_recv().is_err(), "{chunks:?}: the worker saw it");
    }
}

#[tokio::test]
async fn oversized_heads_are_refused() {
    let (router, mut told) = observed().await;
    let long = format!("GET /generate HTTP/1.1\r\nhost: r\r\nx-long: {}\r\n\r\n", "v".repeat(200 << 10));
    assert!(exchange(&router, &long).await.starts_with("HTTP/1.1 431 "));
    let many = format!("GET /generate HTTP/1.1\r\nhost: r\r\n{}\r\n", "x-a: 1\r\n".repeat(200));
    assert!(exchange(&router, &many).await.starts_with("HTTP/1.1 431 "));
    assert!(told.try_recv().is_err());
    let fine = format!(
        "GET /fine HTTP/1.1\r\nhost: r\r\nconnection: close\r\nx-long: {}\r\n\r\n",
        "v".repeat(30 << 10)
    );
    assert!(exchange(&router, &fine).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn pipelined_requests_stay_separate() {
    let (router, mut told) = observed().await;
    let body = SMUGGLED;
    let one = format!("POST /one HTTP/1.1\r\nhost: r\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let two = format!(
        "POST /two HTTP/1.1\r\nhost: r\r\ntransfer-encoding: chunked\r\n\r\n{:x};ext=1\r\n{body}\r\n0\r\nx-trailer: 1\r\n\r\n",
        body.len()
    );
    let answer =
        exchange(&router, &(one + &two + "GET /three HTTP/1.1\r\nhost: r\r\nconnection: close\r\n\r\n"))
            .await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 3, "{answer}");
    for (path, seen) in [("/one", body), ("/two", body), ("/three", "")] {
        let (head, found) = told.recv().await.unwrap();
        assert_eq!((head.split(' ').nth(1), found), (Some(path), seen.as_bytes().to_vec()));
        assert!(!head.to_ascii_lowercase().contains("transfer-encoding"), "framed anew: {head}");
        assert!(head.to_ascii_lowercase().matches("content-length").count() <= 1, "{head}");
    }
    assert!(told.try_recv().is_err());
}

#[tokio::test]
async fn requests_are_normalized() {
    let (router, mut told) = observed().await;
    exchange(
        &router,
        "GET http://elsewhere:1/models?x=1 HTTP/1.1\r\nhost: inner\r\nconnection: close\r\n\r\n",
    )
    .await;
    let (head, _) = told.recv().await.unwrap();
    assert!(head.starts_with("GET /models?x=1 HTTP/1.1\r\n"), "{head}");
    assert_eq!(head.to_ascii_lowercase().matches("host:").count(), 1, "{head}");
    assert!(!head.contains("elsewhere") && !head.contains("inner"), "{head}");
    let old = exchange(&router, "POST /generate HTTP/1.0\r\ncontent-length: 2\r\n\r\n{}").await;
    assert!(old.starts_with("HTTP/1.0 200 ") && old.ends_with("\r\n\r\n{}"), "{old}");
    assert!(told.recv().await.unwrap().0.starts_with("POST /generate HTTP/1.1\r\n"));
    for refused in ["CONNECT worker:443", "TRACE /"] {
        let refused = format!("{refused} HTTP/1.1\r\nhost: r\r\nconnection: close\r\n\r\n");
        assert!(exchange(&router, &refused).await.starts_with("HTTP/1.1 405 "), "{refused}");
    }
    // WebSockets alone are asked for, and only as RFC 6455 says: with GET, in HTTP/1.1.
    for (line, upgrades) in [
        ("GET /chat HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket", 1),
        ("GET /chat HTTP/1.1\r\nconnection: upgrade\r\nupgrade: h2c", 0),
        ("POST /chat HTTP/1.1\r\ncontent-length: 0\r\nconnection: upgrade\r\nupgrade: websocket", 0),
        ("GET /chat HTTP/1.1\r\nupgrade: websocket", 0),
    ] {
        let mut client = RawClient::connect(&router).await;
        client.send(format!("{line}\r\nhost: r\r\n\r\n")).await;
        assert!(client.see("{}").await.starts_with("HTTP/1.1 200 "), "{line}");
        let head = told.recv().await.unwrap().0.to_ascii_lowercase();
        assert_eq!(head.matches("\r\nupgrade: websocket\r\n").count(), upgrades, "{line}: {head}");
        assert_eq!(head.matches("upgrade").count(), 2 * upgrades, "{line}: {head}");
    }
    assert!(told.try_recv().is_err());
}
