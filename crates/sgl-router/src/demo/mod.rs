//! `sgl-router demo`: an uneven emulated fleet, the router in front, and the same load under several policies.

mod table;

use crate::error::CommandError;
use crate::launch;
use crate::runtime::{self, LogStyle};
use crate::terminal::say;
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
    /// Emulated workers: PROFILE*COUNT, comma-separated; the default is one fast and two slow workers
    #[arg(long, value_name = "SPEC", default_value = "sglang_1.5b*1,sglang_8b*2")]
    fleet: String,

    /// Policies to compare, in this order
    #[arg(long, value_name = "POLICY", num_args = 1.., value_delimiter = ',',
        default_values = ["round_robin", "marginal_utility", "shortest_queue", "cache_aware", "marginal_cost"])]
    policies: Vec<String>,

    /// Port of the router
    #[arg(long, default_value_t = 30000)]
    port: u16,

    /// Requests per policy
    #[arg(long, value_name = "N", default_value_t = 300)]
    requests: usize,

    /// Arrivals per second, on average
    #[arg(long, value_name = "PER_SEC", default_value_t = 27.0)]
    rate: f64,

    /// Seed of the load; all policies get the same load
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Exit after the table instead of serving on
    #[arg(long)]
    once: bool,
}

/// The result of one policy.
#[derive(Debug)]
struct PolicyRound {
    policy: String,
    summary: LoadSummary,
    /// Responses per worker, in the fleet's order.
    shares: Vec<u64>,
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
    let profiles: Vec<&str> =
        spec.parts.iter().flat_map(|p| std::iter::repeat_n(p.profile.name, p.count as usize)).collect();
    say(format_args!(
        "{} emulated workers ({}), one router, the same {} chat requests under each policy:\n\
         {} arrivals/s (Poisson), half of them streams, 8 shared prefixes\n\n",
        profiles.len(),
        profiles.join(", "),
        args.requests,
        args.rate
    ));
    let samples = shape(args).samples(args.seed);
    let plan = LoadPlan::paced(samples, ArrivalProcess::Poisson(rate), 0.5, args.seed);
    let mut rounds = Vec::new();
    for policy in &args.policies {
        rounds.push(round(args, &spec, &plan, policy).await?);
    }
    say(table::render(&rounds, &profiles));
    if args.once { Ok(()) } else { serve_on(args, &spec).await }
}

/// Runs the plan under one policy on a new fleet.
async fn round(
    args: &DemoArgs,
    spec: &FleetSpec,
    plan: &LoadPlan,
    policy: &str,
) -> Result<PolicyRound, CommandError> {
    let fleet = start_fleet(args, spec).await?;
    let router = start_router(args.port, policy, &fleet.urls()).await?;
    let target = LoadTarget::resolve(&router.url()).await.map_err(CommandError::runtime)?;
    let format = RequestFormat { endpoint: ApiEndpoint::Chat, ..RequestFormat::default() };
    let load = LoadTest::new(target, format, plan.clone());
    let progress = bar(args.requests, policy);
    let watch = |summary: &LoadSummary| progress.set_position(summary.ended());
    let summary = router_load::run(load, &CancellationToken::new(), watch).await.summary;
    progress.finish_and_clear();
    router.shutdown().await;
    let shares =
        fleet.urls().iter().map(|url| summary.responses_by_worker.get(url).copied().unwrap_or(0)).collect();
    fleet.shutdown().await;
    Ok(PolicyRound { policy: policy.to_owned(), summary, shares })
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
    say(format_args!(
        "\nStill serving with {policy} on {url}, in front of {}. Try it:\n\n  curl -N {url}/v1/chat/completions -H \
         'content-type: application/json' -d '{EXAMPLE}'\n  curl {url}/metrics\n\nPress Ctrl-C to stop.\n",
        fleet.urls().join(" ")
    ));
    runtime::asked_to_stop().await?;
    launch::stop(router).await?;
    fleet.shutdown().await;
    Ok(())
}

/// The body of the example request.
const EXAMPLE: &str = r#"{"model": "emulated", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 16, "stream": true}"#;

fn bar(requests: usize, policy: &str) -> ProgressBar {
    let bar = ProgressBar::new(requests as u64);
    // The template is a constant, so it is valid.
    if let Ok(style) = ProgressStyle::with_template("{prefix:>18} [{bar:40}] {pos}/{len}  {elapsed}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_prefix(policy.to_owned());
    bar
}
