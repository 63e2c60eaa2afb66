//! A captured recording: whole, in parts, in a folder, and with the ratings of its shadow policies.

use router_report::{RunReport, ShadowFigures, read_runs};
use std::fs;
use std::path::{Path, PathBuf};

const DECISIONS: &str = "round_robin_metrics_20261130_075537.csv";
const CANDIDATES: &str = "round_robin_candidates_20261130_075537.csv";

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

fn of_policy<'a>(report: &'a RunReport, policy: &str) -> &'a ShadowFigures {
    report.runs[0].shadows.iter().find(|shadow| shadow.policy == policy).unwrap()
}

#[test]
fn candidates_belong_to_their_decisions() {
    let report = RunReport::of(read_runs(&[data().join(DECISIONS), data().join(CANDIDATES)]), None);
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    let costly = of_policy(&report, "marginal_cost");
    // Three of the six decisions were for the worker that it would have chosen.
    assert_eq!((costly.decisions, costly.agreed), (6, 3));
    let rated = costly.ratings.unwrap();
    let (own, live) = rated.latency.unwrap();
    assert!(rated.differing == 3 && 0.0 < own && own < live, "{rated:?}");
    assert!(of_policy(&report, "least_request").ratings.unwrap().latency.is_none(), "it predicts no latency");
}

#[test]
fn candidates_without_their_decisions_are_a_problem() {
    let report = RunReport::of(read_runs(&[data().join(CANDIDATES), data().join(DECISIONS)]), None);
    assert_eq!(report.runs.len(), 1);
    let [problem] = &report.problems[..] else { panic!("{:?}", report.problems) };
    assert!(problem.to_string().contains("name the recording first"), "{problem}");
}

#[test]
fn failures_are_known_by_kind_time_and_worker() {
    let report = RunReport::of(read_runs(&[data().join(DECISIONS)]), None);
    let [fault] = &report.runs[0].faults[..] else { panic!("{:?}", report.runs[0].faults) };
    assert_eq!((fault.kind.as_str(), fault.count), ("worker_cut_answer", 11));
    assert_eq!(fault.worker, ("http://127.0.0.1:33103".to_owned(), 11));
}

#[test]
fn parts_of_a_rotated_recording_are_one_run() {
    let text = fs::read_to_string(data().join(DECISIONS)).unwrap();
    let (header, rows) = text.split_once('\n').unwrap();
    let rows: Vec<&str> = rows.lines().collect();
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("night");
    fs::create_dir(&folder).unwrap();
    for (hour, part) in rows.chunks(10).enumerate() {
        let name = format!("round_robin_metrics_20261130_{hour:02}0000.csv");
        fs::write(folder.join(name), format!("{header}\n{}\n", part.join("\n"))).unwrap();
    }
    fs::copy(data().join(CANDIDATES), folder.join(CANDIDATES)).unwrap();
    fs::write(folder.join("router.log"), "not a run").unwrap();
    let parts = RunReport::of(read_runs(std::slice::from_ref(&folder)), None);
    let mut whole = RunReport::of(read_runs(&[data().join(DECISIONS), data().join(CANDIDATES)]), None);
    assert!(parts.problems.is_empty(), "{:?}", parts.problems);
    whole.runs[0].name = "night".to_owned();
    assert_eq!(parts.runs, whole.runs);
    let empty = dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let report = RunReport::of(read_runs(&[empty]), None);
    assert!(report.is_empty() && report.problems[0].message.contains("no .csv, .jsonl or .json file"));
}

#[test]
fn runs_of_the_same_name_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let client = "req_id,success,host,arrival_time,finish_time\nreq_1_1764477783000,True,http://w1,0,1.5\n";
    fs::write(dir.path().join("night.csv"), client).unwrap();
    for folder in ["night", "other"] {
        fs::create_dir(dir.path().join(folder)).unwrap();
    }
    fs::copy(data().join(DECISIONS), dir.path().join("night").join(DECISIONS)).unwrap();
    fs::write(dir.path().join("other/night.csv"), client).unwrap();
    let paths = ["night.csv", "night", "other/night.csv"].map(|path| dir.path().join(path));
    let report = RunReport::of(read_runs(&paths), None);
    let names: Vec<&str> = report.runs.iter().map(|run| run.name.as_str()).collect();
    assert_eq!(names, ["night", "night (router)", "night (2)"]);
    assert_eq!(report.comparisons.len(), 1, "a recording is not compared with what a client saw");
}

#[test]
fn json_lines_are_read_like_csv() {
    let text = fs::read_to_string(data().join(DECISIONS)).unwrap();
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap().split(',').collect();
    let mut json = String::new();
    for line in lines {
        // No cell of the capture has a comma.
        let cells = header.iter().zip(line.split(',')).filter(|(_, cell)| !cell.is_empty());
        let members = cells.map(|(name, cell)| match cell.parse::<f64>() {
            Ok(_) => format!("\"{name}\":{cell}"),
            Err(_) => format!("\"{name}\":\"{cell}\""),
        });
        json += &format!("{{{}}}\n", members.collect::<Vec<_>>().join(","));
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(DECISIONS.replace(".csv", ".jsonl"));
    fs::write(&file, json).unwrap();
    let (lines, table) =
        (RunReport::of(read_runs(&[file]), None), RunReport::of(read_runs(&[data().join(DECISIONS)]), None));
    assert!(lines.problems.is_empty(), "{:?}", lines.problems);
    assert_eq!(lines.runs[0], table.runs[0]);
}
