//! Helpers of the tests.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};

/// Asserts exit code 2 and one line on standard error that contains all of `parts`.
pub(crate) fn assert_mistake(output: &Output, args: &[&str], parts: &[&str]) {
    let error = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(2), "{args:?}: {error}");
    assert_eq!(error.trim_end().lines().count(), 1, "{args:?}: {error}");
    for part in parts {
        assert!(error.contains(part), "{args:?}: '{part}' is not in: {error}");
    }
}

pub(crate) const BIN: &str = env!("CARGO_BIN_EXE_sgl-router");

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A running command; it is killed at the end of the test.
pub(crate) struct RunningCommand {
    pub(crate) child: Child,
    pub(crate) lines: Box<dyn Iterator<Item = std::io::Result<String>>>,
}

impl Drop for RunningCommand {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn start(args: &[&str], log: fn(&mut Child) -> Box<dyn std::io::Read + Send>) -> RunningCommand {
    let mut child =
        Command::new(BIN).args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = Box::new(BufReader::new(log(&mut child)).lines());
    RunningCommand { child, lines }
}

impl RunningCommand {
    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for a line that contains `words`.
    pub(crate) fn says(&mut self, words: &str) {
        assert!(
            self.lines.by_ref().map(Result::unwrap).any(|line| line.contains(words)),
            "never said: {words}"
        );
    }
}

/// The first URL in the first line that has one.
pub(crate) fn url(started: &mut RunningCommand, word: &str) -> String {
    let line = started.lines.by_ref().map(Result::unwrap).find(|l| l.contains(word)).unwrap();
    line[line.find("http://").unwrap()..].split(['"', ' ']).next().unwrap().to_owned()
}

/// The response to a request without a body, head and all.
pub(crate) fn get(url: &str, path: &str) -> String {
    let mut socket = TcpStream::connect(url.trim_start_matches("http://")).unwrap();
    write!(socket, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

/// The admin key of the routers of [`fleet`].
pub(crate) const KEY: &str = "admin-hush";

/// A command that talks to the router at `base`, with its key.
pub(crate) fn run(base: &str, args: &[&str]) -> Output {
    let mut command = Command::new(BIN);
    command.args(args).args(["--url", base]).env("SGL_ROUTER_ADMIN_API_KEY", KEY).output().unwrap()
}

/// The standard output of a command that succeeds.
pub(crate) fn output(base: &str, args: &[&str]) -> String {
    let output = run(base, args);
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// The line on standard error of a command that fails while it runs.
pub(crate) fn failure(base: &str, args: &[&str]) -> String {
    let output = run(base, args);
    let error = text(&output.stderr);
    assert_eq!((output.status.code(), error.lines().count()), (Some(1), 1), "{args:?}: {error}");
    error
}

/// An emulated worker and a router over it, with further flags.
pub(crate) fn fleet(flags: &[&str]) -> (RunningCommand, RunningCommand, String, String) {
    let emulate = ["emulate", "--fleet", "sglang_8b@20*1", "--port-base", "0"];
    let mut workers = start(&emulate, |c| Box::new(c.stdout.take().unwrap()));
    let worker = url(&mut workers, "sglang_8b");
    let launch = ["launch", "--port", "0", "--worker-urls", &worker, "--admin-api-key", KEY];
    let mut router = start(&[&launch[..], flags].concat(), |c| Box::new(c.stderr.take().unwrap()));
    let base = url(&mut router, "listening");
    router.says("healthy");
    (workers, router, worker, base)
}
