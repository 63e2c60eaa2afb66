//! `sgl-router simulate` from the outside.

use crate::support::assert_mistake;
use serde_json::Value;
use std::process::{Command, Output};

const BIN: &str = env!("CARGO_BIN_EXE_sgl-router");
const TRACE: &str = r#"{"arrival_s":0.0,"input_tokens":1030,"output_tokens":20,"hash_ids":[7,8,9]}
{"arrival_s":1.0,"input_tokens":1040,"output_tokens":30,"hash_ids":[7,8,10]}
{"arrival_s":4.0,"input_tokens":500,"output_tokens":10}
"#;

fn run(args: &[&str]) -> Output {
    Command::new(BIN).arg("simulate").args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The JSON that a run prints.
fn json(args: &[&str]) -> Value {
    let output = run(&[args, &["--json"]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn mean(of: &Value, policy: usize, measure: &str) -> f64 {
    of["policies"][policy]["measures"][measure]["mean"].as_f64().unwrap()
}

#[test]
fn output_follows_the_seed() {
    let args = |seed| {
        let fixed = "--fleet sglang_8b,rtx4090*2:kv_tokens=20000:chunked=512 --routers 2 --seeds 2 --poll-secs 1 \
            --num-requests 150 --request-rate 20 --burstiness 0.4 --output-len lognormal:80:1 --stream 0.5 \
            --event slow:0:4@1..3 --event die:1@2 --event join:t4@2.5 --event late-answers:0.2@1 \
            --policy marginal_cost,power_of_two,oracle --json --seed";
        fixed.split_whitespace().map(str::to_owned).chain([seed]).collect::<Vec<String>>()
    };
    let out = |seed: &str| {
        let args = args(seed.to_owned());
        run(&args.iter().map(String::as_str).collect::<Vec<_>>()).stdout
    };
    let first = out("1");
    assert!(first.len() > 1000);
    assert_eq!(first, out("1"));
    assert_ne!(first, out("3"));
}

#[test]
fn table_fits_and_json_is_complete() {
    let policy = "round_robin,marginal_cost:ttft_weight=2:externality_weight=1.5,oracle";
    let output = run(&["--num-requests", "200", "--seeds", "3", "--policy", policy, "--json"]);
    let table = text(&output.stderr);
    assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");
    for part in ["E2E, s", "TTFT, ms", "TPOT, ms", "goodput", "prefix hits", "imbalance", "share", "±", "×0."]
    {
        assert!(table.contains(part), "{part} is not in {table}");
    }
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["seeds"], serde_json::json!([1, 2, 3]));
    assert_eq!(found["policies"].as_array().unwrap().len(), 3);
    for kind in ["e2e", "ttft", "tpot"] {
        for which in ["mean", "p50", "p90", "p99"] {
            let measure = &found["policies"][1]["measures"][format!("{kind}_{which}_s")];
            assert_eq!(measure["by_seed"].as_array().unwrap().len(), 3);
            assert!(measure["half_width"].is_f64() && measure["ratio"]["mean"].is_f64(), "{measure}");
        }
    }
    for measure in ["goodput_per_s", "prefix_hits", "imbalance", "failed"] {
        assert!(found["policies"][2]["measures"][measure]["mean"].is_f64());
    }
    let shares = found["policies"][2]["share"].as_array().unwrap();
    assert!((shares.iter().map(|s| s.as_f64().unwrap()).sum::<f64>() - 1.0).abs() < 1e-9);
    assert!(mean(&found, 2, "e2e_mean_s") < mean(&found, 0, "e2e_mean_s"), "the oracle beats rotation");
}

#[test]
fn trace_is_sliced_and_sped_up() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trace.jsonl");
    std::fs::write(&file, TRACE).unwrap();
    let file = file.to_str().unwrap();
    let base = ["--fleet", "sglang_8b", "--policy", "random", "--seeds", "1", "--trace", file];
    let whole = json(&base);
    assert_eq!(whole["requests"], 3);
    let found = 1024.0 / (1030.0 + 1040.0 + 500.0);
    assert!((mean(&whole, 0, "prefix_hits") - found).abs() < 1e-3, "two blocks of the second prompt");
    assert_eq!(json(&[&base[..], &["--slice", "1..3"]].concat())["requests"], 2);
    let rate = |more: &[&str]| mean(&json(&[&base[..], more].concat()), 0, "goodput_per_s");
    assert!(rate(&["--speed", "4"]) > 3.0 * rate(&[]));
}

#[test]
fn shared_prefixes_are_found() {
    let sessions = json(&[
        "--sessions",
        "20",
        "--turns",
        "4",
        "--think-secs",
        "1",
        "--input-len",
        "300",
        "--seeds",
        "1",
        "--request-rate",
        "2",
        "--policy",
        "round_robin,cache_aware",
    ]);
    assert_eq!(sessions["requests"], 80);
    assert!(mean(&sessions, 1, "prefix_hits") > mean(&sessions, 0, "prefix_hits"));
    let groups =
        json(&["--prefix-groups", "8", "--num-requests", "200", "--seeds", "1", "--policy", "cache_aware"]);
    assert!(mean(&groups, 0, "prefix_hits") > 0.5);
}

#[test]
fn clients_have_figures_of_their_own() {
    let mix = "extraction:share=3,input-len=1500..3000,output-len=5..30,stream=0;\
               agents:share=1,prefix-len=1024,input-len=100,output-len=300..900";
    let flags = [
        "--num-requests",
        "300",
        "--request-rate",
        "5",
        "--seeds",
        "2",
        "--policy",
        "round_robin,least_request",
    ];
    let output = run(&[&flags[..], &["--clients", mix, "--json"]].concat());
    let table = text(&output.stderr);
    assert!(table.contains("2 clients: extraction sends 75 %"), "{table}");
    assert!(table.contains("\nclient extraction\n") && table.contains("\nclient agents\n"), "{table}");
    assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let clients = &found["policies"][1]["clients"];
    let mean = |client: &str| clients[client]["measures"]["e2e_mean_s"]["mean"].as_f64().unwrap();
    assert!(mean("extraction") * 5.0 < mean("agents"), "{clients}");
    assert!(
        json(&flags)["policies"][0].get("clients").is_none(),
        "clients that are not named have no figures"
    );
}

#[test]
fn page_contains_the_runs() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.html");
    let output = run(&[
        "--num-requests",
        "100",
        "--seeds",
        "2",
        "--policy",
        "random,oracle",
        "-o",
        file.to_str().unwrap(),
    ]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let page = std::fs::read_to_string(&file).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.contains(r#""policies":["random","oracle"]"#));
    assert!(
        !text(&output.stdout).contains('\r') && !text(&output.stderr).contains("runs"),
        "no progress bar without a terminal"
    );
}

#[test]
fn mistakes_are_one_line_and_exit_2() {
    let folder = tempfile::tempdir().unwrap();
    let bad = folder.path().join("bad.jsonl");
    std::fs::write(&bad, format!("{TRACE}{{\"arrival_s\":5}}\n")).unwrap();
    let bad = bad.to_str().unwrap();
    for (args, parts) in [
        (&["--policy", "rond_robin"][..], &["--policy", "rond_robin", "round_robin"][..]),
        (&["--policy", "marginal_cost:weight=2"], &["--policy", "marginal_cost", "weight"]),
        (&["--policy", "oracle:ttft_weight=-1"], &["--policy", "oracle", "ttft_weight"]),
        (&["--fleet", "sglang_8b*2,warp9"], &["--fleet", "warp9"]),
        (&["--fleet", "t4:kv=1"], &["--fleet", "kv=1", "kv_tokens"]),
        (&["--event", "slow:0@1"], &["--event", "slow:0@1"]),
        (&["--event", "die:7@1"], &["--event", "7", "0 to 2"]),
        (&["--trace", "/no/such.jsonl"], &["--trace", "/no/such.jsonl"]),
        (&["--trace", bad], &["--trace", bad, "line 4", "input_tokens"]),
        (&["--trace", bad, "--slice", "9..12"], &["--trace", "no request"]),
        (&["--slice", "0..3"], &["--trace"]),
        (&["--trace", bad, "--request-rate", "3"], &["--trace", "--request-rate"]),
        (&["--input-len", "many"], &["--input-len", "many", "LOW..HIGH"]),
        (&["--burstiness", "0"], &["--burstiness", "above 0"]),
        (&["--stream", "1.5"], &["--stream", "from 0 to 1"]),
        (
            &["--clients", "a:share=1,input-len=9..3,output-len=5"],
            &["--clients", "client a", "input-len=9..3"],
        ),
        (
            &["--clients", "a:share=0,input-len=9,output-len=5"],
            &["--clients", "client a", "share=0", "above 0"],
        ),
        (&["--clients", "a:share=1,input-len=9,output-len=5", "--stream", "0"], &["--clients", "--stream"]),
        (&["--seeds", "0"], &["--seeds"]),
        (&["--routers", "65"], &["--routers", "65"]),
        (&["--poll-secs", "0"], &["--poll-secs", "0.001"]),
        (&["-o", "/no/such/folder/page.html"], &["--output", "/no/such/folder"]),
    ] {
        assert_mistake(&run(args), args, parts);
    }
}

#[test]
fn launch_refuses_the_oracle() {
    let launch = ["launch", "--policy", "oracle", "--worker-urls", "http://127.0.0.1:1"];
    let output = Command::new(BIN).args(launch).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("unknown policy `oracle`"));
}
