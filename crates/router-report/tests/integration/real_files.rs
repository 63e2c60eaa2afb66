//! Recordings of real GPU servers, if they are beside the repository; we may not distribute them.

use router_report::{FileKind, RunReport, audit, read_run};
use std::path::{Path, PathBuf};

/// The files whose name contains `part`; none if there are no recordings, with a message.
fn files(part: &str) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/gpu-runs");
    let Ok(entries) = std::fs::read_dir(&dir) else {
        println!("**** SKIPPED: the files of real GPU servers are not beside this repository");
        return Vec::new();
    };
    let all = entries.filter_map(|e| Some(e.ok()?.path()));
    let mut files: Vec<_> = all.filter(|p| p.to_string_lossy().contains(part)).collect();
    files.sort();
    files
}

#[test]
fn real_files_have_no_problems() {
    let files = files(".csv");
    let readings: Vec<_> = files.iter().map(|file| read_run(file)).collect();
    for reading in &readings {
        assert_eq!(reading.problems, []);
        let run = reading.run.as_ref().unwrap();
        assert_eq!(run.workers.as_slice().len(), 3, "{}", run.name);
        assert_eq!(run.kind == FileKind::Recorder, run.name.contains("metrics"));
        assert_eq!(run.decisions.is_empty(), run.kind == FileKind::Client);
    }
    assert_eq!(RunReport::of(readings, None).runs.len(), files.len());
}

#[test]
fn real_run_figures_match_its_rows() {
    // Computed by an independent Python program: rows, mean latency and the largest share.
    for file in files("/RR_router_test_20250731") {
        let report = RunReport::of(vec![read_run(&file)], None);
        let summary = &report.runs[0].summary;
        assert_eq!((summary.requests, summary.failures), (200, 0));
        assert_eq!(summary.busiest_share, Some(0.335));
        assert!((summary.latency.as_ref().unwrap().mean - 1.602_321).abs() < 1e-6, "{:?}", summary.latency);
    }
}

#[test]
fn old_real_recordings_fail_the_audit() {
    for file in files("marginal_utility_metrics") {
        let audit = audit(&[&file], router_core::policy::MarginalUtilityConfig::default()).unwrap();
        assert!(audit.by_gradients >= 200, "{}", file.display());
        assert_eq!(audit.matching, 0);
        let count = |name| audit.counts.iter().find(|(n, _)| *n == name).unwrap().1;
        assert_eq!(count("no_gradients"), audit.by_gradients);
        assert!(count("no_trend") >= 30 && count("no_request_id") >= audit.by_gradients);
    }
}
