//! `simulate --autoscale`: autoscalers beside each other on one load.

use super::args::SimulateArgs;
use super::comparison::PolicyComparison;
use crate::error::CommandError;
use crate::terminal::say;
use clap::Args;
use indicatif::ProgressBar;
use router_core::{Registry, ScalingOptions, Slo};
use router_sim::{
    AutoscaleExperiment, AutoscaleResult, AutoscaleRule, Autoscaler, Contender, EqualMissComparison,
    MeanEstimate, at_equal_misses,
};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::Duration;

/// The flags of autoscaling.
#[derive(Debug, Args)]
pub(crate) struct AutoscaleArgs {
    /// Add and remove servers while the load runs, and compare these rules by worker-hours and misses of the SLO: METRIC:TARGET:LEAST,
    /// comma-separated, with the metric signal (the router's workers_needed), queue (requests waiting in engines), in-flight or
    /// fixed, how much of it one worker is to have (for fixed: how many workers), and the fewest workers. --policy names one policy
    #[arg(
        long,
        value_name = "RULES",
        value_delimiter = ',',
        help_heading = "Autoscaling",
        conflicts_with = "output"
    )]
    pub(crate) autoscale: Vec<AutoscaleRule>,

    /// How long a server that was ordered takes to be ready; it is paid for meanwhile
    #[arg(long, value_name = "SECS", default_value_t = 120.0, requires = "autoscale", help_heading = "Autoscaling",
        value_parser = super::args::pause)]
    pub(crate) startup_secs: f64,

    /// How often an autoscaler reads its metric
    #[arg(long, value_name = "SECS", default_value_t = 15.0, requires = "autoscale", help_heading = "Autoscaling",
        value_parser = super::args::interval)]
    pub(crate) scale_interval_secs: f64,

    /// The fleet shrinks to the most that was wanted within this time
    #[arg(long, value_name = "SECS", default_value_t = 300.0, requires = "autoscale", help_heading = "Autoscaling",
        value_parser = super::args::pause)]
    pub(crate) scale_down_secs: f64,

    /// Most servers
    #[arg(long, value_name = "N", default_value_t = 64, requires = "autoscale", help_heading = "Autoscaling",
        value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) most_servers: u32,

    /// After what time the router expects arrivals to repeat themselves; a day unless a shorter one is simulated
    #[arg(long, value_name = "SECS", default_value_t = 86_400.0, requires = "autoscale", help_heading = "Autoscaling",
        value_parser = super::args::interval)]
    pub(crate) season_secs: f64,

    /// Share of the responses that the router's signal plans to meet the SLO
    #[arg(long, value_name = "SHARE", default_value_t = 0.99, requires = "autoscale", help_heading = "Autoscaling",
        value_parser = super::args::part)]
    pub(crate) slo_attainment: f64,
}

impl AutoscaleArgs {
    fn autoscaler(&self, rule: AutoscaleRule, slo: Slo) -> Autoscaler {
        let scaling = ScalingOptions {
            slo,
            miss_share: 1.0 - self.slo_attainment,
            // What is ordered now is there after the start-up and one reading.
            horizon: Duration::from_secs_f64((self.startup_secs + self.scale_interval_secs).max(1.0)),
            season: Duration::from_secs_f64(self.season_secs),
        };
        Autoscaler {
            interval: Duration::from_secs_f64(self.scale_interval_secs),
            startup: Duration::from_secs_f64(self.startup_secs),
            stabilization: Duration::from_secs_f64(self.scale_down_secs),
            most: self.most_servers,
            scaling,
            ..Autoscaler::new(rule)
        }
    }
}

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
            super::write(path, &format!("{:#}\n", as_json(&results, &compared)))?;
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
