//! `simulate --autoscale`: autoscalers beside each other on one load.

use super::args::SimulateArgs;
use super::comparison::PolicyComparison;
use crate::error::CommandError;
use crate::terminal::say;
use indicatif::ProgressBar;
use router_core::{Registry, Slo};
use router_sim::{
    AutoscaleExperiment, AutoscaleResult, Contender, EqualMissComparison, MeanEstimate, at_equal_misses,
};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Runs all rules with all seeds and prints what they came to.
pub(super) fn run(args: &SimulateArgs, bar: impl Fn(u64) -> ProgressBar) -> Result<(), CommandError> {
    let (rules, scaling) = (&args.autoscaling.autoscale, &args.autoscaling);
    let Some(first) = rules.first() else { return Ok(()) };
    let registry = Registry::builtin();
    let policies = Contender::list(&args.policy, &registry).map_err(CommandError::flag("--policy"))?;
    let [policy] = &policies[..] else {
        return Err(CommandError::flag("--policy")(
            "--autoscale compares autoscalers under one policy: name one",
        ));
    };
    let comparison = PolicyComparison::new(args)?;
    let setting = &comparison.setting;
    let slo = Slo { ttft: args.slo_ttft, tpot: args.slo_tpot };
    let experiment = AutoscaleExperiment {
        scenario: &setting.scenario,
        autoscaler: scaling.autoscaler(*first, slo),
        policy,
        seeds: &setting.seeds,
    };
    let bar = bar((rules.len() * setting.seeds.len()) as u64);
    let results =
        experiment.run(rules, &|seed| comparison.workload(seed), &mut |done| bar.set_position(done as u64));
    bar.finish_and_clear();
    let compared = at_equal_misses(&results);
    let about = [
        setting.load.clone(),
        format!("{} at first, under {}", setting.installation(), policy.name),
        setting.repeats(),
        format!(
            "a miss is a first token after {} s, more than {} s per further token, or no response",
            slo.ttft, slo.tpot
        ),
    ];
    let text = table(&about, &results, &compared);
    match &args.json {
        Some(path) if path == std::path::Path::new("-") => {
            eprint!("{text}");
            say(format_args!("{:#}\n", as_json(&results, &compared)));
        }
        Some(path) => {
            say(&text);
            super::output::write(path, &format!("{:#}\n", as_json(&results, &compared)))?;
        }
        None => say(&text),
    }
    Ok(())
}

fn table(about: &[String], results: &[AutoscaleResult], compared: &[EqualMissComparison]) -> String {
    let mut text = about.join("\n") + "\n\n";
    let estimate = |of: MeanEstimate, factor: f64, digits: usize| {
        let half = of.half_width.map_or_else(String::new, |half| format!(" ±{:.digits$}", half * factor));
        format!("{:.digits$}{half}", of.mean * factor)
    };
    // Writing to a string cannot fail.
    let _ =
        writeln!(text, "{:<16}{:<18}{:<18}{:<8}started", "autoscaler", "worker-hours", "misses, %", "most");
    for result in results {
        let _ = writeln!(
            text,
            "{:<16}{:<18}{:<18}{:<8.0}{:.0}",
            result.rule.to_string(),
            estimate(result.worker_hours, 1.0, 2),
            estimate(result.miss_share, 100.0, 3),
            result.most.mean,
            result.started.mean
        );
    }
    if let (Some(first), false) = (results.first(), compared.is_empty()) {
        let first = first.rule.metric.as_str();
        let _ = writeln!(text, "\nworker-hours at the same share of misses, between the targets above");
        let _ = writeln!(text, "{:<12}{:<12}{:<24}{first} to it", "misses, %", first, "the other");
        for row in compared {
            let EqualMissComparison { metric, miss_share, first_hours, hours } = row;
            let other = format!("{} {hours:.2}", metric.as_str());
            let change = 100.0 * (first_hours / hours - 1.0);
            let _ =
                writeln!(text, "{:<12.3}{first_hours:<12.2}{other:<24}{change:+.1} %", 100.0 * miss_share);
        }
    }
    text
}

fn as_json(results: &[AutoscaleResult], compared: &[EqualMissComparison]) -> Value {
    let estimate = |of: MeanEstimate| json!({"mean": of.mean, "half_width": of.half_width});
    let results: Vec<_> = results
        .iter()
        .map(|result| {
            json!({
                "rule": result.rule.to_string(),
                "worker_hours": estimate(result.worker_hours),
                "miss_share": estimate(result.miss_share),
                "most": estimate(result.most),
                "started": estimate(result.started),
            })
        })
        .collect();
    let compared: Vec<_> = compared
        .iter()
        .map(|row| {
            json!({
                "metric": row.metric.as_str(),
                "miss_share": row.miss_share,
                "first_worker_hours": row.first_hours,
                "worker_hours": row.hours,
            })
        })
        .collect();
    json!({"autoscalers": results, "at_equal_misses": compared})
}
