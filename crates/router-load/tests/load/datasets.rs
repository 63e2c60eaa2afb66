//! Files as users have them, good and bad.

use router_load::{read_custom, read_sharegpt, read_trace};
use std::path::{Path, PathBuf};

/// A file that is removed when dropped.
struct Held(PathBuf);

impl Held {
    fn new(name: &str, text: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn sharegpt_gives_first_prompt_and_reply_length() {
    let file = Held::new(
        "sharegpt.json",
        r#"[
 {"id": "a", "conversations": [{"from": "system", "value": "s"}, {"from": "human", "value": "Who\n\"are\" you?"},
   {"from": "gpt", "value": "A model of 24 bytes here"}, {"from": "human", "value": "More"}]},
 {"id": "b", "conversations": []},
 {"id": "c", "conversations": [{"from": "human", "value": "alone"}]},
 {"id": "d"},
 {"id": "e", "conversations": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}]}
]"#,
    );
    let dataset = read_sharegpt(&file.0).unwrap();
    let read: Vec<_> = dataset
        .samples
        .iter()
        .map(|s| (s.prompt.text().into_owned(), s.input_tokens, s.output_tokens))
        .collect();
    assert_eq!(read, [("Who\n\"are\" you?".to_owned(), 4, 6), ("hi".to_owned(), 1, 1)]);
    let bad: Vec<_> = dataset.bad.iter().map(ToString::to_string).collect();
    for ((line, words), told) in [(4, "human"), (5, "follows"), (6, "conversations")].iter().zip(&bad) {
        assert!(told.contains(&format!("sharegpt.json:{line}: ")) && told.contains(words), "{told}");
    }
    assert_eq!(bad.len(), 3);
    assert_eq!(dataset.take(5).count(), 5, "again from the start when the file runs out");
}

#[test]
fn sharegpt_accepts_json_lines() {
    let one = r#"{"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}"#;
    let file = Held::new("sharegpt.jsonl", &format!("{one}\n\nbroken\n{one}\n"));
    let dataset = read_sharegpt(&file.0).unwrap();
    assert_eq!((dataset.samples.len(), dataset.bad.len(), dataset.bad[0].line), (2, 1, 3));
}

#[test]
fn custom_lines_accept_aliases_and_report_bad() {
    let file = Held::new(
        "custom.jsonl",
        "{\"prompt\": \"one two\", \"output_len\": 5, \"tag\": 1}\n{\"text\": \"x\", \"max_tokens\": 0}\n\n\
         {\"prompt\": 7}\n{\"input\": \"y\"}\n{\"output_len\": 3}\n{\"prompt\": \"cut",
    );
    let dataset = read_custom(&file.0, 99).unwrap();
    let outputs: Vec<_> = dataset.samples.iter().map(|s| s.output_tokens).collect();
    assert_eq!(outputs, [5, 1, 99]);
    let lines: Vec<_> = dataset.bad.iter().map(|b| b.line).collect();
    assert_eq!(lines, [4, 6, 7]);
    assert!(dataset.bad[1].problem.contains("prompt"), "{}", dataset.bad[1]);
}

#[test]
fn trace_is_sorted_and_reports_bad_lines() {
    let file = Held::new(
        "trace.jsonl",
        "{\"arrival_s\": 2, \"input_tokens\": 5, \"output_tokens\": 1}\n\
         {\"arrival_s\": 1.5, \"input_tokens\": 600, \"output_tokens\": 2, \"hash_ids\": [3, 4]}\n\
         {\"arrival_s\": -1, \"input_tokens\": 5, \"output_tokens\": 1}\n\
         {\"arrival_s\": 3, \"input_tokens\": 0, \"output_tokens\": 1}\n\
         {\"arrival_s\": 3, \"input_tokens\": 5}\n",
    );
    let trace = read_trace(&file.0).unwrap();
    let arrivals: Vec<_> = trace.lines.iter().map(|l| l.arrival_s).collect();
    assert_eq!(arrivals, [1.5, 2.0]);
    assert_eq!(trace.lines[0].hash_ids, [3, 4]);
    let lines: Vec<_> = trace.bad.iter().map(|b| b.line).collect();
    assert_eq!(lines, [3, 4, 5]);
}

#[test]
fn wrong_file_error_names_file_and_line() {
    let garbage = Held::new("garbage", "\u{1}\u{2} not json\nat all\n");
    let cut = Held::new("cut.json", "[\n{\"conversations\": []},\n{\"conv");
    let empty = Held::new("empty", "");
    for (error, words) in [
        (read_sharegpt(&garbage.0).unwrap_err(), "garbage:1: "),
        (read_custom(&garbage.0, 1).unwrap_err(), "garbage:1: "),
        (read_trace(&garbage.0).unwrap_err(), "garbage:1: "),
        (read_sharegpt(&cut.0).unwrap_err(), "cut.json:3: column"),
        (read_custom(&empty.0, 1).unwrap_err(), "is empty"),
        (read_trace(Path::new("no/such/file")).unwrap_err(), "cannot read no/such/file"),
    ] {
        let text = error.to_string();
        assert!(text.contains(words) && text.lines().count() == 1, "{text}");
    }
}
