//! The engine model is accurate: recorded runs, replayed with their arrivals, lengths and choices, take as long as they
//! took.
//!
//! The recorded runs are external data; without them the test prints that it skips.

use router_core::Time;
use router_sim::{
    AssignedPolicy, REPLAYED_RUNS, Scenario, SimulatedFleet, SimulatedRequest, Workload, simulate,
};
use std::path::Path;

/// A recorded run.
struct GpuRun {
    load: Workload,
    to: Vec<usize>,
    mean: f64,
}

fn read(text: &str) -> GpuRun {
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap().split(',').collect();
    let column = |name: &str| header.iter().position(|h| *h == name).unwrap();
    let wanted =
        ["router_send_time", "actual_prompt_tokens", "actual_output_tokens", "server_latency", "host"];
    let [sent, prompt, output, latency, host] = wanted.map(column);
    let mut run = GpuRun { load: Workload::new(Vec::new()), to: Vec::new(), mean: 0.0 };
    for line in lines {
        let cells: Vec<&str> = line.split(',').collect();
        let number = |i: usize| cells[i].parse::<f64>().unwrap();
        let at = Time::from_secs_f64(number(sent));
        run.load.requests.push(SimulatedRequest::at(at, number(prompt) as u32, number(output) as u32));
        run.to.push(cells[host].rsplit_once("3000").unwrap().1.parse::<usize>().unwrap() - 1);
        run.mean += number(latency);
    }
    run.mean /= run.to.len() as f64;
    run
}

/// Rounds to four decimals, as the figures are written.
fn rounded(seconds: f64) -> f64 {
    (seconds * 10_000.0).round() / 10_000.0
}

#[test]
fn replayed_runs_match_measurements() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/gpu-runs");
    let Ok(entries) = folder.read_dir() else {
        eprintln!(
            "SKIPPED: the recorded GPU runs are not beside this clone, so the engine model was not compared to them"
        );
        return;
    };
    let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    assert_eq!(
        names.filter(|name| name.contains("router_test")).count(),
        REPLAYED_RUNS.len(),
        "none is left out"
    );
    for expected in REPLAYED_RUNS {
        let run = read(&std::fs::read_to_string(folder.join(format!("{}.csv", expected.run))).unwrap());
        let scenario = Scenario::of(expected.fleet.parse::<SimulatedFleet>().unwrap());
        let summary =
            simulate(&scenario, &run.load, &|| Box::new(AssignedPolicy { to: run.to.clone() }), 1).summary();
        let error = summary.e2e.mean / run.mean - 1.0;
        assert!(error.abs() < 0.05, "{}: {error:+.3}", expected.run);
        let found = (run.to.len(), rounded(run.mean), rounded(summary.e2e.mean));
        assert_eq!(
            found,
            (expected.requests, expected.measured, expected.simulated),
            "{} differs",
            expected.run
        );
    }
}

#[test]
fn docs_page_has_tested_figures() {
    let page = include_str!("../../../../docs/simulating.md");
    for expected in REPLAYED_RUNS {
        let row = format!(
            "| {} | {} | {} | {:.4} | {:.4} | {:+.1} % |",
            expected.run,
            expected.fleet,
            expected.requests,
            expected.measured,
            expected.simulated,
            100.0 * expected.error()
        );
        assert!(page.contains(&row), "docs/simulating.md lacks: {row}");
    }
}
