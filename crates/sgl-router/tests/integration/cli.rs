//! The binary from the outside: arguments, output, exit codes, signals.

use crate::support::{BIN, assert_mistake, get, start, text, url};
use std::process::{Command, Output, Stdio};

fn run(args: &[&str]) -> Output {
    Command::new(BIN).args(args).output().unwrap()
}

#[test]
fn mistakes_are_one_line_and_exit_2() {
    let worker = "http://127.0.0.1:1";
    for (args, parts) in [
        (&["launch", "--polcy", "random"][..], &["--polcy", "--policy"][..]),
        (&["launch"], &["--worker-urls"]),
        (&["launch", "--worker-urls", "ftp://x"], &["ftp://x"]),
        (&["launch", "--worker-urls", worker, worker], &["given twice", worker]),
        (
            &["launch", "--worker-urls", worker, "--policy", "shortest_que"],
            &["shortest_que", "shortest_queue"],
        ),
        (&["launch", "--worker-urls", worker, "--port", "99999"], &["99999", "--port"]),
        (&["launch", "--worker-urls", worker, "--config", "/no/such.toml"], &["/no/such.toml"]),
        (&["emulate", "--fleet", "a100*1,warp9*2"], &["--fleet", "warp9"]),
        (&["emulate", "--port-base", "65535"], &["--port-base", "65535"]),
        (&["emulate", "--grpc"], &["--grpc", "SGLang 0.4", "--meta stock"]),
        (&["emulate", "--grpc-port-base", "31001"], &["--grpc"]),
        (
            &["emulate", "--grpc", "--meta", "stock", "--port-base", "65000"],
            &["--grpc-port-base", "--port-base + 1000"],
        ),
        (&["demo", "--rate", "0"], &["--rate"]),
        (&["lunch"], &["lunch", "launch"]),
        (&["launch", worker], &[worker, "did you mean '--worker-urls http://127.0.0.1:1'?"]),
        (&["launch", "--worker-urls", worker, "--log-level", "verbose"], &["verbose", "trace, debug, info"]),
        (&["policies", "least_reqest"], &["least_reqest", "least_request"]),
    ] {
        assert_mistake(&run(args), args, parts);
    }
}

#[test]
fn help_lists_commands_and_fits() {
    let help = text(&run(&["--help"]).stdout);
    for command in ["launch", "demo", "emulate", "simulate", "policies", "top"] {
        assert!(help.contains(&format!("\n  {command}")), "{help}");
        let own = run(&[command, "--help"]);
        assert!(own.status.success());
        assert!(text(&own.stdout).lines().all(|l| l.chars().count() <= 110));
    }
    assert!(text(&run(&["policies"]).stdout).contains("marginal_utility"));
    let one = text(&run(&["policies", "least_request"]).stdout);
    assert!(one.contains("choice_count") && one.contains("--policy-option"), "{one}");
}

#[test]
fn short_help_has_the_common_options() {
    let lines = |flag: &str| {
        let output = run(&["launch", flag]);
        assert!(output.status.success());
        text(&output.stdout)
    };
    let (short, whole) = (lines("-h"), lines("--help"));
    assert!(short.lines().count() < 60 && whole.lines().count() > 150, "{short}");
    assert!(short.contains("--worker-urls") && short.contains("sgl-router launch --help"), "{short}");
    assert!(!short.contains("--cb-window-duration-secs") && whole.contains("--cb-window-duration-secs"));
}

#[test]
fn shells_and_man_get_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let script = text(&run(&["completions", shell]).stdout);
        assert!(script.contains("worker-urls") && script.contains("simulate"), "{shell}");
    }
    let page = text(&run(&["man"]).stdout);
    assert!(page.contains(".TH sgl") && page.contains("launch"), "{page}");
}

#[test]
fn launch_tells_of_both_pools_and_of_an_open_port() {
    let args = [
        "launch",
        "--pd-disaggregation",
        "--start-empty",
        "--policy",
        "random",
        "--host",
        "0.0.0.0",
        "--port",
        "0",
    ];
    let mut router = start(&args, |c| Box::new(c.stderr.take().unwrap()));
    let line = router.lines.by_ref().map(Result::unwrap).find(|l| l.contains("listening")).unwrap();
    for part in
        ["prefill_policy=\"random\"", "prefill_workers=0", "decode_policy=\"random\"", "decode_workers=0"]
    {
        assert!(line.contains(part), "{line}");
    }
    router.says("--api-key");
}

#[test]
fn demo_compares_policies_and_exits() {
    let output = run(&[
        "demo",
        "--once",
        "--port",
        "0",
        "--requests",
        "20",
        "--rate",
        "40",
        "--policies",
        "round_robin,marginal_cost",
        "--fleet",
        "h200@20*1,h200@8*2",
    ]);
    let (tables, log) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success() && !tables.contains("FAILED"), "{tables} {log}");
    assert!(tables.lines().all(|line| line.chars().count() <= 80), "{tables}");
    let workers = tables.lines().position(|l| l.ends_with("h200@20   h200@8   h200@8")).unwrap();
    for (row, policy) in tables.lines().skip(workers + 1).zip(["round_robin", "marginal_cost"]) {
        let shares = row.strip_prefix(policy).unwrap_or_else(|| panic!("{tables}")).split_whitespace();
        let all: f64 = shares.map(|share| share.parse::<f64>().unwrap()).sum();
        assert!((all - 100.0).abs() < 2.0, "{tables}");
    }
    assert!(log.contains("1 of 2 round_robin") && log.contains("2 of 2 marginal_cost"), "{log}");
    assert!(tables.replace('\n', " ").contains("marginal_cost has learned that a request takes"), "{tables}");
}

#[test]
fn demo_answers_why_a_worker_was_chosen() {
    let args = ["demo", "--port", "0", "--requests", "4", "--policies", "round_robin"];
    let mut demo = start(&args, |child| Box::new(child.stdout.take().unwrap()));
    demo.says("Send a request, ask why");
    let examples = demo.lines.by_ref().map(Result::unwrap).skip(1).take_while(|line| !line.is_empty());
    let examples = examples.collect::<Vec<_>>().join("\n").replace("sgl-router", BIN);
    let output = Command::new("sh").args(["-ec", &examples]).output().unwrap();
    let printed = text(&output.stdout);
    assert!(output.status.success(), "{examples}\n{printed}{}", text(&output.stderr));
    assert!(printed.contains("data: [DONE]") && printed.contains("Request hello"), "{printed}");
    assert!(printed.contains("sgl_router_requests_total"), "{printed}");
}

#[test]
fn launch_serves_until_sigterm() {
    let mut fleet =
        start(&["emulate", "--fleet", "a100*1", "--port-base", "0"], |c| Box::new(c.stdout.take().unwrap()));
    let worker = url(&mut fleet, "a100");
    let mut router =
        start(&["launch", "--port", "0", "--worker-urls", &worker], |c| Box::new(c.stderr.take().unwrap()));
    let base = url(&mut router, "listening");
    router.lines.by_ref().map(Result::unwrap).find(|l| l.contains("healthy")).unwrap();
    assert!(get(&base, "/v1/models").contains("emulated"));
    assert!(get(&base, "/list_workers").contains(&worker));
    assert!(get(&base, "/metrics").contains("sgl_router_active_workers 1"));
    router.signal("-TERM");
    assert!(router.child.wait().unwrap().success(), "SIGTERM exits with success");
}

#[test]
fn emulate_prints_both_ports_of_a_worker() {
    let args = ["emulate", "--fleet", "a100*1", "--port-base", "0", "--meta", "stock", "--grpc"];
    let mut fleet = start(&args, |c| Box::new(c.stdout.take().unwrap()));
    let line = fleet.lines.by_ref().map(Result::unwrap).find(|l| l.contains("a100")).unwrap();
    let word = |start: &str| line.split_whitespace().find(|word| word.starts_with(start)).unwrap();
    let (_, port) = word("grpc://").rsplit_once(':').unwrap();
    assert!(get(word("http://"), "/server_info").contains(&format!("\"grpc_port\":{port}")), "{line}");
}

#[test]
fn demo_survives_a_closed_pipe() {
    let args = ["demo", "--once", "--port", "0", "--requests", "4", "--policies", "round_robin"];
    let mut demo = Command::new(BIN).args(args).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    drop(demo.stdout.take());
    assert!(demo.wait().unwrap().success());
}

#[test]
fn sighup_reloads_the_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| dir.path().join(name));
    let write = || {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    };
    write();
    let files = [cert.to_str().unwrap(), key.to_str().unwrap()];
    let args = ["launch", "--port", "0", "--worker-urls", "http://127.0.0.1:9"];
    let tls = ["--tls-cert-path", files[0], "--tls-key-path", files[1]];
    let mut router = start(&[&args[..], &tls].concat(), |c| Box::new(c.stderr.take().unwrap()));
    router.says("listening");
    router.signal("-HUP");
    router.says("the certificate is the same as before");
    write();
    router.signal("-HUP");
    router.says("reloaded the TLS certificate");
    std::fs::write(&cert, "no certificate").unwrap();
    router.signal("-HUP");
    router.says("cannot reload the TLS certificate");
    router.signal("-TERM");
    assert!(router.child.wait().unwrap().success());
}
