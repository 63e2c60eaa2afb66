//! Reads what `sgl-router simulate --json` writes.

use crate::simulation::{MeasureComparison, MeasureEstimate, SHOWN_MEASURES, ServerShare, SimulationReport};
use serde_json::Value;

/// The maximum number of servers that are shown individually.
const MAX_SERVERS: usize = 12;

/// The simulation in a JSON text; absent if it is something else.
pub(super) fn simulation(text: &[u8]) -> Option<SimulationReport> {
    let whole: Value = serde_json::from_slice(text).ok()?;
    let rows = whole.get("policies")?.as_array()?;
    let seeds = whole.get("seeds")?.as_array()?;
    let policies: Vec<String> =
        rows.iter().map(|row| Some(row.get("policy")?.as_str()?.to_owned())).collect::<Option<_>>()?;
    let measures = SHOWN_MEASURES.iter().filter_map(|shown| {
        let of = |row: &Value| row.get("measures")?.get(shown.key).cloned();
        let all: Vec<Value> = rows.iter().map(of).collect::<Option<_>>()?;
        Some(MeasureComparison {
            name: shown.name.to_owned(),
            unit: shown.unit,
            better: shown.better,
            found: all.iter().map(estimate).collect::<Option<_>>()?,
            ratios: all.iter().map(|value| value.get("ratio").and_then(estimate)).collect(),
        })
    });
    Some(SimulationReport {
        about: about(&whole, seeds.len()),
        policies,
        measures: measures.collect(),
        shares: shares(&whole, rows),
        marks: Vec::new(),
        fidelity: Vec::new(),
    })
}

fn estimate(value: &Value) -> Option<MeasureEstimate> {
    let mean = value.get("mean")?.as_f64()?;
    Some(MeasureEstimate { mean, half_width: value.get("half_width").and_then(Value::as_f64) })
}

/// What was simulated, as pairs of a label and a description.
fn about(whole: &Value, seeds: usize) -> Vec<(String, String)> {
    let text = |name: &str| whole.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let events = whole.get("events").and_then(Value::as_array).into_iter().flatten();
    let events: Vec<&str> = events.filter_map(Value::as_str).collect();
    let requests = whole.get("requests").and_then(Value::as_u64);
    let runs = match requests {
        Some(requests) => format!("{seeds} per policy, of {requests} requests each"),
        None => format!("{seeds} per policy"),
    };
    let all = [
        ("Load", text("load")),
        ("Installation", text("fleet")),
        ("Events", events.join(", ")),
        ("Runs", runs),
    ];
    all.into_iter().filter(|(_, text)| !text.is_empty()).map(|(name, text)| (name.to_owned(), text)).collect()
}

fn shares(whole: &Value, rows: &[Value]) -> Vec<ServerShare> {
    let names = whole.get("servers").and_then(Value::as_array).into_iter().flatten();
    let names: Vec<&str> = names.filter_map(Value::as_str).collect();
    let of = |row: &Value, server: usize| row.get("share")?.get(server)?.as_f64();
    let shares = |servers: std::ops::Range<usize>| {
        rows.iter().map(|row| servers.clone().filter_map(|server| of(row, server)).sum()).collect()
    };
    let shown = if names.len() > MAX_SERVERS { MAX_SERVERS - 1 } else { names.len() };
    let mut all: Vec<_> = (0..shown)
        .map(|server| ServerShare { name: names[server].to_owned(), of: shares(server..server + 1) })
        .collect();
    if shown < names.len() {
        let name = format!("{} others", names.len() - shown);
        all.push(ServerShare { name, of: shares(shown..names.len()) });
    }
    all
}
