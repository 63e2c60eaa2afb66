//! `sgl-router top` with a running router.

use crate::support::{KEY, RunningCommand, failure, fleet, output, run, start, text, url};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

/// A request with a body, whose response may be read from the socket.
fn begin(base: &str, head: &str, body: &str) -> TcpStream {
    let mut socket = TcpStream::connect(base.trim_start_matches("http://")).unwrap();
    let fields = format!("host: localhost\r\nauthorization: Bearer {KEY}\r\nconnection: close");
    write!(socket, "{head} HTTP/1.1\r\n{fields}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
    socket
}

/// Runs the command again until its output has these words.
fn output_with(base: &str, args: &[&str], words: &str) -> String {
    for _ in 0..200 {
        let text = output(base, args);
        if text.contains(words) {
            return text;
        }
    }
    panic!("never said: {words}\n{}", output(base, args));
}

/// A router whose first worker drains with a request that goes on, whose second one is not there, and a third one is well.
fn troubled_fleet() -> (Vec<RunningCommand>, TcpStream, String, [String; 3]) {
    let slow = ["emulate", "--fleet", "sglang_8b@0.01*1", "--port-base", "0"];
    let mut workers = start(&slow, |c| Box::new(c.stdout.take().unwrap()));
    let draining = url(&mut workers, "sglang_8b");
    let flags = ["--worker-startup-timeout-secs", "1", "--health-check-interval-secs", "1"];
    let launch = ["launch", "--port", "0", "--worker-urls", &draining, "--admin-api-key", KEY];
    let mut router = start(&[&launch[..], &flags].concat(), |c| Box::new(c.stderr.take().unwrap()));
    let base = url(&mut router, "listening");
    router.says("healthy");
    let prompt = r#"{"text":"a","stream":true,"sampling_params":{"max_new_tokens":4000}}"#;
    let mut request = begin(&base, "POST /generate", prompt);
    // The head comes with the first token.
    let mut status = [0; 12];
    request.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
    let mut answer = String::new();
    begin(&base, "PUT /workers/0.1", r#"{"drained":true}"#).read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 20"), "{answer}");
    let fast = ["emulate", "--fleet", "sglang_8b@20*1", "--port-base", "0"];
    let mut more = start(&fast, |c| Box::new(c.stdout.take().unwrap()));
    let well = url(&mut more, "sglang_8b");
    let dead = format!("http://{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    for worker in [&dead, &well] {
        output(&base, &["workers", "add", worker, "--label", "rack=b\u{1b}[31m"]);
    }
    (vec![workers, more, router], request, base, [draining, dead, well])
}

#[test]
fn frame_says_what_is_wrong() {
    let (_running, _request, base, workers) = troubled_fleet();
    let [draining, dead, well] = workers.map(|url| url.replace("http://", ""));
    let once = ["top", "--once", "--watch-secs", "0"];
    output_with(&base, &["workers"], "1 healthy, 1 unhealthy, 1 not_ready");
    let frame = output(&base, &once);
    let lines: Vec<_> = frame.lines().collect();
    let said = |words: &str| lines.iter().position(|line| line.contains(words));
    let down = said(&format!("CRITICAL {dead} is down: ")).expect(&frame);
    let drains = said(&format!("INFO     {draining} is draining: 1 requests left.")).expect(&frame);
    assert!(down < drains && drains < 8, "the worst is first, and all before the figures\n{frame}");
    let row = |worker: &str| {
        let row = lines.iter().find(|line| line.starts_with(worker)).expect(&frame);
        row.split_whitespace().nth(1).unwrap().to_owned()
    };
    assert_eq!([row(&dead), row(&draining), row(&well)], ["unhealthy", "draining", "healthy"]);
    assert!(lines.iter().all(|line| line.chars().count() <= 80), "{frame}");
    assert!(frame.is_ascii() && !frame.contains('\u{1b}'), "{frame}");
    let wide = output(&base, &[&once[..], &["--width", "200", "--lang", "zh"]].concat());
    assert!(wide.contains(&format!("{dead} 不可用")) && wide.contains("排空中"), "{wide}");
}

#[test]
fn output_that_is_no_terminal_gets_one_frame() {
    let (_workers, _router, worker, base) = fleet(&[]);
    let frame = output(&base, &["top", "--watch-secs", "1"]);
    assert!(frame.contains("Nothing is wrong.") && frame.contains(&worker.replace("http://", "")), "{frame}");
}

#[test]
fn routers_without_a_stream_are_named() {
    let (_workers, _router, worker, base) = fleet(&[]);
    let wrong = failure(&base, &["top", "--api-key", "wrong"]);
    assert!(wrong.contains("401") && wrong.contains("--api-key"), "{wrong}");
    let no_router = failure(&worker, &["top"]);
    assert!(no_router.contains("404") && no_router.contains("--no-dashboard"), "{no_router}");
    let nobody = failure("http://127.0.0.1:9", &["top"]);
    assert!(nobody.contains("cannot reach the router at http://127.0.0.1:9"), "{nobody}");
    for (flag, value) in [("--watch-secs", "61"), ("--lang", "fr"), ("--width", "7")] {
        let invalid = run(&base, &["top", flag, value]);
        let error = text(&invalid.stderr);
        assert!(invalid.status.code() == Some(2) && error.contains(flag), "{error}");
    }
    let watchers: Vec<_> = (0..16)
        .map(|_| {
            let mut watcher = begin(&base, "GET /v1/live", "");
            watcher.read_exact(&mut [0; 12]).unwrap();
            watcher
        })
        .collect();
    let many = failure(&base, &["top"]);
    assert!(many.contains("503") && many.contains("16 viewers"), "{many}");
    drop(watchers);
}
