//! The engine is right: real runs, replayed with their real arrivals, lengths and choices, take as long as they took.
//!
//! The recorded runs are outside data; without them the test says that it skips.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking and tells what it skips"
)]

use router_core::Time;
use router_sim::{Assigned, Fleet, Request, Scenario, Workload, simulate};
use std::path::Path;

/// A recorded run.
struct Run {
    load: Workload,
    to: Vec<usize>,
    mean: f64,
}

fn read(text: &str) -> Run {
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap().split(',').collect();
    let column = |name: &str| header.iter().position(|h| *h == name).unwrap();
    let wanted =
        ["router_send_time", "actual_prompt_tokens", "actual_output_tokens", "server_latency", "host"];
    let [sent, prompt, output, latency, host] = wanted.map(column);
    let mut run = Run { load: Workload::new(Vec::new()), to: Vec::new(), mean: 0.0 };
    for line in lines {
        let cells: Vec<&str> = line.split(',').collect();
        let number = |i: usize| cells[i].parse::<f64>().unwrap();
        let at = Time::from_secs_f64(number(sent));
        run.load.requests.push(Request::at(at, number(prompt) as u32, number(output) as u32));
        run.to.push(cells[host].rsplit_once("3000").unwrap().1.parse::<usize>().unwrap() - 1);
        run.mean += number(latency);
    }
    run.mean /= run.to.len() as f64;
    run
}

#[test]
fn real_runs_take_as_long_as_they_took() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/gpu-runs");
    let Ok(entries) = folder.read_dir() else {
        eprintln!(
            "SKIPPED: the recorded GPU runs are not beside this clone, so the engine model was not compared to them"
        );
        return;
    };
    let mut compared = 0;
    for path in entries.map(|entry| entry.unwrap().path()) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !name.contains("router_test") {
            continue;
        }
        // On the first day one of the three served a model 2.6 times as fast; later all were alike.
        let fleet = if name.contains("20250731") { "sglang_1.5b,sglang_8b*2" } else { "sglang_8b*3" };
        let run = read(&std::fs::read_to_string(&path).unwrap());
        let scenario = Scenario::of(fleet.parse::<Fleet>().unwrap());
        let summary =
            simulate(&scenario, &run.load, &|| Box::new(Assigned { to: run.to.clone() }), 1).summary();
        let error = summary.e2e.mean / run.mean - 1.0;
        eprintln!(
            "{name}: measured {:.3} s, simulated {:.3} s, {:+.1} %",
            run.mean,
            summary.e2e.mean,
            100.0 * error
        );
        assert!(error.abs() < 0.05, "{name}: {error:+.3}");
        compared += 1;
    }
    assert!(compared >= 8, "{compared}");
}
