//! `sgl-router send` from the outside, against a router with emulated workers.

use crate::support::assert_mistake;
use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

const BIN: &str = env!("CARGO_BIN_EXE_sgl-router");

/// A folder that is removed at the end of the test.
struct TestFolder(PathBuf);

impl TestFolder {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("send-{name}"));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for TestFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn send(folder: &TestFolder, args: &[&str]) -> Output {
    Command::new(BIN).arg("send").args(args).current_dir(&folder.0).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A started command, killed at the end of the test whatever happens.
struct Started(Child, Box<dyn Iterator<Item = String>>);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(args: &[&str], log: fn(&mut Child) -> Box<dyn Read>) -> Started {
    let mut child =
        Command::new(BIN).args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(log(&mut child)).lines().map(Result::unwrap);
    Started(child, Box::new(lines))
}

fn out(child: &mut Child) -> Box<dyn Read> {
    Box::new(child.stdout.take().unwrap())
}

fn err(child: &mut Child) -> Box<dyn Read> {
    Box::new(child.stderr.take().unwrap())
}

/// The first URL in the next line that has `word`.
fn url(started: &mut Started, word: &str) -> String {
    let line = started.1.by_ref().find(|line| line.contains(word)).unwrap();
    line[line.find("http://").unwrap()..].split(['"', ' ']).next().unwrap().to_owned()
}

fn csv_in(folder: &TestFolder) -> String {
    let mut files = std::fs::read_dir(&folder.0).unwrap().map(|entry| entry.unwrap().path());
    let csv = files.find(|path| path.extension().is_some_and(|e| e == "csv")).unwrap();
    let name = csv.file_name().unwrap().to_str().unwrap();
    assert!(
        name.starts_with("router_test_20") && name.len() == "router_test_YYYYMMDD_HHMMSS.csv".len(),
        "{name}"
    );
    std::fs::read_to_string(csv).unwrap()
}

#[test]
fn mistakes_are_one_line_and_exit_2() {
    let folder = TestFolder::new("mistakes");
    let garbage = folder.file("garbage.json", "[{\"conversations\": \u{1}");
    let lines = folder.file("bad.jsonl", "{\"prompt\": 1}\n");
    for (args, parts) in [
        (&["--request-rate", "0"][..], &["--request-rate"][..]),
        (&["--request-rate", "fast"], &["--request-rate", "inf"]),
        (&["--num-requests", "0"], &["--num-requests"]),
        (&["--dataset", "sharegpt"], &["--dataset-path"]),
        (&["--dataset-path", "x"], &["--dataset-path"]),
        (&["--dataset", "sharegpt", "--dataset-path", &garbage], &["garbage.json:1: column"]),
        (&["--dataset", "custom", "--dataset-path", &lines], &["bad.jsonl:1: "]),
        (&["--trace", "no-such.jsonl"], &["--trace", "no-such.jsonl"]),
        (&["--trace", &lines, "--request-rate", "3"], &["--trace", "--request-rate"]),
        (&["--stream", "1.5"], &["--stream"]),
        (&["--endpoint", "embeddings"], &["embeddings", "completions"]),
        (&["--router-url", "https://127.0.0.1"], &["https://127.0.0.1", "http://"]),
        (&["--header", "none"], &["none", "NAME: VALUE"]),
        (
            &["--prompt-seed", "2", "--dataset", "custom", "--dataset-path", &lines],
            &["--prompt-seed", "caches"],
        ),
        (&["--output", "no/such/folder.csv"], &["--output", "no/such/folder.csv"]),
        (&["--timeout-secs", "0"], &["--timeout-secs"]),
        (&["--clients", "a:share=-1,input-len=9,output-len=5"], &["--clients", "client a", "share=-1"]),
        (&["--clients", "a:share=1,input-len=9,speed=5"], &["--clients", "client a", "`speed`"]),
        (&["--clients", "a:share=1,input-len=9,output-len=5", "--no-stream"], &["--clients", "--no-stream"]),
    ] {
        assert_mistake(&send(&folder, args), args, parts);
    }
}

#[test]
fn rows_name_the_worker_from_the_router() {
    let mut fleet = start(&["emulate", "--fleet", "a100*2", "--port-base", "0"], out);
    let workers = [url(&mut fleet, "a100"), url(&mut fleet, "a100")];
    let mut router = start(
        &["launch", "--port", "0", "--policy", "round_robin", "--worker-urls", &workers[0], &workers[1]],
        err,
    );
    let base = url(&mut router, "listening");
    for _ in 0..2 {
        router.1.by_ref().find(|line| line.contains("healthy")).unwrap();
    }
    let folder = TestFolder::new("rows");
    let args = ["--router-url", &base, "--num-requests", "12", "--request-rate", "100", "--output-len", "4"];
    let output = send(&folder, &[&args[..], &["--json", "-"]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["answered"], &report["failed"]), (&12.into(), &0.into()));
    assert!(report["ttft_s"]["p99"].as_f64().unwrap() <= report["e2e_s"]["max"].as_f64().unwrap());
    let csv = csv_in(&folder);
    let hosts: Vec<_> = csv.lines().skip(1).map(|row| row.split(',').nth(6).unwrap()).collect();
    assert_eq!(hosts.len(), 12);
    for worker in &workers {
        assert_eq!(hosts.iter().filter(|host| *host == worker).count(), 6, "{hosts:?}");
        assert_eq!(report["workers"][worker], 6);
    }
}

#[test]
fn prompt_seed_keeps_the_load_and_misses_the_caches() {
    let mut fleet = start(&["emulate", "--fleet", "h200@20*1", "--port-base", "0"], out);
    let worker = url(&mut fleet, "h200");
    let folder = TestFolder::new("prompt-seed");
    let run = |flags: &[&str]| {
        let args = ["--router-url", &worker, "--num-requests", "20", "--request-rate", "200", "--json", "-"];
        let output =
            send(&folder, &[&args[..], &["--output-len", "4", "--output", "rows.csv"], flags].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let rows = std::fs::read_to_string(folder.0.join("rows.csv")).unwrap();
        let column = |name: &str| rows.lines().next().unwrap().split(',').position(|c| c == name).unwrap();
        let columns = ["arrival_time", "input_length", "expected_output_length"].map(column);
        let planned = rows.lines().skip(1).map(|row| {
            let cells: Vec<&str> = row.split(',').collect();
            columns.map(|column| cells[column].to_owned())
        });
        (planned.collect::<Vec<_>>(), report["cached_tokens"].as_u64().unwrap())
    };
    let (first, cached) = run(&["--prompt-seed", "1"]);
    assert_eq!(cached, 0);
    assert_eq!(run(&["--prompt-seed", "2"]), (first.clone(), 0));
    let (again, cached) = run(&["--prompt-seed", "1"]);
    assert!(again == first && cached > 5000, "{cached}");
}

#[test]
fn clients_are_sent_and_reported_one_by_one() {
    let mut fleet = start(&["emulate", "--fleet", "h200@50*2", "--port-base", "0"], out);
    let workers = [url(&mut fleet, "h200"), url(&mut fleet, "h200")];
    let mut router = start(&["launch", "--port", "0", "--worker-urls", &workers[0], &workers[1]], err);
    let base = url(&mut router, "listening");
    for _ in 0..2 {
        router.1.by_ref().find(|line| line.contains("healthy")).unwrap();
    }
    let folder = TestFolder::new("clients");
    let mix = "short:share=1,input-len=100,output-len=4..6,max-tokens=500;\
               long:share=1,input-len=100,output-len=200..300,max-tokens=500,stream=0";
    let args = ["--router-url", &base, "--num-requests", "240", "--request-rate", "200", "--json", "-"];
    let output = send(&folder, &[&args[..], &["--clients", mix]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("client, milliseconds"), "{}", text(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let clients = &report["clients"];
    let per_response = |client: &str| {
        let number = |member: &str| clients[client][member].as_f64().unwrap();
        number("output_tokens") / number("answered")
    };
    assert!((4.0..=6.0).contains(&per_response("short")), "{clients}");
    assert!((200.0..=300.0).contains(&per_response("long")), "{clients}");
    assert!(clients["long"]["ttft_s"].is_null() && clients["short"]["ttft_s"]["p99"].is_f64(), "{clients}");
    let csv = csv_in(&folder);
    assert!(csv.lines().next().unwrap().ends_with(",pure_queue_time,cached_tokens,lateness,client"));
    let rows = csv.lines().skip(1).filter(|row| row.ends_with(",long")).count();
    assert_eq!(clients["long"]["answered"], rows);
}

#[test]
fn ctrl_c_writes_partial_results() {
    let mut fleet = start(&["emulate", "--fleet", "a100*1", "--port-base", "0"], out);
    let worker = url(&mut fleet, "a100");
    let folder = TestFolder::new("interrupt");
    let csv = folder.0.join("out.csv");
    // A load of one hour, which is interrupted soon after its start.
    let args = ["send", "--router-url", &worker, "--num-requests", "36000", "--output-len", "2", "--output"];
    let mut load =
        Command::new(BIN).args(args).arg(&csv).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    while !load_is_running(&worker) {
        std::thread::yield_now();
    }
    assert!(Command::new("kill").args(["-INT", &load.id().to_string()]).status().unwrap().success());
    let mut stderr = String::new();
    load.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert!(load.wait().unwrap().success(), "{stderr}");
    assert!(stderr.contains("before the end"), "{stderr}");
    let rows = std::fs::read_to_string(&csv).unwrap().lines().count() - 1;
    assert!((1..36000).contains(&rows), "{rows} rows");
}

/// Whether the worker has generated tokens, by its own metrics.
fn load_is_running(worker: &str) -> bool {
    use std::io::Write as _;
    let mut socket = std::net::TcpStream::connect(worker.trim_start_matches("http://")).unwrap();
    write!(socket, "GET /metrics HTTP/1.1\r\nhost: w\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    let total = answer.lines().find(|line| line.starts_with("sglang:generation_tokens_total"));
    total.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).is_some_and(|n| n > 0.0)
}
