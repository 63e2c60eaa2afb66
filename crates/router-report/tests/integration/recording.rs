//! The audit, on recordings as our recorder writes them and as its predecessor wrote them.

use router_core::policy::{MarginalCost, MarginalCostConfig, MarginalUtility, MarginalUtilityConfig};
use router_core::{
    AttemptResult, Balancer, Completion, ExplainLevel, Outcome, Policy, Reason, RequestFeatures, Rng, Time,
    TokenUsage, WorkerInfo,
};
use router_report::{Audit, AuditFault, audit};
use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

const HEADER: &str = "timestamp,worker_url,request_id,throughput_gradient,latency_gradient,score,outstanding_requests,\
    avg_throughput,avg_latency,window_size,selection_reason,actual_output_tokens,server_latency,queue_time,ttft,\
    decision_time_ms,kind,seq,attempt,outcome,finish_time,forecast_class,forecast_output_tokens,forecast_rank,\
    predicted_cached_tokens\n";

/// When the recorded runs start, in nanoseconds since the Unix epoch.
const EPOCH: u64 = 1_753_978_493_123_456_789;

fn seconds(nanos: u64) -> String {
    format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}

/// Runs requests through a balancer with the policy and returns a row for each decision and each completion. Some
/// requests fail and some report no number of tokens; the policy learns from neither.
fn record(config: MarginalUtilityConfig, requests: u64) -> Vec<String> {
    record_with(Balancer::new(Box::new(MarginalUtility::new(config).unwrap()), 7), requests)
}

fn marginal_cost() -> Box<dyn Policy> {
    Box::new(MarginalCost::new(MarginalCostConfig::default()).unwrap())
}

fn record_with(mut balancer: Balancer, requests: u64) -> Vec<String> {
    let mut rng = Rng::seeded(11);
    let ids: Vec<_> =
        (0..3).map(|i| balancer.join(Time::ZERO, WorkerInfo::new(&format!("http://w{i}")))).collect();
    let mut now = Time::from_nanos(EPOCH);
    let mut open: Vec<OpenRequest> = Vec::new();
    let (mut rows, mut seq) = (Vec::new(), 0);
    for request in 0..requests {
        now = now + Duration::from_nanos(rng.below(40_000_000) as u64);
        while let Some(next) = first_to_end(&open).filter(|&next| open[next].ends_at <= now) {
            seq += 1;
            rows.push(end(&mut balancer, open.swap_remove(next), seq));
        }
        seq += 1;
        let (row, ticket) = decide(&mut balancer, request, now, seq);
        rows.push(row);
        let slow = 1 + ids.iter().position(|id| *id == ticket.worker()).unwrap() as u64;
        let done = now + Duration::from_nanos(slow * (100_000_000 + rng.below(300_000_000) as u64));
        open.push(OpenRequest { ends_at: done, number: request, ticket });
    }
    rows
}

/// A request in flight: when it will end, and its number.
struct OpenRequest {
    ends_at: Time,
    number: u64,
    ticket: router_core::Ticket,
}

fn first_to_end(open: &[OpenRequest]) -> Option<usize> {
    (0..open.len()).min_by_key(|&i| (open[i].ends_at, open[i].number))
}

fn decide(balancer: &mut Balancer, request: u64, now: Time, seq: u64) -> (String, router_core::Ticket) {
    // Two clients with answers of other lengths, so that forecasts have classes.
    let features = RequestFeatures { client: Some(1 + request % 2), ..RequestFeatures::default() };
    let routed = balancer.dispatch(now, &features, &[], ExplainLevel::All).unwrap();
    let worker = routed.decision.worker;
    let terms = routed.scores.iter().find(|s| s.worker == worker).unwrap().terms;
    let mut row = format!("{},http://w{},req-{request}", seconds(now.as_nanos()), worker.slot());
    for column in [
        "throughput_gradient",
        "latency_gradient",
        "score",
        "outstanding_requests",
        "avg_throughput",
        "avg_latency",
        "window_size",
    ] {
        let value = terms.get(column).map_or(String::new(), |v| v.to_string());
        write!(row, ",{value}").unwrap();
    }
    write!(row, ",{},,,,,0.01,decision,{seq},0,,,,,,", routed.decision.reason.as_str()).unwrap();
    row.extend(routed.decision.predicted_cached_tokens.map(|tokens| tokens.to_string()));
    (row, routed.ticket)
}

fn end(balancer: &mut Balancer, ended: OpenRequest, seq: u64) -> String {
    let OpenRequest { ends_at: now, number: request, ticket } = ended;
    let tokens = (request % 7 != 3).then_some(50 + (request * 37 % 200) as u32);
    let tokens = tokens.map(|tokens| if request % 2 == 0 { tokens } else { 20 * tokens });
    let outcome = if request % 11 == 5 { Outcome::Failed } else { Outcome::Success };
    let usage = TokenUsage { output_tokens: tokens, ..TokenUsage::default() };
    let done = balancer.finish(now, ticket, AttemptResult { usage, ..AttemptResult::of(outcome) });
    let latency = done.finished_at.since(done.dispatched_at).as_nanos() as u64;
    let tokens = tokens.map_or(String::new(), |n| n.to_string());
    format!(
        "{at},http://w{},req-{request},,,,0,,,,completion_record,{tokens},{},,,,completion,{seq},0,{},{at},{}",
        done.worker.slot(),
        seconds(latency),
        outcome.as_str(),
        forecast_cells(&done),
        at = seconds(now.as_nanos()),
    )
}

fn forecast_cells(done: &Completion) -> String {
    let text = |value: Option<f32>| value.map_or(String::new(), |v| v.to_string());
    let class = done.forecast.map_or("", |forecast| forecast.class.as_str());
    let (mean, rank) = (done.forecast.map(|f| f.mean), done.forecast.and_then(|f| f.rank));
    let cached = done.predicted_cached_tokens.map_or(String::new(), |tokens| tokens.to_string());
    format!("{class},{},{},{cached}", text(mean), text(rank))
}

fn audited(header: &str, parts: &[&[String]], config: MarginalUtilityConfig) -> Audit {
    let dir = tempfile::tempdir().unwrap();
    let files: Vec<_> = (0..parts.len()).map(|i| dir.path().join(format!("part{i}.csv"))).collect();
    for (file, rows) in files.iter().zip(parts) {
        fs::write(file, header.to_owned() + &rows.join("\n") + "\n").unwrap();
    }
    audit(&files, config).unwrap()
}

fn default() -> MarginalUtilityConfig {
    MarginalUtilityConfig::default()
}

#[test]
fn own_recordings_match() {
    for config in [
        default(),
        MarginalUtilityConfig { window_size: 50, min_history_for_trend: 3, ..default() },
        MarginalUtilityConfig { throughput_weight: 0.1, latency_weight: 5.0, ..default() },
        MarginalUtilityConfig { normalize: true, ..default() },
    ] {
        let rows = record(config, 1000);
        let audit = audited(HEADER, &[&rows], config);
        assert!(audit.by_gradients > 800, "{}", audit.by_gradients);
        assert_eq!(
            (audit.matching, audit.wrong, audit.unknown),
            (audit.by_gradients, 0, 0),
            "{:?}",
            audit.findings
        );
        assert_eq!((audit.decisions, audit.lost), (1000, 0));
    }
}

#[test]
fn forecasts_of_a_shadow_change_nothing_in_the_replay() {
    let mut balancer = Balancer::new(Box::new(MarginalUtility::new(default()).unwrap()), 7);
    balancer.add_shadow(Time::ZERO, marginal_cost(), 8);
    let rows = record_with(balancer, 1000);
    assert!(
        rows.iter().filter(|row| row.contains(",client")).count() > 300,
        "the client's class is believed"
    );
    let audit = audited(HEADER, &[&rows], default());
    assert!(audit.by_gradients > 800, "{}", audit.by_gradients);
    assert_eq!((audit.matching, audit.wrong, audit.lost), (audit.by_gradients, 0, 0), "{:?}", audit.findings);
}

#[test]
fn decisions_that_claim_no_gradients_are_counted_and_not_recomputed() {
    let rows = record_with(Balancer::new(marginal_cost(), 7), 300);
    let audit = audited(HEADER, &[&rows], default());
    assert_eq!((audit.decisions, audit.by_gradients, audit.wrong, audit.lost), (300, 0, 0, 0));
    assert!(audit.problems.is_empty(), "{:?}", audit.problems);
}

#[test]
fn rows_are_sorted_by_sequence_number() {
    let mut rows = record(default(), 400);
    // Rows of several threads may be slightly out of order.
    for pair in rows.chunks_mut(2) {
        pair.reverse();
    }
    assert_eq!(audited(HEADER, &[&rows], default()).wrong, 0);
}

#[test]
fn changed_number_is_found() {
    let mut rows = record(default(), 400);
    let line = rows.iter().rposition(|row| row.contains("gradient_based")).unwrap();
    let mut cells: Vec<String> = rows[line].split(',').map(str::to_owned).collect();
    let truth: f64 = cells[4].parse().unwrap();
    cells[4] = (truth * 1.000001 + 1e-6).to_string();
    rows[line] = cells.join(",");
    let audit = audited(HEADER, &[&rows], default());
    assert_eq!((audit.wrong, audit.matching), (1, audit.by_gradients - 1));
    let finding = &audit.findings[0];
    assert_eq!((finding.line, finding.worker.as_str()), (line as u64 + 2, cells[1].as_str()));
    assert!(
        matches!(&finding.faults[..], [AuditFault::Differs { column: "latency_gradient", recomputed, .. }] if (recomputed - truth).abs() < 1e-12),
        "{finding}"
    );
}

#[test]
fn other_configuration_does_not_match() {
    let rows = record(default(), 400);
    let audit = audited(HEADER, &[&rows], MarginalUtilityConfig { latency_weight: 0.5, ..default() });
    assert_eq!(audit.matching, 0);
    assert!(audit.findings.iter().all(|f| f.to_string().contains("score is ")));
}

#[test]
fn later_part_alone_has_unknown_decisions() {
    let rows = record(default(), 600);
    let (first, second) = rows.split_at(500);
    let together = audited(HEADER, &[first, second], default());
    assert_eq!((together.matching, together.wrong), (together.by_gradients, 0));
    let alone = audited(HEADER, &[second], default());
    assert!(alone.unknown > 10, "{}", alone.unknown);
    // Once this part has filled a window, its decisions can be checked, and they match.
    assert_eq!((alone.wrong, alone.matching + alone.unknown), (0, alone.by_gradients));
    assert!(alone.matching > 0);
}

#[test]
fn dropped_rows_are_counted() {
    let mut rows = record(default(), 400);
    rows.drain(300..305);
    assert_eq!(audited(HEADER, &[&rows], default()).lost, 5);
}

#[test]
fn faults_of_old_recordings_are_found() {
    let header = HEADER.split_once(",kind").unwrap().0.to_owned() + "\n";
    let decision =
        |ms: u32| format!("2025-07-31 06:49:11.{ms:03},http://w1,pending,,,,0,,,20,gradient_based,,,,,0.004");
    let end = |ms: u32| {
        format!(
            "2025-07-31 06:49:12.{ms:03},http://w1,unknown,,,,0,149.68,1.2,20,completion_record,179,1.2,0.0004,0.4,0"
        )
    };
    let mut rows = vec![decision(0)];
    rows.extend((0..10).map(|i| end(i * 10)));
    rows.push(decision(500));
    let audit = audited(&header, &[&rows], default());
    assert_eq!((audit.by_gradients, audit.matching, audit.wrong), (2, 0, 12));
    let found: Vec<String> =
        audit.findings.iter().map(|f| f.to_string().split_once("w1: ").unwrap().1.to_owned()).collect();
    assert_eq!(
        found[0],
        "request_id is 'pending'; gradient_based without gradients and score; \
         gradient_based after 0 completions, too few for gradients"
    );
    assert_eq!(found[1], "request_id is 'unknown'");
    // With ten completions there are gradients, but the row does not contain them.
    assert_eq!(found[11], "request_id is 'pending'; gradient_based without gradients and score");
    assert_eq!(audit.counts, [("no_request_id", 12), ("no_gradients", 2), ("no_trend", 1), ("differs", 0)]);
}

#[test]
fn false_gradient_claim_is_found() {
    let mut rows = record(default(), 40);
    let early = rows.iter().position(|row| row.contains(Reason::LoadBased.as_str())).unwrap();
    let cells: Vec<&str> = rows[early].split(',').collect();
    let mut forged: Vec<String> = cells.iter().map(|c| (*c).to_owned()).collect();
    (forged[3], forged[4], forged[5], forged[10]) =
        ("1.5".into(), "0.5".into(), "0.7".into(), "gradient_based".into());
    rows[early] = forged.join(",");
    let audit = audited(HEADER, &[&rows], default());
    assert_eq!(audit.wrong, 1);
    assert!(matches!(audit.findings[0].faults[..], [AuditFault::NoTrend { .. }]), "{}", audit.findings[0]);
}

#[test]
fn client_files_and_invalid_options_are_rejected() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("client.csv");
    fs::write(&file, "req_id,success,host,arrival_time,finish_time\n1,True,http://w1,0,1\n").unwrap();
    let found = audit(&[&file], default()).unwrap();
    assert!(found.decisions == 0 && found.problems[0].message.contains("this is a client's file"));
    let config = MarginalUtilityConfig { window_size: 1, ..default() };
    assert!(audit(&[&file], config).unwrap_err().to_string().contains("window_size"));
}
