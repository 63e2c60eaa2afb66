//! Complete files, cut files, invalid files and files of another kind.

use router_report::{ColumnValues, FileKind, NumberKind, ParsedFile, RunReport, read_columns, read_run};
use std::fs;

const CLIENT: &str =
    "req_id,success,error,host,arrival_time,finish_time,total_latency,ttft,actual_output_tokens";

fn reading(bytes: impl AsRef<[u8]>) -> ParsedFile {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("run.csv");
    fs::write(&file, bytes).unwrap();
    read_run(&file)
}

/// The only problem of a file, without the file's name.
fn problem(bytes: impl AsRef<[u8]>) -> String {
    let reading = reading(bytes);
    let messages: Vec<String> = reading.problems.iter().map(ToString::to_string).collect();
    assert_eq!(messages.len(), 1, "{messages:?}");
    messages[0].split_once("run.csv").unwrap().1.to_owned()
}

/// The problems of a client's file with only the needed columns, without the one about missing columns.
fn problems_of_rows(rows: &str) -> (Vec<String>, usize) {
    let reading = reading(format!("{CLIENT}\n{rows}"));
    let messages = reading.problems.iter().map(ToString::to_string);
    let messages: Vec<String> = messages.map(|s| s.split_once("run.csv").unwrap().1.to_owned()).collect();
    assert!(
        messages[0].starts_with(", line 1, column 1: the columns PREFILL_THROUGHPUT,"),
        "{}",
        messages[0]
    );
    (messages[1..].to_vec(), reading.run.map_or(0, |run| run.requests.len()))
}

#[test]
fn failures_do_not_count_in_latencies() {
    let rows = "a,True,,http://w1,0,2,2,0.5,4\nb,False,timeout,,1,61,60,,\nc,True,,http://w2,2,3,1,0.25,4\n";
    let report = RunReport::of(vec![reading(format!("{CLIENT}\n{rows}"))], None);
    let summary = &report.runs[0].summary;
    assert_eq!((summary.requests, summary.failures), (3, 1));
    let latency = summary.latency.as_ref().unwrap();
    assert_eq!((latency.n, latency.p50, latency.max, latency.mean), (2, 1.0, 2.0, 1.5));
    assert_eq!(summary.tpot.as_ref().map(|t| (t.p50, t.max)), Some((0.25, 0.5)));
    assert_eq!(summary.requests_per_second, Some(2.0 / 61.0));
    let shares: Vec<_> = report.runs[0].workers.iter().map(|w| (w.name.as_str(), w.share)).collect();
    assert_eq!(shares, [("http://w1", 0.5), ("http://w2", 0.5)]);
}

#[test]
fn recorder_file_has_decisions_and_completions() {
    let header = "timestamp,worker_url,request_id,throughput_gradient,latency_gradient,score,outstanding_requests,\
        avg_throughput,avg_latency,window_size,selection_reason,actual_output_tokens,server_latency,queue_time,ttft,\
        decision_time_ms,kind,status,outcome";
    let rows = "2025-07-31 06:49:11.000,http://w1,a,,,0,0,,,0,new_worker,,,,,0.25,decision,,\n\
        2025-07-31 06:49:12.500,http://w1,a,,,,0,40,1.5,,completion_record,60,1.500000000,0.25,0.5,,completion,200,success\n\
        2025-07-31 06:49:13.000,http://w1,b,1.5,-2,3.5,0,,,10,gradient_based,,,,,0.75,decision,,\n\
        2025-07-31 06:49:14.000,http://w1,b,,,,0,,1,,completion_record,,1.000000000,,,,completion,500,failed\n";
    let reading = reading(format!("{header}\n{rows}"));
    assert_eq!(reading.problems, []);
    let run = reading.run.clone().unwrap();
    assert_eq!((run.kind, run.decisions.len(), run.requests.len()), (FileKind::Recorder, 2, 2));
    assert_eq!(run.decisions[1].throughput_gradient, Some(1.5));
    let figures = &RunReport::of(vec![reading], None).runs[0];
    assert_eq!((figures.summary.failures, figures.summary.duration), (1, 3.0));
    assert_eq!(figures.summary.queue_time.map(|q| q.max), Some(0.25));
    assert_eq!(figures.reasons, [("gradient_based".to_owned(), 1), ("new_worker".to_owned(), 1)]);
}

#[test]
fn padding_is_ignored() {
    let header = "timestamp              , worker_url, request_id, selection_reason , server_latency, ttft";
    let row = "2025-07-31 05:06:28.662, http://w1 , x         , completion_record, 1.5           , 0.5 ";
    let run = reading(format!("{header}\n{row}\n")).run.unwrap();
    assert_eq!(run.workers.as_slice(), ["http://w1"]);
    assert_eq!((run.requests[0].latency, run.requests[0].ttft), (Some(1.5), Some(0.5)));
}

#[test]
fn invalid_value_is_reported_with_its_place() {
    let rows =
        "a,True,,http://w1,0,2,2,fast,4\nb,maybe,,http://w1,0,2,2,0.5,4\nc,True,,http://w1,0,2,2,0.5,4\n";
    let (said, used) = problems_of_rows(rows);
    assert_eq!(said[0], ", line 2, column 8: ttft is 'fast': this is not a number, so it counts as unknown");
    assert!(said[1].starts_with(", line 3, column 2: success is 'maybe'"), "{}", said[1]);
    assert_eq!(used, 2);
}

#[test]
fn truncated_file_is_read_up_to_cut() {
    let (said, used) = problems_of_rows("a,True,,http://w1,0,2,2,0.5,4\nb,True,,http://w1,0,2.2");
    assert_eq!(said, [", line 3, column 6: the file is cut off here, in value 6 of 9; this row is left out"]);
    assert_eq!(used, 1);
    let (said, used) = problems_of_rows("a,True,,http://w1,0,2,2,0.5,4\nb,True,,http://w1,0,2,2,0.5,14");
    assert_eq!(said, [", line 3, column 9: the last line has no line end, so its last value may be cut off"]);
    assert_eq!(used, 2);
}

#[test]
fn rows_of_wrong_length_are_reported() {
    let rows = "a,True,,http://w1,0,2\nb,True,,http://w1,0,2,2,0.5,4,5\nc,True,,http://w1,0,2,2,0.5,4\n";
    let (said, used) = problems_of_rows(rows);
    assert_eq!(said[0], ", line 2, column 7: 6 values where the header has 9; this row is left out");
    assert_eq!(said[1], ", line 3, column 10: 10 values where the header has 9; this row is left out");
    assert_eq!(used, 1);
}

#[test]
fn quoted_commas_and_crlf_are_read() {
    let rows = "a,False,\"refused, at once\r\ntwice\",,0,2,2,,\r\nb,True,,http://w1,0,2,2,0.5,4\r\n";
    let (said, used) = problems_of_rows(rows);
    assert_eq!((said, used), (Vec::new(), 2));
}

#[test]
fn json_lines_are_read_as_csv() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("rows.jsonl");
    let row = |n: u32, kind: &str| {
        format!(
            r#"{{"timestamp":"2026-11-29T05:00:0{n}.000Z","worker_url":"http://w","request_id":"r{n}","score":null,"selection_reason":"a, \"b\"\n","actual_output_tokens":{n},"ttft":0.5,"kind":"{kind}","stream":true}}"#
        )
    };
    std::fs::write(
        &file,
        [row(1, "decision"), "nonsense".to_owned(), row(3, "completion"), row(4, "x")[..40].to_owned()]
            .join("\n"),
    )
    .unwrap();
    let table = read_columns(&file).unwrap();
    assert_eq!(table.rows, 2);
    let column = |name: &str| &table.columns.iter().find(|(known, _)| known == name).unwrap().1;
    assert!(
        matches!(column("actual_output_tokens"), ColumnValues::Number(v, _) if *v == [Some(1.0), Some(3.0)])
    );
    assert!(matches!(column("score"), ColumnValues::Number(v, _) if *v == [None, None]));
    assert!(matches!(column("stream"), ColumnValues::Flag(v) if *v == [Some(true), Some(true)]));
    let problems: Vec<_> = table.problems.iter().map(ToString::to_string).collect();
    let of_line = |line: &str| problems.iter().filter(|p| p.contains(line) && p.contains("left out")).count();
    assert_eq!((of_line("line 2"), of_line("line 4")), (1, 1), "{problems:?}");
}

#[test]
fn other_files_are_explained() {
    assert_eq!(problem(""), ", line 1, column 1: the file is empty");
    assert_eq!(problem("\n \n"), ", line 1, column 1: the file is empty");
    assert!(problem("hello world\n").contains(", line 1, column 1: 'hello world' is not the header"));
    assert!(problem(b"\x89PNG\r\n\x1a\n\0\0\0").contains("is not a CSV file"));
    assert!(problem("{\"timestamp\": 1}\n").contains("this is JSON"));
    let semicolons = CLIENT.replace(',', ";");
    assert!(problem(format!("{semicolons}\na;True\n")).contains("values are separated by ';'"));
    assert!(problem(format!("{}\n", CLIENT.replace(',', "\t"))).contains("values are separated by tabs"));
    let missing = problem("req_id,error,host,arrival_time,finish_time\n1,,w,0,1\n");
    assert!(missing.starts_with(", line 1, column 5: ") && missing.contains("missing"), "{missing}");
    assert!(problem("req_id,success,host,arri").contains("the file ends in its first line"));
}

#[test]
fn missing_files_and_folders_are_reported() {
    let dir = tempfile::tempdir().unwrap();
    let gone = read_run(&dir.path().join("gone.csv"));
    assert!(gone.run.is_none() && gone.problems[0].message.starts_with("cannot be read"));
    assert!(read_run(dir.path()).problems[0].message.contains("is a folder"));
}

#[test]
fn no_bytes_make_the_reader_fail() {
    let whole =
        format!("{CLIENT}\na,True,,http://w1,0,2,2,0.5,4\nb,True,,http://w1,1,3,2,0.5,4\n").into_bytes();
    for end in 0..whole.len() {
        let _ = RunReport::of(vec![reading(&whole[..end])], None).page();
    }
    for at in CLIENT.len()..whole.len() {
        for byte in [0, b'"', b',', b'\n', b'-', b'9', 0xff] {
            let mut bytes = whole.clone();
            bytes[at] = byte;
            let _ = RunReport::of(vec![reading(&bytes)], None).page();
        }
    }
}

#[test]
fn page_lists_problems_of_other_files() {
    let good = reading(format!("{CLIENT}\na,True,,http://w1,0,2,2,0.5,4\n"));
    let report = RunReport::of(vec![good, reading("</script><b>no CSV\n")], None);
    assert_eq!(report.runs.len(), 1);
    assert!(!report.is_empty());
    let page = report.page();
    assert!(page.contains("is not the header of a client's"));
    assert!(!page.contains("</script><b>"), "text of a file must not become part of the page");
    assert!(RunReport::of(vec![reading("")], None).is_empty());
}

#[test]
fn the_page_loads_nothing_and_stays_small() {
    let rows: String = (0..20_000)
        .map(|i| {
            format!("r{i},True,,http://w{},{}.5,{}.75,1.25,0.5,{}\n", i % 40, i / 100, i / 100 + 1, i % 97)
        })
        .collect();
    let runs: Vec<_> = (0..12).map(|_| reading(format!("{CLIENT}\n{rows}"))).collect();
    let report = RunReport::of(runs, None);
    assert_eq!(report.runs[0].workers.len(), 12);
    assert_eq!((report.runs[1].name.as_str(), report.runs[0].workers[11].count), ("run (2)", 29));
    let page = report.page();
    assert!(page.len() < 3_000_000, "{} bytes", page.len());
    let outside = ["src=", "@import", "url(", "fetch(", "XMLHttpRequest", "import("];
    // A saved figure refers to its own parts, by a fragment.
    let page = page.replace("url(#", "");
    for word in outside {
        assert!(!page.contains(word), "{word}");
    }
    assert!(page.contains("default-src 'none'"));
}

#[test]
fn columns_are_typed_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("run.csv");
    let rows = "7,True,,http://w1,0,2.5,2.5,0.5,4\nb,False,timeout,http://w1,1,soon,60,,\n";
    fs::write(&file, format!("{CLIENT}\n{rows}")).unwrap();
    let table = read_columns(&file).unwrap();
    assert_eq!((table.kind, table.rows), (FileKind::Client, 2));
    let names: Vec<_> = table.columns.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names.join(","), CLIENT);
    let cells = |name: &str| &table.columns.iter().find(|(known, _)| known == name).unwrap().1;
    assert!(matches!(cells("success"), ColumnValues::Flag(flags) if flags == &[Some(true), Some(false)]));
    assert!(
        matches!(cells("req_id"), ColumnValues::Text(ids, at) if ids.as_slice() == ["7", "b"] && at == &[Some(0), Some(1)])
    );
    assert!(
        matches!(cells("host"), ColumnValues::Text(hosts, at) if hosts.as_slice() == ["http://w1"] && at == &[Some(0); 2])
    );
    assert!(
        matches!(cells("finish_time"), ColumnValues::Number(times, NumberKind::Real) if times == &[Some(2.5), None])
    );
    let tokens = cells("actual_output_tokens");
    assert!(
        matches!(tokens, ColumnValues::Number(tokens, NumberKind::Integer) if tokens == &[Some(4.0), None])
    );
    assert!(table.problems.iter().any(|p| p.to_string().ends_with(
        "line 3, column 6: finish_time is 'soon': this is not a number, so it counts as unknown"
    )));
}
