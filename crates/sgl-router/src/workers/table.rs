//! The table of workers for a terminal of 80 columns.

use crate::terminal::{shortened, span, wrap};
use serde_json::Value;
use std::fmt::Write as _;

/// Columns of a terminal.
const WIDTH: usize = 80;

/// Least and most columns of a model's name.
const MODEL: (usize, usize) = (5, 24);

/// What one line of the table shows.
struct WorkerRow {
    id: String,
    state: String,
    load: String,
    waiting: String,
    weight: String,
    model: String,
    url: String,
    notes: Vec<String>,
}

/// The table of the body of `GET /workers`.
pub(super) fn render(body: &Value) -> String {
    let workers = body["workers"].as_array().map_or(&[][..], Vec::as_slice);
    if workers.is_empty() {
        return "no workers; add one with: sgl-router workers add http://HOST:PORT\n".to_owned();
    }
    let rows: Vec<_> = workers.iter().map(row).collect();
    let width = |of: fn(&WorkerRow) -> &String, title: &str| {
        rows.iter().map(|row| of(row).chars().count()).max().unwrap_or(0).max(title.len())
    };
    let widths = [
        width(|r| &r.id, "ID"),
        width(|r| &r.state, "STATE"),
        width(|r| &r.load, "LOAD"),
        width(|r| &r.waiting, "WAIT"),
        width(|r| &r.weight, "WEIGHT"),
    ];
    let fixed = widths.iter().map(|w| w + 2).sum::<usize>() + width(|r| &r.url, "URL") + 2;
    let model = width(|r| &r.model, "MODEL").min(WIDTH.saturating_sub(fixed).clamp(MODEL.0, MODEL.1));
    let line = |cells: [&str; 7]| {
        let [id, state, load, waiting, weight, name, url] = cells;
        let [a, b, c, d, e] = widths;
        let text = format!(
            "{id:<a$}  {state:<b$}  {load:>c$}  {waiting:>d$}  {weight:>e$}  {:<model$}  {url}",
            shortened(name, model)
        );
        format!("{}\n", text.trim_end())
    };
    let mut text = line(["ID", "STATE", "LOAD", "WAIT", "WEIGHT", "MODEL", "URL"]);
    for r in &rows {
        text.push_str(&line([&r.id, &r.state, &r.load, &r.waiting, &r.weight, &r.model, &r.url]));
        for note in &r.notes {
            text.push_str(&wrap(note, WIDTH, "      "));
        }
    }
    let count = |state: &str| rows.iter().filter(|row| row.state == state).count();
    let states = ["healthy", "outdated", "pending", "unhealthy", "not_ready", "draining"];
    let counts: Vec<_> =
        states.into_iter().filter(|s| count(s) > 0).map(|s| format!("{} {s}", count(s))).collect();
    let _ = writeln!(text, "{} workers: {}", rows.len(), counts.join(", "));
    text
}

fn row(worker: &Value) -> WorkerRow {
    let text = |member: &str| worker[member].as_str().unwrap_or("-").to_owned();
    let number = |member: &str| worker[member].as_f64().map_or_else(|| "-".to_owned(), |n| n.to_string());
    let mut notes = Vec::new();
    let note = |what: &str, problem: &Value| {
        let message = problem["message"].as_str().unwrap_or("no reason given");
        format!("{what} {} ago: {message}", span(problem["for_secs"].as_f64().unwrap_or(0.0)))
    };
    let error = &worker["last_error"];
    if error.is_object() {
        notes.push(note(&format!("{}, since", error["reason"].as_str().unwrap_or("failed")), error));
    }
    if let Some(reason) = worker["not_ready"]["reason"].as_str() {
        let since = span(worker["not_ready"]["for_secs"].as_f64().unwrap_or(0.0));
        notes.push(format!("not ready, since {since} ago: {reason}"));
    }
    let missed = &worker["missed_update"];
    if missed.is_object() {
        notes.push(note(&format!("missed {},", missed["call"].as_str().unwrap_or("an update")), missed));
    }
    let breaker = worker["breaker"]["state"].as_str().filter(|state| *state != "closed");
    notes.extend(breaker.map(|state| format!("its circuit breaker is {state}")));
    let is_excluded = missed["gets_requests"] == false && worker["state"] == "healthy";
    WorkerRow {
        id: text("id"),
        state: if is_excluded { "outdated".to_owned() } else { text("state") },
        load: number("load"),
        waiting: number("waiting"),
        weight: number("weight"),
        model: text("model_id"),
        url: text("url"),
        notes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn table_fits_a_terminal() {
        let body = json!({"workers": [
            {"id": "0.1", "state": "healthy", "load": 12, "waiting": 3, "weight": 1.0, "breaker": null,
             "model_id": "meta-llama/Llama-3.3-70B-Instruct", "url": "http://10.20.30.40:30000"},
            {"id": "prefill-11.2", "state": "unhealthy", "load": 0, "waiting": null, "weight": 0.5,
             "model_id": null, "url": "http://gpu-2:30000",
             "last_error": {"reason": "timeout", "message": "no answer within 5 s ".repeat(8), "for_secs": 300.0}},
            {"id": "2.1", "state": "healthy", "load": 0, "waiting": 0, "weight": 1.0, "model_id": "m",
             "url": "http://gpu-3:30000", "breaker": {"state": "open"},
             "missed_update": {"call": "/update_weights", "message": "busy", "for_secs": 7.0, "gets_requests": false}},
        ]});
        let text = render(&body);
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        for part in [
            "~Instruct  http://10.20.30.40:30000",
            "timeout, since 5 min ago: no answer",
            "outdated",
            "missed /update_weights, 7 s ago: busy",
            "breaker is open",
            "3 workers: 1 healthy, 1 outdated, 1 unhealthy",
        ] {
            assert!(text.contains(part), "'{part}' is not in\n{text}");
        }
        assert!(render(&json!({"workers": []})).contains("workers add"));
    }
}
