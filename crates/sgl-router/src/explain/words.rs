//! The trace of one request in words.

use super::terms::{cost_unit, in_words as term_in_words, number, quantity, seconds};
use crate::terminal::wrap;
use jiff::Timestamp;
use serde_json::Value;
use std::fmt::Write as _;

/// Columns of the text.
const WIDTH: usize = 80;

/// How many terms of a score are told; the largest ones come first.
const MAX_TERMS: usize = 6;

/// The trace of one request, as `GET /v1/traces/{request_id}` has it, in words: for each attempt the worker, why it was chosen,
/// the runner-up, and what came of it; then what the policy could learn.
#[must_use]
pub fn in_words(trace: &Value) -> String {
    let text = |member: &str| trace[member].as_str().unwrap_or("unknown");
    let streamed = if trace["stream"] == true { "streamed" } else { "not streamed" };
    let mut words = format!(
        "Request {}: {}, {streamed}, routed by {}\n",
        text("request_id"),
        text("route"),
        text("routing_policy")
    );
    let received =
        trace["timestamp"].as_f64().and_then(at).unwrap_or_else(|| "at an unknown time".to_owned());
    let end = match (trace["total_latency"].as_f64(), trace["error_message"].as_str()) {
        (Some(secs), None) => format!("{} after {}", text("status"), seconds(secs)),
        (Some(secs), Some(error)) => format!("{} after {}: {error}", text("status"), seconds(secs)),
        (None, Some(error)) => format!("{}: {error}", text("status")),
        (None, None) => format!("{}, and not over yet", text("status")),
    };
    words.push_str(&wrap(&format!("Received {received}; {end}."), WIDTH, ""));
    let attempts = trace["attempts"].as_array().map_or(&[][..], Vec::as_slice);
    if attempts.is_empty() {
        words.push_str("No worker was chosen for it.\n");
    }
    for (n, attempt) in attempts.iter().enumerate() {
        let is_retry = n > 0 && attempt["leg"] == attempts[n - 1]["leg"];
        words.push('\n');
        words.push_str(&attempt_in_words(n + 1, attempt, is_retry));
    }
    words
}

fn attempt_in_words(n: usize, attempt: &Value, is_retry: bool) -> String {
    let decision = &attempt["decision"];
    let url = attempt["worker_url"].as_str().unwrap_or("an unknown worker");
    let reason = decision["reason"].as_str().unwrap_or("unknown");
    let leg = match attempt["leg"].as_str() {
        Some(leg @ ("prefill" | "decode")) => format!(" ({leg})"),
        _ => String::new(),
    };
    let what = if is_retry { "retry, on another worker" } else { "sent" };
    let mut text = wrap(&format!("Attempt {n}{leg}: {what}: {url}"), WIDTH, "");
    let mut line = |title: &str, words: &str| {
        let wrapped = wrap(words, WIDTH, "             ");
        let _ = write!(text, "  {title:<10} {}", wrapped.trim_start());
    };
    line("why", &format!("{} ({reason})", reason_in_words(reason)));
    let candidates = decision["candidates"].as_array().map_or(&[][..], Vec::as_slice);
    scores(url, decision, candidates, &mut line);
    let mut before = vec![match decision["in_flight"].as_u64() {
        Some(1) => "1 request of this router in flight there".to_owned(),
        Some(count) => format!("{count} requests of this router in flight there"),
        None => "requests in flight there are unknown".to_owned(),
    }];
    if let Some(waiting) = decision["queue_length"].as_u64() {
        before.push(format!("{waiting} waiting in its queue, as it last reported"));
    }
    line("before it", &before.join(", "));
    if let Some(millis) = decision["decision_time_ms"].as_f64() {
        line("decision", &format!("took {}", seconds(millis / 1e3)));
    }
    for shadow in decision["shadows"].as_array().into_iter().flatten() {
        let of = |member: &str| shadow[member].as_str().unwrap_or("unknown");
        line(
            "shadow",
            &format!("{} would have chosen {} ({})", of("policy"), of("worker_url"), of("reason")),
        );
    }
    line("result", &result(&attempt["end"]));
    line("learned", &learned(attempt, candidates, url));
    text
}

/// The costs of the chosen worker and of the runner-up, with what they were made of.
fn scores(url: &str, decision: &Value, candidates: &[Value], line: &mut impl FnMut(&str, &str)) {
    let is_chosen = |c: &&Value| c["worker_url"] == url;
    let Some(chosen) = candidates.iter().find(is_chosen) else {
        line("scores", "this rule compares no costs");
        return;
    };
    let unit = cost_unit(chosen["terms"].as_object().into_iter().flatten().map(|(name, _)| name.as_str()));
    let cost = |c: &Value| c["cost"].as_f64().unwrap_or(f64::NAN);
    line(
        "cost",
        &format!(
            "{} of {} with a cost (lower is better)",
            quantity(cost(chosen), unit),
            counted(candidates.len())
        ),
    );
    line("made of", &terms(chosen));
    let others = candidates.iter().filter(|c| !is_chosen(c));
    let Some(second) = others.min_by(|a, b| cost(a).total_cmp(&cost(b))) else {
        line("runner-up", "none");
        return;
    };
    let (mine, other) = (cost(chosen), cost(second));
    let margin = if decision["ties"].as_u64() > Some(1) && other <= mine {
        "the same, so chance decided".to_owned()
    } else if mine > 0.0 {
        format!("{} % more", number((other / mine - 1.0) * 100.0))
    } else {
        format!("{} more", quantity(other - mine, unit))
    };
    let name = second["worker_url"].as_str().unwrap_or("unknown");
    line("runner-up", &format!("{name} at {}, {margin}: {}", quantity(other, unit), terms(second)));
}

fn counted(candidates: usize) -> String {
    if candidates == 1 { "1 candidate".to_owned() } else { format!("{candidates} candidates") }
}

fn terms(candidate: &Value) -> String {
    let all = candidate["terms"].as_object().into_iter().flatten();
    let mut all: Vec<_> = all.filter_map(|(name, value)| Some((name.as_str(), value.as_f64()?))).collect();
    all.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()));
    let left_out = all.len().saturating_sub(MAX_TERMS);
    let mut words: Vec<_> =
        all.iter().take(MAX_TERMS).map(|(name, value)| term_in_words(name, *value)).collect();
    if left_out > 0 {
        words.push(format!("{left_out} smaller ones (--json shows all)"));
    }
    if words.is_empty() { "nothing that it tells".to_owned() } else { words.join(", ") }
}

/// A reason in words.
pub(crate) fn reason_in_words(reason: &str) -> &'static str {
    match reason {
        "only_candidate" => "it was the only candidate",
        "lowest_cost" => "it had the lowest cost",
        "gradient_based" => "its recent performance had the best trend",
        "load_based" => "it had the least load",
        "new_worker" => "it had never been used",
        "rotation" => "it was its turn",
        "sampled" => "it was drawn at random",
        "prefix_affinity" => "it has served the longest beginning of this prompt",
        "key_affinity" => "it serves the requests with this key",
        "target_worker" => "the client named it",
        "length_bucket" => "it serves prompts of this length",
        "first_in_order" => "it comes first",
        "load_imbalance" => "loads were too uneven to follow affinity, and it had the least",
        "shortest_queue" => "it had the shortest queue",
        "exploration" => "its cost was near the lowest, and what is known of its speed is old",
        "fallback" => "the policy lacked data, so a simpler rule chose it",
        _ => "a policy of the user's chose it and does not say why",
    }
}

fn result(end: &Value) -> String {
    if !end.is_object() {
        return "none yet: it is still running".to_owned();
    }
    let outcome = match end["outcome"].as_str() {
        Some("success") => "success",
        Some("rejected") => "rejected: the request is at fault, not the worker",
        Some("busy") => "busy: the worker has no room",
        Some("failed") => "failed",
        Some("cancelled") => "cancelled by the client or by the router",
        _ => "unknown",
    };
    let mut parts = vec![outcome.to_owned()];
    parts.extend(end["status"].as_u64().map(|status| format!("status {status}")));
    parts.extend(end["error"].as_str().map(str::to_owned));
    parts.extend(end["server_latency"].as_f64().map(|secs| format!("after {}", seconds(secs))));
    parts.extend(end["ttft"].as_f64().map(|secs| format!("first token after {}", seconds(secs))));
    if let Some(prompt) = end["prompt_tokens"].as_u64() {
        let predicted = end["predicted_cached_tokens"].as_u64();
        let predicted = predicted.map_or(String::new(), |tokens| format!(", {tokens} predicted"));
        let cached = end["cached_tokens"].as_u64();
        let cached = cached.map(|cached| format!(" ({cached} of them cached{predicted})"));
        parts.push(format!("{prompt} prompt tokens{}", cached.unwrap_or_default()));
    }
    if let Some(tokens) = end["output_tokens"].as_u64() {
        let forecast = end["forecast_output_tokens"].as_f64().zip(end["forecast_class"].as_str());
        let forecast = forecast.map(|(mean, class)| format!(" ({} expected, by {class})", mean.round()));
        parts.push(format!("{tokens} tokens generated{}", forecast.unwrap_or_default()));
    }
    parts.join(", ")
}

/// What a policy that learns could take from the attempt.
fn learned(attempt: &Value, candidates: &[Value], url: &str) -> String {
    let end = &attempt["end"];
    match end["outcome"].as_str() {
        None => return "nothing yet".to_owned(),
        Some("success") => {}
        Some("failed") => return "that an attempt on this worker failed".to_owned(),
        Some("busy") => return "that this worker is busy; it is avoided for a while".to_owned(),
        Some(_) => return "nothing of the worker's speed".to_owned(),
    }
    let mut parts = Vec::new();
    let (took, tokens) = (end["server_latency"].as_f64(), end["output_tokens"].as_u64());
    if let (Some(took), Some(first), Some(tokens @ 2..)) = (took, end["ttft"].as_f64(), tokens) {
        parts.push(format!("{} per token after the first", seconds((took - first) / (tokens - 1) as f64)));
    } else if let (Some(took), Some(tokens @ 1..)) = (took, tokens) {
        parts.push(format!("{} per generated token", seconds(took / tokens as f64)));
    }
    let own = candidates.iter().find(|c| c["worker_url"] == url);
    let predicted = own.and_then(|c| c["terms"]["own_latency"].as_f64()).filter(|secs| *secs > 0.0);
    if let (Some(took), Some(predicted)) = (took, predicted) {
        let times = number(took / predicted);
        parts.push(format!(
            "it took {} where {} was predicted ({times} times)",
            seconds(took),
            seconds(predicted)
        ));
    }
    parts.extend(end["queue_length"].as_u64().map(|waiting| format!("{waiting} waiting there at its end")));
    if parts.is_empty() { "its duration".to_owned() } else { parts.join("; ") }
}

/// Unix seconds as a time.
fn at(unix: f64) -> Option<String> {
    let time = Timestamp::from_millisecond((unix * 1e3) as i64).ok()?;
    Some(time.strftime("%Y-%m-%d %H:%M:%S%.3f UTC").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn trace() -> Value {
        let candidates = json!([
            {"worker_url": "http://b:1", "cost": 0.4, "terms": {"own_latency": 0.35, "uncached_tokens": 128.0}},
            {"worker_url": "http://a:1", "cost": 0.5, "terms": {"own_latency": 0.5, "mine": 2.0}},
        ]);
        json!({
            "request_id": "r-1", "route": "/generate", "stream": true, "routing_policy": "marginal_cost",
            "timestamp": 1_700_000_000.5, "status": "completed", "total_latency": 1.25, "error_message": null,
            "attempts": [
                {"attempt": 0, "leg": "whole", "worker_url": "http://b:1",
                 "decision": {"reason": "lowest_cost", "ties": 1, "decision_time_ms": 0.0042, "in_flight": 3,
                     "queue_length": 1, "candidates": candidates, "shadows": [
                         {"policy": "round_robin", "worker_url": "http://a:1", "reason": "rotation"}]},
                 "end": {"outcome": "busy", "status": 503, "error": null, "server_latency": 0.002, "ttft": null}},
                {"attempt": 1, "leg": "whole", "worker_url": "http://a:1",
                 "decision": {"reason": "only_candidate", "ties": 1, "decision_time_ms": 0.001, "in_flight": 1,
                     "queue_length": null, "candidates": [], "shadows": []},
                 "end": {"outcome": "success", "status": 200, "error": null, "server_latency": 1.2, "ttft": 0.2,
                     "prompt_tokens": 512, "output_tokens": 101, "cached_tokens": 384, "queue_length": null,
                     "predicted_cached_tokens": 400, "forecast_class": "client", "forecast_output_tokens": 95.6,
                     "forecast_rank": 0.55}},
            ],
        })
    }

    #[test]
    fn retried_request_is_told_in_words() {
        let text = in_words(&trace());
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in [
            "Request r-1: /generate, streamed, routed by marginal_cost",
            "completed after 1.25 s.",
            "it had the lowest cost (lowest_cost)",
            "cost 400 ms of 2 candidates",
            "128 prompt tokens to compute there, predicted duration of this request 350 ms",
            "runner-up http://a:1 at 500 ms, 25 % more: mine 2",
            "3 requests of this router in flight there, 1 waiting in its queue",
            "took 4.2 us",
            "round_robin would have chosen http://a:1 (rotation)",
            "busy: the worker has no room, status 503",
            "Attempt 2: retry, on another worker: http://a:1",
            "512 prompt tokens (384 of them cached, 400 predicted), 101 tokens generated (96 expected, by client)",
            "10 ms per token after the first",
        ] {
            assert!(flat.contains(part), "'{part}' is not in\n{text}");
        }
    }

    #[test]
    fn requests_without_worker_are_told() {
        let text = in_words(&json!({"request_id": "r", "route": "/generate", "status": "failed",
            "error_message": "queue_full: too many requests", "attempts": []}));
        assert!(text.contains("failed: queue_full") && text.contains("No worker was chosen"), "{text}");
    }
}
