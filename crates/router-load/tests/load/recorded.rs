//! The columns follow the formulas of recorded runs of real servers, where those are available.

use crate::support::{Row, number, rows};
use router_load::{COLUMNS, CompletedRequest, running_totals};
use std::path::PathBuf;

fn recorded() -> Vec<PathBuf> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/gpu-runs"));
    let Ok(listed) = std::fs::read_dir(&folder) else { return Vec::new() };
    let paths = listed.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.to_string_lossy().contains("router_test")).collect()
}

/// Checks that `column` is `later - earlier` in every row that has all three.
fn assert_difference(rows: &[Row], column: &str, later: &str, earlier: &str) {
    for row in rows {
        let all = number(row, column).zip(number(row, later)).zip(number(row, earlier));
        let Some(((value, later), earlier)) = all else { continue };
        assert!((value - (later - earlier)).abs() < 1e-6, "{column} of {}", row["req_id"]);
    }
}

pub fn assert_formulas(rows: &[Row]) {
    for (column, later, earlier) in [
        ("server_latency", "finish_time", "router_send_time"),
        ("total_latency", "finish_time", "arrival_time"),
        ("queue_time_in_router", "router_send_time", "arrival_time"),
        ("queue_time_in_server", "server_first_token_time", "server_created_time"),
        ("tokenize_time", "queue_time_start", "server_created_time"),
        ("pure_queue_time", "queue_time_end", "queue_time_start"),
    ] {
        assert_difference(rows, column, later, earlier);
    }
    let tokens = |row: &Row, column| number(row, column).map(|n| n as u64);
    let done: Vec<_> = rows
        .iter()
        .map(|row| {
            (row["success"] == "True").then(|| CompletedRequest {
                finished: number(row, "finish_time").unwrap(),
                worker: Some(row["host"].as_str()).filter(|host| !host.is_empty()),
                prompt_tokens: tokens(row, "actual_prompt_tokens"),
                output_tokens: tokens(row, "actual_output_tokens"),
            })
        })
        .collect();
    for (row, running) in rows.iter().zip(running_totals(&done)) {
        for (column, ours) in [
            ("PREFILL_THROUGHPUT", running.prefill),
            ("DECODE_THROUGHPUT", running.decode),
            ("AVG_LATENCY", running.latency),
            ("prefill_token_throughput", running.worker_prefill),
            ("decode_token_throughput", running.worker_decode),
        ] {
            let theirs = number(row, column);
            let same = match (ours, theirs) {
                (Some(a), Some(b)) => (a / b - 1.0).abs() < 1e-9,
                (a, b) => a == b,
            };
            assert!(same, "{column} of {}: {ours:?}, recorded {theirs:?}", row["req_id"]);
        }
    }
}

#[test]
fn formulas_hold_for_recorded_rows() {
    let files = recorded();
    if files.is_empty() {
        eprintln!("SKIPPED: no recorded runs beside this checkout; the columns' formulas were not compared");
        return;
    }
    for file in files {
        let bytes = std::fs::read(&file).unwrap();
        let header = bytes.split(|b| *b == b'\n').next().unwrap().trim_ascii_end();
        assert_eq!(std::str::from_utf8(header).unwrap(), COLUMNS.join(","), "{}", file.display());
        let rows = rows(&bytes);
        assert!(rows.len() >= 200);
        for row in &rows {
            if let Some(ttft) = number(row, "ttft") {
                let first = number(row, "server_first_token_time").unwrap();
                assert!((ttft - (first - number(row, "arrival_time").unwrap())).abs() < 1e-6);
            }
            assert_eq!(row["decode_length"], row["actual_output_tokens"]);
        }
        assert_formulas(&rows);
    }
}
