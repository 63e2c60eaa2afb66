//! Launch scripts of other routers run with this program.

use crate::support::assert_mistake;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

const BIN: &str = env!("CARGO_BIN_EXE_sgl-router");

/// A running command; it is killed at the end of the test.
struct RunningCommand {
    child: Child,
    lines: Box<dyn Iterator<Item = String>>,
}

impl Drop for RunningCommand {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl RunningCommand {
    fn emulator(role: &str, workers: u32) -> (Self, Vec<String>) {
        let fleet = format!("a100@20*{workers}");
        let mut command = Command::new(BIN);
        command.args(["emulate", "--fleet", &fleet, "--port-base", "0", "--role", role]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut started = Self { child, lines: Box::new(lines) };
        let urls = (0..workers).map(|_| started.url("http://")).collect();
        (started, urls)
    }

    fn router(words: &[&str]) -> Self {
        let mut child = Command::new(BIN).args(words).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        Self { child, lines: Box::new(lines) }
    }

    /// Its URL, once it listens and this many workers are healthy.
    fn ready(&mut self, workers: usize) -> String {
        let (mut listening, mut healthy) = (None, 0);
        while listening.is_none() || healthy < workers {
            let line = self.lines.next().unwrap();
            healthy += usize::from(line.contains("healthy"));
            if line.contains("listening") {
                listening = Some(url_in(&line));
            }
        }
        listening.unwrap()
    }

    /// The bootstrap ports of emulated prefill workers, from their last line.
    fn bootstrap_ports(&mut self) -> Vec<String> {
        let line = self.lines.find(|l| l.contains("Route to them")).unwrap();
        line.split("--prefill ").skip(1).map(|pair| pair.split(' ').nth(1).unwrap().to_owned()).collect()
    }

    /// The first URL in the next line that has `word`.
    fn url(&mut self, word: &str) -> String {
        url_in(&self.lines.find(|l| l.contains(word)).unwrap())
    }
}

fn url_in(line: &str) -> String {
    line[line.find("http://").unwrap()..].split(['"', ' ']).next().unwrap().to_owned()
}

/// The status line of the response to a request for a few tokens.
fn generate(url: &str) -> String {
    post(url, "/generate", r#"{"text":"a b c","sampling_params":{"max_new_tokens":2}}"#)
}

/// The status line of the response.
fn post(url: &str, path: &str, body: &str) -> String {
    let mut socket = TcpStream::connect(url.trim_start_matches("http://")).unwrap();
    let head = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n", body.len());
    write!(socket, "{head}authorization: Bearer k\r\nconnection: close\r\n\r\n{body}").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer.lines().next().unwrap_or_default().to_owned()
}

const URLS: [&str; 3] = ["$W", "$P", "$D"];

/// Command lines as in users' scripts and manifests, with placeholders for addresses: `$W1`, `$W2` are whole workers,
/// `$P1`, `$P2` prefill workers with the bootstrap ports `$B1`, `$B2`, `$D1`, `$D2` decode workers; `$AT` is the listener.
const SCRIPTS: [&str; 11] = [
    "--worker-urls $W1 $W2 --policy cache_aware $AT",
    "$AT --worker-urls $W1 $W2",
    "--worker-urls $W1 --policy round_robin --eviction-interval 60 --max-tree-size 67108864 $AT",
    "--worker-urls $W1 $W2 --policy power_of_two --log-level warning --log-dir $LOGS $AT",
    "--pd-disaggregation --prefill $P1 $B1 --decode $D1 $AT --mini-lb",
    "--pd-disaggregation --policy cache_aware --prefill $P1 $B1 --prefill $P2 none --decode $D1 --decode $D2 $AT",
    "--pd-disaggregation --prefill $P1 --decode $D1 --prefill-policy cache_aware --decode-policy round_robin \
     --disable-circuit-breaker $AT",
    "--pd-disaggregation --prefill $P1 $B1 --decode $D1 $AT --api-key k --policy cache_aware \
     --max-concurrent-requests 64 --health-check-timeout-secs 300 --request-timeout-secs 600 --log-level info",
    "--worker-urls $W1 --policy cache_aware --request-id-headers x-correlation-id --dp-aware $AT --prometheus-host 127.0.0.1 \
     --connect-timeout-secs 900 --request-timeout-secs 14400 --disable-health-check --disable-retries",
    "--worker-urls $W1 $W2 --cache-threshold 0.5 --balance-abs-threshold 32 --balance-rel-threshold 1.0001 \
     --worker-startup-timeout-secs 3600 --worker-startup-check-interval 5 --model-path org/model $AT \
     --retry-max-retries 3 --cb-failure-threshold 5 --queue-size 200 --tokenizer-cache-enable-l0",
    "--vllm-pd-disaggregation --prefill $P1 --decode $D1 --policy consistent_hash --kv-connector nixl $AT",
];

#[test]
fn scripts_of_other_routers_work() {
    let (_whole, whole) = RunningCommand::emulator("whole", 2);
    let (mut reading, prefill) = RunningCommand::emulator("prefill", 2);
    let bootstrap = reading.bootstrap_ports();
    let (_decode, decode) = RunningCommand::emulator("decode", 2);
    let logs = tempfile::tempdir().unwrap();
    for script in SCRIPTS {
        let mut line = script.replace("$AT", "--host 127.0.0.1 --port 0");
        line = line.replace("$LOGS", &logs.path().display().to_string());
        for (letter, urls) in [("W", &whole), ("P", &prefill), ("B", &bootstrap), ("D", &decode)] {
            for (n, url) in (1..).zip(urls) {
                line = line.replace(&format!("${letter}{n}"), url);
            }
        }
        // At level warning the address is only in the log file, and this test needs it on standard error.
        line = line.replace("--log-level warning", "--log-level info");
        let words: Vec<_> = ["launch"].into_iter().chain(line.split_whitespace()).collect();
        let mut router = RunningCommand::router(&words);
        // Without health checks every worker counts as healthy from the start.
        let workers = if script.contains("--disable-health-check") {
            0
        } else {
            URLS.iter().map(|u| script.matches(u).count()).sum()
        };
        let url = router.ready(workers);
        // Emulated servers use their own bootstrap ports, so a script without these ports cannot reach them.
        if script.matches("$P").count() == script.matches("$B").count() {
            assert_eq!(generate(&url), "HTTP/1.1 200 OK", "{script}");
        }
    }
    let written = std::fs::read_dir(logs.path()).unwrap().map(|file| file.unwrap().path());
    let written: String = written.map(|file| std::fs::read_to_string(file).unwrap()).collect();
    assert!(written.contains("listening") && !written.contains('\u{1b}'), "{written}");
}

#[test]
fn workers_join_an_empty_router() {
    let (_fleet, urls) = RunningCommand::emulator("whole", 1);
    let mut router = RunningCommand::router(&["launch", "--start-empty", "--port", "0"]);
    let url = router.ready(0);
    assert_eq!(generate(&url), "HTTP/1.1 503 Service Unavailable");
    let joined = post(&url, "/workers", &format!(r#"{{"url":"{}"}}"#, urls[0]));
    assert_eq!(joined, "HTTP/1.1 202 Accepted");
    router.lines.find(|l| l.contains("healthy")).unwrap();
    assert_eq!(generate(&url), "HTTP/1.1 200 OK");
}

#[test]
fn unsupported_flags_are_refused_with_advice() {
    let worker = "http://127.0.0.1:1";
    for (args, parts) in [
        (&["--history-backend", "oracle"][..], &["--history-backend oracle: ", "/v1/responses"][..]),
        (&["--service-discovery"], &["--selector: ", "--service-discovery"]),
        (&["--mcp-config-path", "a.yaml"], &["--mcp-config-path: ", "let the client call them"]),
        (&["--health-f"], &["--health-failure-threshold"]),
        (&["--health-check"], &["--health-check matches several flags", "--health-check-interval-secs"]),
        (&["--log-dir", "/dev/null/logs"], &["--log-dir: /dev/null/logs: "]),
    ] {
        let args: Vec<_> = ["launch", "--worker-urls", worker].iter().chain(args).copied().collect();
        let output = Command::new(BIN).args(&args).output().unwrap();
        assert_mistake(&output, &args, parts);
    }
}

#[test]
fn flags_without_effect_are_logged() {
    let mut router = RunningCommand::router(
        &"launch --worker-urls http://127.0.0.1:1 --port 0 --chat-template chat.jinja --tool-call-parser qwen"
            .split(' ')
            .collect::<Vec<_>>(),
    );
    let before: Vec<_> = router.lines.by_ref().take_while(|l| !l.contains("listening")).collect();
    for flag in ["--chat-template changes nothing: ", "--tool-call-parser changes nothing: "] {
        assert_eq!(before.iter().filter(|l| l.contains(flag)).count(), 1, "{before:?}");
    }
}
