//! All results as JSON.

use super::ComparisonSetup;
use crate::error::CommandError;
use router_sim::{ComparisonTable, ContenderResult, MeanEstimate, SummaryMetric};
use serde_json::{Map, Value, json};

/// The JSON text.
pub(super) fn render(setting: &ComparisonSetup<'_>, table: &ComparisonTable) -> Result<String, CommandError> {
    let args = setting.args;
    let policies: Vec<Value> = table.rows.iter().map(policy).collect();
    let whole = json!({
        "load": setting.load,
        "requests": setting.requests,
        "fleet": args.fleet,
        "servers": setting.servers(),
        "routers": setting.scenario.routers,
        "events": args.event.iter().map(|event| &event.text).collect::<Vec<_>>(),
        "poll_s": args.poll_secs,
        "slo": {"ttft_s": args.slo_ttft, "tpot_s": args.slo_tpot},
        "seeds": setting.seeds,
        "policies": policies,
    });
    serde_json::to_string_pretty(&whole).map_err(|e| CommandError::runtime(format_args!("--json: {e}")))
}

fn policy(row: &ContenderResult) -> Value {
    let mut policy = result(row);
    policy["policy"] = row.name.clone().into();
    policy
}

/// The result of one policy, or of one client under it: each metric with its mean over the seeds, its interval, its ratio to the
/// first policy, and its values.
fn result(row: &ContenderResult) -> Value {
    let estimate = |e: MeanEstimate| json!({"mean": e.mean, "half_width": e.half_width});
    let measures: Map<String, Value> = SummaryMetric::ALL
        .iter()
        .enumerate()
        .map(|(at, measure)| {
            let found = row.estimates[at];
            let value = json!({
                "mean": found.mean,
                "half_width": found.half_width,
                "ratio": row.ratios[at].map(estimate),
                "by_seed": row.values[at],
            });
            (measure.name.to_owned(), value)
        })
        .collect();
    let mut policy = json!({"measures": measures, "share": row.share});
    // A client's result has no clients.
    if !row.clients.is_empty() {
        policy["clients"] = row.clients.iter().map(|client| (client.name.clone(), result(client))).collect();
    }
    policy
}
