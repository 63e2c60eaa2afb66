//! Runs beside each other: pairs, intervals, and what makes runs not comparable.

use router_report::{PairingMethod, ParsedFile, RunComparison, RunReport, read_run};
use std::fs;

/// A client's file of 400 requests, and what differs from the usual.
#[derive(Clone, Copy)]
struct ClientFile {
    requests: u32,
    /// Seconds by which every answer takes longer.
    slower: f64,
    /// Seconds between two requests.
    gap: f64,
    planned_output: u32,
    output: u32,
    cached: u32,
    lateness: f64,
    /// The port of the first of two workers.
    port: u32,
    /// Every so many-th request fails; 0 for none.
    fails_each: u32,
    /// When the file's clock was zero, in Unix milliseconds.
    began: u64,
}

const USUAL: ClientFile = ClientFile {
    requests: 400,
    slower: 0.0,
    gap: 0.05,
    planned_output: 100,
    output: 100,
    cached: 0,
    lateness: 0.0002,
    port: 30001,
    fails_each: 0,
    began: 1_764_477_783_000,
};

impl ClientFile {
    fn read(self, name: &str) -> ParsedFile {
        let mut text = "req_id,success,error,host,input_length,expected_output_length,actual_prompt_tokens,\
            actual_output_tokens,arrival_time,router_send_time,finish_time,total_latency,ttft,cached_tokens,lateness\n"
            .to_owned();
        for n in 0..self.requests {
            let at = f64::from(n) * self.gap;
            // Requests differ much from each other, in the same way in every run.
            let latency = 0.5 + f64::from(n * 7919 % 100) / 50.0 + self.slower;
            let (id, sent) = (format!("req_{n}_{}", self.began), at);
            let (planned, output, cached) = (self.planned_output, self.output, self.cached);
            let host = format!("http://127.0.0.1:{}", self.port + n % 2);
            let (late, end) = (self.lateness, at + latency);
            if self.fails_each > 0 && n % self.fails_each == 0 {
                text +=
                    &format!("{id},False,HTTP 503: no worker,,500,{planned},,,{at},{sent},{end},,,,{late}\n");
            } else {
                text += &format!(
                    "{id},True,,{host},500,{planned},500,{output},{at},{sent},{end},{latency},{},{cached},{late}\n",
                    latency / 4.0
                );
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(format!("{name}.csv"));
        fs::write(&file, text).unwrap();
        read_run(&file)
    }

    /// The comparison of the usual run with this one.
    fn compared(self) -> RunComparison {
        let report = RunReport::of(vec![USUAL.read("a"), self.read("b")], None);
        assert_eq!(report.comparisons.len(), 1);
        report.comparisons.into_iter().next().unwrap()
    }
}

#[test]
fn the_same_requests_are_paired() {
    let found = ClientFile { slower: 0.1, ..USUAL }.compared();
    assert_eq!((found.method, found.requests, found.left_out), (PairingMethod::Paired, 400, 0));
    assert!(found.warnings.is_empty(), "{:?}", found.warnings);
    let mean = &found.measures[0];
    assert_eq!(mean.name, "Latency, mean");
    // Each request took 0.1 s longer, so no draw of requests says anything else.
    let difference = mean.difference.unwrap();
    assert!((difference.low - 0.1).abs() < 1e-9 && (difference.high - 0.1).abs() < 1e-9, "{difference:?}");
    assert!(found.measures.iter().any(|measure| measure.name == "Latency, 99 %"));
}

#[test]
fn pairs_need_two_successes() {
    let found = ClientFile { fails_each: 100, ..USUAL }.compared();
    assert_eq!((found.requests, found.left_out), (396, 4));
}

#[test]
fn few_requests_have_no_interval() {
    let few = ClientFile { requests: 15, ..USUAL };
    let report = RunReport::of(vec![few.read("a"), ClientFile { slower: 0.1, ..few }.read("b")], None);
    let measures = &report.comparisons[0].measures;
    assert!(measures.iter().all(|measure| measure.difference.is_none() && measure.ratio.is_none()));
    assert!(measures.iter().all(|measure| !measure.name.ends_with("99 %")));
}

#[test]
fn the_same_files_give_the_same_intervals() {
    let of = || RunReport::of(vec![USUAL.read("a"), ClientFile { fails_each: 7, ..USUAL }.read("b")], None);
    assert_eq!(of().comparisons, of().comparisons);
}

#[test]
fn each_warning_names_its_reason_and_figures() {
    let cases: [(ClientFile, &[&str]); 9] = [
        (ClientFile { planned_output: 90, ..USUAL }, &["Another load: 100 % of the 400 requests", "--seed"]),
        (ClientFile { requests: 390, ..USUAL }, &["Other numbers of requests: 400 in a, 390 in b."]),
        (ClientFile { gap: 0.051, ..USUAL }, &["Other arrivals: 39", "by up to 0.399 s", "--request-rate"]),
        (
            ClientFile { output: 90, ..USUAL },
            &["Other answers: 400 of 400", "100.0 and 90.0 tokens on average"],
        ),
        (
            ClientFile { cached: 200, began: USUAL.began + 60_000, ..USUAL },
            &["Caches that were warm", "0 % were cached in a, 40 % in b", "on 2 of the same workers"],
        ),
        (ClientFile { lateness: 0.02, ..USUAL }, &["A late sender: in b 1 %", "20.0 ms"]),
        (ClientFile { port: 30002, ..USUAL }, &["Other workers", "Only in b: http://127.0.0.1:30003."]),
        (ClientFile { gap: 0.07, ..USUAL }, &["Other durations: 2", "s in a, ", "s in b."]),
        (ClientFile { fails_each: 20, ..USUAL }, &["Other failures: 0 of 400", "20 of 400 in b"]),
    ];
    for (other, parts) in cases {
        let found = other.compared().warnings;
        assert!(
            found.iter().any(|warning| parts.iter().all(|part| warning.contains(part))),
            "{parts:?} are not in one of {found:?}"
        );
    }
}

#[test]
fn another_load_is_compared_as_two_samples() {
    let found = ClientFile { planned_output: 90, slower: 0.1, ..USUAL }.compared();
    assert_eq!((found.method, found.left_out), (PairingMethod::Separate, 0));
    assert!(found.why_separate.contains("100 % of the requests with the same number have other lengths"));
    let difference = found.measures[0].difference.unwrap();
    assert!(
        difference.high - difference.low > 0.02,
        "requests differ more than the two runs: {difference:?}"
    );
}

#[test]
fn findings_in_words_and_tables_have_the_figures() {
    let report = RunReport::of(
        vec![
            USUAL.read("a"),
            ClientFile { slower: 0.1, fails_each: 20, ..USUAL }.read("a_very_".repeat(9).as_str()),
        ],
        None,
    );
    assert!(
        report.words[0].contains("beside a, from 380 paired requests: mean latency is 6."),
        "{}",
        report.words[0]
    );
    assert!(report.words[0].ends_with("One warning says why the two may not be comparable."));
    assert!(report.words.iter().any(|text| text.contains("20 × HTTP 503")), "{:?}", report.words);
    let tables = report.tables();
    assert!(tables.lines().all(|line| line.chars().count() <= 80), "{tables}");
    assert!(tables.contains("Latency, mean") && tables.contains("B - A, 95 %"), "{tables}");
}
