//! What a server must take and must refuse of HTTP/1.1: the cases of the public conformance suites, with the answers of RFC 9112.

use crate::support::{RawClient, options, router, worker};

/// A request that ends its connection, from its request line and further header lines.
fn request(line: &str, headers: &str) -> String {
    format!("{line}\r\n{headers}connection: close\r\n\r\n")
}

#[tokio::test]
async fn valid_requests_are_served() {
    let address = worker(|mut incoming| async move { incoming.send_json("{}").await }).await;
    let router = router(options(&[address])).await;
    let get = "GET /x HTTP/1.1";
    for (name, bytes) in [
        ("plain", request(get, "host: r\r\n")),
        ("odd case, a tab, an empty value", request(get, "hoSt:\tr\r\nempty:\r\n")),
        ("an empty host", request(get, "host:\r\n")),
        ("a host with a port", request(get, "host: r:80\r\n")),
        ("an IPv6 host", request(get, "host: [::1]:80\r\n")),
        ("the absolute form", request("GET http://r/x HTTP/1.1", "host: r\r\n")),
        ("an empty line first", format!("\r\n{}", request(get, "host: r\r\n"))),
        ("HTTP/1.0 without a host", request("GET /x HTTP/1.0", "")),
        ("any token as method", request("PURGE /x HTTP/1.1", "host: r\r\n")),
        ("a body", request("POST /x HTTP/1.1", "host: r\r\ncontent-length: 0\r\n")),
        ("bytes above ASCII", request(get, "host: r\r\nx-a: \u{e9}\r\n")),
        (
            "chunks",
            request("POST /x HTTP/1.1", "host: r\r\ntransfer-encoding: chunked\r\n")
                + "2;a=b\r\n{}\r\n0\r\n\r\n",
        ),
        (
            "expect",
            request("POST /x HTTP/1.1", "host: r\r\nexpect: 100-continue\r\ncontent-length: 2\r\n") + "{}",
        ),
    ] {
        let mut client = RawClient::connect(&router).await;
        client.send(&bytes).await;
        let answer = client.rest().await;
        let last = answer.strip_prefix("HTTP/1.1 100 Continue\r\n\r\n").unwrap_or(&answer);
        assert!(last.starts_with("HTTP/1.1 200 ") || last.starts_with("HTTP/1.0 200 "), "{name}: {answer}");
    }
}

#[tokio::test]
async fn request_may_arrive_byte_by_byte() {
    let address = worker(|mut incoming| async move { incoming.send_json("{}").await }).await;
    let router = router(options(&[address])).await;
    let mut client = RawClient::connect(&router).await;
    client.socket.set_nodelay(true).unwrap();
    for byte in request("GET /x HTTP/1.1", "host: r\r\n").bytes() {
        client.send([byte]).await;
        tokio::task::yield_now().await;
    }
    assert!(client.rest().await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn invalid_requests_are_refused() {
    let address = worker(|mut incoming| async move { incoming.send_json("{}").await }).await;
    let router = router(options(&[address])).await;
    let get = "GET /x HTTP/1.1";
    for (name, bytes) in [
        ("no host", request(get, "")),
        ("two hosts", request(get, "host: r\r\nhost: s\r\n")),
        ("one host twice", request(get, "host: r\r\nhost: r\r\n")),
        ("a space in the host", request(get, "host: a b\r\n")),
        ("a user in the host", request(get, "host: u@r\r\n")),
        ("a port that is no number", request(get, "host: r:x\r\n")),
        ("two hosts in the absolute form", request("GET http://r/x HTTP/1.1", "host: r\r\nhost: s\r\n")),
        ("two hosts in HTTP/1.0", request("GET /x HTTP/1.0", "host: r\r\nhost: s\r\n")),
        ("no version", request("GET /x", "host: r\r\n")),
        ("another version", request("GET /x HTTP/9.9", "host: r\r\n")),
        ("a version of its own", request("GET /x HTP/1.1", "host: r\r\n")),
        ("a lower-case version", request("GET /x http/1.1", "host: r\r\n")),
        ("no method", request("/x HTTP/1.1", "host: r\r\n")),
        ("no token as method", request("GE(T /x HTTP/1.1", "host: r\r\n")),
        ("a space in the target", request("GET /x y HTTP/1.1", "host: r\r\n")),
        ("a control character in the target", request("GET /x\x07 HTTP/1.1", "host: r\r\n")),
        ("text before the request", format!("Extra line{}", request(get, "host: r\r\n"))),
        ("a name that is no token", request(get, "host: r\r\ninvalid[]: x\r\n")),
        ("a space before the colon", request(get, "host : r\r\n")),
        ("a line without a colon", request(get, "host: r\r\nno colon\r\n")),
        ("an empty name", request(get, "host: r\r\n: x\r\n")),
        ("a control character in a value", request(get, "host: r\r\nx-a: \x07\r\n")),
        ("a folded line", request(get, "host: r\r\nx-a: 1\r\n 2\r\n")),
        ("a bare CR", request(get, "host: r\r\n\rx-a: 1\r\n")),
        ("a negative length", request("POST /x HTTP/1.1", "host: r\r\ncontent-length: -2\r\n")),
        (
            "an overflowing length",
            request("POST /x HTTP/1.1", "host: r\r\ncontent-length: -99999999999999999999\r\n"),
        ),
        ("a length that is no number", request("POST /x HTTP/1.1", "host: r\r\ncontent-length: abc\r\n")),
        (
            "an overflowing chunk",
            request("POST /x HTTP/1.1", "host: r\r\ntransfer-encoding: chunked\r\n")
                + "fffffffffffffffff\r\n",
        ),
    ] {
        let mut client = RawClient::connect(&router).await;
        client.send(&bytes).await;
        let answer = client.rest().await;
        let refused =
            ["HTTP/1.1 400 ", "HTTP/1.0 400 ", "HTTP/1.1 505 "].iter().any(|r| answer.starts_with(r));
        // A body that breaks off is no request, and gets no answer.
        assert!(refused || name == "an overflowing chunk" && answer.is_empty(), "{name}: {answer}");
        assert!(answer.matches("HTTP/1.").count() <= 1, "{name}: {answer}");
    }
}

#[tokio::test]
async fn refused_host_is_explained() {
    let address = worker(|mut incoming| async move { incoming.send_json("{}").await }).await;
    let router = router(options(&[address])).await;
    let mut client = RawClient::connect(&router).await;
    client.send("POST /generate HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}").await;
    let answer = client.rest().await;
    let error = &crate::support::body(&answer)["error"];
    assert_eq!(
        (error["code"].as_str(), error["message"].as_str()),
        (Some("invalid_host"), Some("the request has no host header"))
    );
}
