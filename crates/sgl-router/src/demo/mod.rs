//! `sgl-router demo`: an uneven emulated fleet, the router in front, and the same load under several policies.

mod explanation;
mod table;

use crate::emulate::DEFAULT_FLEET;
use crate::error::CommandError;
use crate::launch;
use crate::runtime::{self, LogStyle};
use crate::terminal::{COLUMNS, say, wrap};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use router_config::Options;
use router_core::Registry;
use router_emulator::{EmulatedFleet, EmulatorConfig, FleetSpec};
use router_load::{
    ApiEndpoint, ArrivalProcess, CancellationToken, LoadPlan, LoadSummary, LoadTarget, LoadTest, RandomShape,
    RequestFormat, RequestRate,
};
use router_proxy::{Router, RunningRouter};
use std::time::Duration;

/// The flags of `demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Emulated workers: PROFILE*COUNT@SPEED, comma-separated; the default is one model on a fast card and two slow ones
    #[arg(long, value_name = "SPEC", default_value = DEFAULT_FLEET)]
    fleet: String,

    /// Policies to compare, in this order
    #[arg(long, value_name = "POLICY", num_args = 1.., value_delimiter = ',',
        default_values = ["round_robin", "marginal_utility", "shortest_queue", "cache_aware", "marginal_cost"])]
    policies: Vec<String>,

    /// Port of the router
    #[arg(long, default_value_t = 30000)]
    port: u16,

    /// Requests per policy
    #[arg(long, value_name = "N", default_value_t = 240)]
    requests: usize,

    /// Arrivals per second, on average
    #[arg(long, value_name = "PER_SEC", default_value_t = 24.0)]
    rate: f64,

    /// Seed of the load; all policies get the same load
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Exit after the table instead of serving on
    #[arg(long)]
    once: bool,
}

/// Seconds from the last arrival to the end of a round, about.
const TAIL_SECS: f64 = 4.0;

/// The result of one policy.
#[derive(Debug)]
struct PolicyRound {
    policy: String,
    summary: LoadSummary,
    /// Responses per worker, in the fleet's order.
    shares: Vec<u64>,
    /// Seconds that one more request takes on each worker when all are idle, as the policy has learned; empty of a policy
    /// that learns no such times.
    learned: Vec<f64>,
}

impl PolicyRound {
    /// This many responses as a share of all, in percent.
    fn percent(&self, responses: u64) -> f64 {
        responses as f64 / self.summary.answered.max(1) as f64 * 100.0
    }
}

pub(crate) fn run(args: &DemoArgs) -> Result<(), CommandError> {
    let spec: FleetSpec = args.fleet.parse().map_err(CommandError::flag("--fleet"))?;
    let (Some(rate), 1..) = (RequestRate::per_second(args.rate), args.requests) else {
        return Err(CommandError::usage("--rate and --requests must be above 0"));
    };
    runtime::init_logs("error", LogStyle::Text);
    runtime::block_on(None, play(args, spec, rate))
}

async fn play(args: &DemoArgs, spec: FleetSpec, rate: RequestRate) -> Result<(), CommandError> {
    let workers = spec.labels();
    let load = format!(
        "{} emulated workers ({}) and one router. Each policy gets the same {} chat requests: {} arrivals/s (Poisson), \
         half of them streams, 8 shared prefixes. That takes about {:.0} s for each of {} policies.",
        workers.len(),
        workers.join(", "),
        args.requests,
        args.rate,
        args.requests as f64 / args.rate + TAIL_SECS,
        args.policies.len(),
    );
    say(format_args!("{}\n", wrap(&load, COLUMNS, "")));
    let samples = shape(args).samples(args.seed);
    let plan = LoadPlan::paced(samples, ArrivalProcess::Poisson(rate), 0.5, args.seed);
    let mut rounds = Vec::new();
    for (index, policy) in args.policies.iter().enumerate() {
        let title = format!("{} of {} {policy}", index + 1, args.policies.len());
        rounds.push(round(args, &spec, &plan, policy, &title).await?);
    }
    say(table::render(&rounds, &workers));
    say(explanation::render(&rounds, &workers));
    if args.once { Ok(()) } else { serve_on(args, &spec).await }
}

/// Runs the plan under one policy on a new fleet.
async fn round(
    args: &DemoArgs,
    spec: &FleetSpec,
    plan: &LoadPlan,
    policy: &str,
    title: &str,
) -> Result<PolicyRound, CommandError> {
    let fleet = start_fleet(args, spec).await?;
    let router = start_router(args.port, policy, &fleet.urls()).await?;
    let target = LoadTarget::resolve(&router.url()).await.map_err(CommandError::runtime)?;
    let format = RequestFormat { endpoint: ApiEndpoint::Chat, ..RequestFormat::default() };
    let load = LoadTest::new(target.clone(), format, plan.clone());
    let progress = bar(args.requests, title);
    let watch = |summary: &LoadSummary| progress.set_position(summary.ended());
    let summary = router_load::run(load, &CancellationToken::new(), watch).await.summary;
    progress.finish_and_clear();
    let metrics = router_load::fetch(&target, "/metrics").await.unwrap_or_default();
    let learned = explanation::learned(&String::from_utf8_lossy(&metrics), &fleet.urls());
    router.shutdown().await;
    let shares =
        fleet.urls().iter().map(|url| summary.responses_by_worker.get(url).copied().unwrap_or(0)).collect();
    fleet.shutdown().await;
    Ok(PolicyRound { policy: policy.to_owned(), summary, shares, learned })
}

async fn start_fleet(args: &DemoArgs, spec: &FleetSpec) -> Result<EmulatedFleet, CommandError> {
    // The spec sets the profile of every worker, and it has at least one part.
    let base = EmulatorConfig { seed: args.seed, ..EmulatorConfig::new(spec.parts[0].profile) };
    EmulatedFleet::start(spec, None, &base).await.map_err(CommandError::runtime)
}

/// Prompts of 200 to 600 tokens with one of eight shared prefixes of 200, and responses of 100 to 300 tokens.
fn shape(args: &DemoArgs) -> RandomShape {
    RandomShape {
        requests: args.requests,
        input_len: 400,
        output_len: 200,
        range_ratio: 1.0,
        prefixes: 8,
        prefix_len: 200,
    }
}

/// Starts a router on `port` and waits until all its workers are healthy.
async fn start_router(port: u16, policy: &str, urls: &[String]) -> Result<RunningRouter, CommandError> {
    let options = Options {
        worker_urls: urls.to_vec(),
        policy: policy.to_owned(),
        port,
        seed: Some(1),
        shutdown_grace_period_secs: 5,
        enable_tracking: true,
        ..Options::default()
    };
    let config = options.check(&Registry::builtin()).map_err(CommandError::usage)?;
    let router = Router::start(config).await.map_err(CommandError::runtime)?;
    let ready = async {
        while router.healthy_workers() < urls.len() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    match tokio::time::timeout(Duration::from_secs(10), ready).await {
        Ok(()) => Ok(router),
        Err(_) => Err(CommandError::runtime("the emulated workers did not become healthy within 10 s")),
    }
}

/// Serves with a fleet and a router until a signal.
async fn serve_on(args: &DemoArgs, spec: &FleetSpec) -> Result<(), CommandError> {
    let policy = args.policies.last().map_or("round_robin", String::as_str);
    let fleet = start_fleet(args, spec).await?;
    let router = start_router(args.port, policy, &fleet.urls()).await?;
    let url = router.url();
    let serving = format!("Still serving with {policy} on {url}, in front of {}.", fleet.urls().join(" "));
    say(format_args!(
        "\n{}\nSend a request, ask why it went where it went, and see the metrics:\n\n{}\nPress Ctrl-C to stop.\n",
        wrap(&serving, COLUMNS, ""),
        examples(&url)
    ));
    runtime::asked_to_stop().await?;
    launch::stop(router).await?;
    fleet.shutdown().await;
    Ok(())
}

/// Commands to try, in lines that fit a terminal.
fn examples(url: &str) -> String {
    format!(
        r#"  curl -N {url}/v1/chat/completions \
    -H 'content-type: application/json' -H 'x-request-id: hello' \
    -d '{{"model": "emulated", "max_tokens": 16, "stream": true,
    "messages": [{{"role": "user", "content": "Hello"}}]}}'
  sgl-router explain hello --url {url}
  curl {url}/metrics
"#
    )
}

/// A bar on standard error; one plain line if it is not a terminal.
fn bar(requests: usize, title: &str) -> ProgressBar {
    let bar = ProgressBar::new(requests as u64);
    if bar.is_hidden() {
        eprintln!("{title}");
    }
    // The template is a constant, so it is valid.
    if let Ok(style) = ProgressStyle::with_template("{prefix:<26} [{bar:30}] {pos}/{len}  {elapsed}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_prefix(title.to_owned());
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A round in which each worker gave so many responses.
    pub(super) fn round(policy: &str, shares: &[u64]) -> PolicyRound {
        let summary = LoadSummary { answered: shares.iter().sum(), ..LoadSummary::default() };
        PolicyRound { policy: policy.to_owned(), summary, shares: shares.to_vec(), learned: Vec::new() }
    }

    pub(super) fn labels(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn examples_fit_the_terminal() {
        let text = examples("http://127.0.0.1:30000");
        assert!(text.lines().all(|line| line.chars().count() <= crate::terminal::COLUMNS), "{text}");
        let body = text.split('\'').nth(5).unwrap();
        assert_eq!(serde_json::from_str::<serde_json::Value>(body).unwrap()["stream"], true);
    }
}
