//! `sgl-router report` from the outside.

use std::fs;
use std::path::Path;
use std::process::Command;

const CLIENT: &str =
    "req_id,success,host,arrival_time,finish_time\na,True,http://w1,0,1.5\nb,True,http://w2,0.5,2\n";
const RECORDER: &str = "timestamp,worker_url,request_id,throughput_gradient,latency_gradient,score,selection_reason\n\
    2025-07-31 06:49:11.659,http://w1,pending,,,,gradient_based\n";

/// Exit code, standard output, standard error.
fn report(dir: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_sgl-router")).arg("report").args(args).current_dir(dir).output();
    let output = output.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn usable_files_are_reported_and_others_listed() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("good.csv"), CLIENT).unwrap();
    fs::write(dir.path().join("bad.csv"), "a;b;c\n").unwrap();
    let (code, said, complaints) = report(dir.path(), &["good.csv", "bad.csv", "gone.csv"]);
    assert_eq!(code, Some(0), "{complaints}");
    assert!(said.starts_with("report.html: 1 run, 2 requests, "), "{said}");
    for place in ["good.csv, line 1, column 1", "bad.csv, line 1, column 1", "gone.csv: cannot be read"] {
        assert!(complaints.contains(place), "{place} is not in {complaints}");
    }
    assert!(fs::read_to_string(dir.path().join("report.html")).unwrap().contains("bad.csv"));
}

#[test]
fn a_page_is_replaced_only_when_told() {
    let dir = tempfile::tempdir().unwrap();
    let page = dir.path().join("report.html");
    fs::write(dir.path().join("run.csv"), CLIENT).unwrap();
    fs::write(&page, "somebody's").unwrap();
    for args in [&["run.csv"][..], &["run.csv", "-o", "report.html"]] {
        let (code, said, complaints) = report(dir.path(), args);
        assert_eq!((code, said.as_str()), (Some(2), ""), "{complaints}");
        assert!(complaints.contains("report.html exists") && complaints.contains("--force"), "{complaints}");
        assert_eq!(fs::read_to_string(&page).unwrap(), "somebody's");
    }
    let (code, ..) = report(dir.path(), &["run.csv", "--force"]);
    assert_eq!(code, Some(0));
    assert!(fs::read_to_string(&page).unwrap().starts_with("<!doctype html>"));
}

#[test]
fn runs_are_compared_in_words_and_tables() {
    let dir = tempfile::tempdir().unwrap();
    let rows = |slow: f64| {
        let row = |n: u32| format!("req_{n}_1764477783000,True,http://w1,{n},{}\n", f64::from(n) + slow);
        "req_id,success,host,arrival_time,finish_time\n".to_owned() + &(0..40).map(row).collect::<String>()
    };
    fs::write(dir.path().join("a.csv"), rows(1.0)).unwrap();
    fs::write(dir.path().join("b.csv"), rows(1.5)).unwrap();
    let (code, said, complaints) = report(dir.path(), &["a.csv", "b.csv"]);
    assert_eq!(code, Some(0), "{complaints}");
    let text = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("b beside a, from 40 paired requests: mean latency is 50.00 % higher"), "{said}");
    assert!(said.lines().skip(1).all(|line| line.chars().count() <= 80), "{said}");
}

#[test]
fn nothing_usable_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("empty.csv"), "").unwrap();
    let (code, _, complaints) = report(dir.path(), &["empty.csv", "-o", "page.html"]);
    assert_eq!(code, Some(1));
    assert!(complaints.contains("empty.csv, line 1, column 1: the file is empty"), "{complaints}");
    assert!(!dir.path().join("page.html").exists());
}

#[test]
fn audit_lists_rows_that_do_not_match() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("old.csv"), RECORDER).unwrap();
    let (code, said, complaints) = report(dir.path(), &["--policy-audit", "old.csv"]);
    assert_eq!(code, Some(0), "{complaints}");
    assert!(
        said.contains("old.csv, line 2, http://w1: request_id is 'pending'; gradient_based without"),
        "{said}"
    );
    assert!(said.contains("audit: 0 of 1 decisions by gradients match"), "{said}");
    assert!(!dir.path().join("report.html").exists(), "an audit alone writes no page unasked");
    let (code, ..) = report(dir.path(), &["--policy-audit", "old.csv", "-o", "audit.html"]);
    assert!(code == Some(0) && dir.path().join("audit.html").exists());
}

#[test]
fn mistakes_are_one_line_and_exit_2() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("old.csv"), RECORDER).unwrap();
    for (args, part) in [
        (&[][..], "FILES"),
        (&["--policy-audit", "old.csv", "--policy-option", "window=1"], "window"),
        (&["--policy-audit", "old.csv", "--policy-option", "window_size=1"], "window_size"),
    ] {
        let (code, _, complaints) = report(dir.path(), args);
        assert_eq!((code, complaints.trim_end().lines().count()), (Some(2), 1), "{args:?}: {complaints}");
        assert!(complaints.contains(part), "{args:?}: {complaints}");
    }
}
