//! The table of docs/policies/marginal_cost.md: `cargo run --release -p router-sim --example evidence [FILTER [POLICIES]]`.
//!
//! Runs the scenarios whose name contains FILTER with the comma-separated POLICIES. A scenario whose trace is not there
//! is skipped, with a message.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example prints")]

use router_core::Registry;
use router_sim::{
    ArrivalProcess, Contender, Experiment, IncidentKind, LengthDistribution, LoadReporting, PrefixGroups,
    RequestLengths, Scenario, SimulatedFleet, Slo, SummaryMetric, TraceSlice, Workload, read_trace,
};
use std::path::Path;
use std::time::Duration;

const POLICIES: &str =
    "least_request,round_robin,power_of_two,shortest_queue,cache_aware,marginal_utility,marginal_cost";
const SEEDS: [u64; 5] = [1, 2, 3, 4, 5];
const UNEVEN: &str = "sglang_1.5b,sglang_8b*2";
const EVEN: &str = "sglang_8b*4";
const MIXED: &str = "sglang_8b*2,sglang_8b*2@0.5,sglang_8b*4@0.25";
/// One server 2.5 times as fast as the other two, all of one kind. It serves at most 195 requests per second of *short*.
const FACTOR: &str = "sglang_8b@2.5,sglang_8b*2";

/// The fleet `MIXED` with chunked prefill, as vLLM does it.
const MIXED_CHUNKED: &str =
    "sglang_8b*2:chunked=2048,sglang_8b*2@0.5:chunked=2048,sglang_8b*4@0.25:chunked=2048";
const FACTOR_CHUNKED: &str = "sglang_8b@2.5:chunked=2048,sglang_8b*2:chunked=2048";
const EVEN_CHUNKED: &str = "sglang_8b*4:chunked=2048";
/// GPUs of three kinds as measured with vLLM.
const CARDS: &str = "h200,rtxpro6000*2,rtx4090*2";
/// The fleets of `cargo xtask compare-peers`.
const LIVE: &str = "sglang_8b@0.75,sglang_8b*2@0.3";
const LIVE_EVEN: &str = "sglang_8b*4@0.3375";

/// The clients of `cargo xtask compare-peers`, case *classes*.
const CLIENTS: &str = "chat:share=0.5,input-len=200..600,output-len=lognormal:200:1.2:2000,max-tokens=1024;\
    extraction:share=0.35,input-len=1500..3000,output-len=5..30,max-tokens=1024,stream=0;\
    agents:share=0.15,prefix-len=1024,input-len=200..600,output-len=300..900,max-tokens=1024";

/// The load of a case, with its requests per second.
#[derive(Clone, Copy)]
enum CaseLoad {
    /// Short prompts, responses of 100 to 400 tokens that the requests name, 30 % streamed, as `cargo xtask compare-peers` sends them.
    Live(f64),
    /// Three clients, as `cargo xtask compare-peers` sends them.
    Classes(f64),
    /// Prompt and response lengths of the recorded GPU runs.
    Short(f64),
    /// Prompts as in `Short`, responses with widely varying lengths.
    Wide(f64),
    /// The same, and each request names the length of its response.
    Named(f64),
    /// Prompts of about 3000 tokens with one of 24 shared prefixes of 2432.
    Groups(f64),
    /// A slice of the trace of this name.
    Trace(&'static str, f64),
    /// The whole trace of this name, so many times as fast as it was recorded.
    Speed(&'static str, f64),
}

struct EvidenceCase {
    name: &'static str,
    scenario: Scenario,
    load: CaseLoad,
}

fn case(name: &'static str, fleet: &str, load: CaseLoad) -> Result<EvidenceCase, router_sim::FleetError> {
    Ok(EvidenceCase { name, scenario: Scenario::of(fleet.parse::<SimulatedFleet>()?), load })
}

fn cases() -> Result<Vec<EvidenceCase>, router_sim::FleetError> {
    let (code, chat, clients) = ("azure_code_2023", "mooncake_conversation", "servegen_msmall");
    let mut cases = vec![
        case("uneven, short, 27/s", UNEVEN, CaseLoad::Short(27.0))?,
        case("uneven, short, 80/s", UNEVEN, CaseLoad::Short(80.0))?,
        case("uneven, short, 110/s", UNEVEN, CaseLoad::Short(110.0))?,
        case("factor 2.5, short, 50 %", FACTOR, CaseLoad::Short(97.0))?,
        case("factor 2.5, short, 75 %", FACTOR, CaseLoad::Short(146.0))?,
        case("factor 2.5, short, 95 %", FACTOR, CaseLoad::Short(185.0))?,
        case("even, short, 60/s", EVEN, CaseLoad::Short(60.0))?,
        case("even, short, 130/s", EVEN, CaseLoad::Short(130.0))?,
        case("mixed 8, wide, 40/s", MIXED, CaseLoad::Wide(40.0))?,
        case("mixed 8, wide, 80/s", MIXED, CaseLoad::Wide(80.0))?,
        case("mixed 8, wide, 40/s, lengths named", MIXED, CaseLoad::Named(40.0))?,
        case("mixed 8, wide, 80/s, lengths named", MIXED, CaseLoad::Named(80.0))?,
        case("even, groups, 12/s", EVEN, CaseLoad::Groups(12.0))?,
        case("even, groups, 40/s", EVEN, CaseLoad::Groups(40.0))?,
        case("uneven, code, 20/s", UNEVEN, CaseLoad::Trace(code, 20.0))?,
        case("mixed 8, code, 20/s", MIXED, CaseLoad::Trace(code, 20.0))?,
        case("even, chat, 5/s", EVEN, CaseLoad::Trace(chat, 5.0))?,
        case("even, chat, 8/s", EVEN, CaseLoad::Trace(chat, 8.0))?,
        case("mixed 8, chat, 6/s", MIXED, CaseLoad::Trace(chat, 6.0))?,
        case("uneven, clients, 6x", UNEVEN, CaseLoad::Speed(clients, 6.0))?,
        case("uneven, chat, 1.5x", UNEVEN, CaseLoad::Speed(chat, 1.5))?,
        case("chunked: factor 2.5, short, 75 %", FACTOR_CHUNKED, CaseLoad::Short(146.0))?,
        case("chunked: even, short, 130/s", EVEN_CHUNKED, CaseLoad::Short(130.0))?,
        case("chunked: mixed 8, wide, 40/s", MIXED_CHUNKED, CaseLoad::Wide(40.0))?,
        case("chunked: mixed 8, wide, 80/s", MIXED_CHUNKED, CaseLoad::Wide(80.0))?,
        case("chunked: mixed 8, chat, 6/s", MIXED_CHUNKED, CaseLoad::Trace(chat, 6.0))?,
        case("chunked: mixed 8, code, 20/s", MIXED_CHUNKED, CaseLoad::Trace(code, 20.0))?,
        case("chunked: cards, short, 60/s", CARDS, CaseLoad::Short(60.0))?,
        case("chunked: cards, chat, 4/s", CARDS, CaseLoad::Trace(chat, 4.0))?,
    ];
    let mut few = case("factor 2.5, short, 27/s, 16 at once", FACTOR, CaseLoad::Short(27.0))?;
    few.scenario.fleet.servers.iter_mut().for_each(|server| server.limits.max_running = 16);
    let mut scarce = case("even, groups, 24/s, room for 16 prefixes", EVEN, CaseLoad::Groups(24.0))?;
    scarce.scenario.fleet.servers.iter_mut().for_each(|server| server.limits.kv_tokens = 40_000);
    let mut change = case("uneven, short, 27/s, fast one x4 slower for 60 s", UNEVEN, CaseLoad::Short(27.0))?;
    change.scenario = change
        .scenario
        .with(30.0, IncidentKind::Slow { server: 0, factor: 4.0 })
        .with(90.0, IncidentKind::Slow { server: 0, factor: 1.0 });
    let mut late = case("mixed 8, wide, 40/s, completions 0.5 s late", MIXED, CaseLoad::Wide(40.0))?;
    late.scenario = late.scenario.with(0.0, IncidentKind::DelayCompletions(Duration::from_millis(500)));
    let mut blind = case("mixed 8, wide, 40/s, 4 blind routers", MIXED, CaseLoad::Wide(40.0))?;
    blind.scenario.routers = 4;
    cases.extend([few, scarce, change, late, blind].into_iter().chain(live_cases()?));
    Ok(cases)
}

/// The fleets and loads of `cargo xtask compare-peers`.
fn live_cases() -> Result<[EvidenceCase; 4], router_sim::FleetError> {
    let live = |name, fleet, rate| {
        let mut live = case(name, fleet, CaseLoad::Live(rate))?;
        live.scenario.reports = LoadReporting { on_responses: false, poll: Some(Duration::from_secs(1)) };
        Ok::<_, router_sim::FleetError>(live)
    };
    let live_uneven = live("as live: uneven, 75 %", LIVE, 44.4)?;
    let live_even = live("as live: even, 75 %", LIVE_EVEN, 44.4)?;
    let mut live_change = live("as live: uneven, 50 %, fast one x4 slower for 60 s", LIVE, 29.6)?;
    live_change.scenario = live_change
        .scenario
        .with(30.0, IncidentKind::Slow { server: 0, factor: 4.0 })
        .with(90.0, IncidentKind::Slow { server: 0, factor: 1.0 });
    let mut live_classes = live("as live: classes", LIVE, 26.3)?;
    live_classes.load = CaseLoad::Classes(26.3);
    Ok([live_uneven, live_even, live_change, live_classes])
}

/// The load of one seed; absent if the trace is not there.
fn load(load: CaseLoad, seed: u64) -> Option<Workload> {
    let prompt = LengthDistribution::Uniform(220, 385);
    match load {
        CaseLoad::Short(rate) => {
            let lengths = RequestLengths { prompt, output: LengthDistribution::Uniform(190, 320) };
            Some(ArrivalProcess::poisson(rate).requests(4000, lengths, seed))
        }
        CaseLoad::Live(rate) => {
            let lengths = RequestLengths { prompt, output: LengthDistribution::Uniform(100, 400) };
            let load = ArrivalProcess::poisson(rate).requests(4000, lengths, seed);
            Some(load.streamed(0.3).naming_lengths())
        }
        CaseLoad::Classes(rate) => {
            Some(ArrivalProcess::poisson(rate).clients(4000, &CLIENTS.parse().ok()?, seed))
        }
        CaseLoad::Wide(rate) => {
            let lengths = RequestLengths {
                prompt,
                output: LengthDistribution::LogNormal { mean: 250.0, sigma: 1.2, max: 4000 },
            };
            Some(ArrivalProcess::poisson(rate).requests(4000, lengths, seed))
        }
        CaseLoad::Named(rate) => Some(self::load(CaseLoad::Wide(rate), seed)?.naming_lengths()),
        CaseLoad::Groups(rate) => {
            let groups = PrefixGroups {
                groups: 24,
                shared_tokens: 2432,
                own: LengthDistribution::Uniform(400, 800),
                output: LengthDistribution::Uniform(100, 300),
            };
            Some(ArrivalProcess::poisson(rate).grouped(4000, groups, seed))
        }
        CaseLoad::Speed(name, speed) => {
            read_trace(&trace(name)?, &TraceSlice { speed, ..TraceSlice::default() }).ok()
        }
        CaseLoad::Trace(name, rate) => {
            let text = trace(name)?;
            // Each seed gets another, overlapping part of the trace.
            let from = 500 * (seed as usize - 1);
            let slice = TraceSlice { requests: from..from + 4000, ..TraceSlice::default() };
            let recorded = read_trace(&text, &slice).ok()?;
            let last = recorded.requests.iter().filter_map(|r| match r.start {
                router_sim::RequestStart::At(at) => Some(at.as_secs_f64()),
                router_sim::RequestStart::After { .. } => None,
            });
            let recorded_rate = recorded.requests.len() as f64 / last.fold(1e-9, f64::max);
            read_trace(&text, &TraceSlice { speed: rate / recorded_rate, ..slice }).ok()
        }
    }
}

/// A trace that is not part of the repository, if it is there.
fn trace(name: &str) -> Option<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/traces");
    std::fs::read_to_string(folder.join(format!("{name}.jsonl"))).ok()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let filter = args.next().unwrap_or_default();
    let policies = args.next().unwrap_or_else(|| POLICIES.to_owned());
    let registry = Registry::builtin();
    for case in cases()?.into_iter().filter(|c| c.name.contains(&filter)) {
        if load(case.load, 1).is_none() {
            eprintln!("skipped, its trace is not there: {}", case.name);
            continue;
        }
        let contenders = Contender::list(&policies, &registry)?;
        let experiment = Experiment { scenario: &case.scenario, seeds: &SEEDS, slo: Slo::default() };
        let table = experiment.run(
            &contenders,
            &|seed| load(case.load, seed).unwrap_or_else(|| Workload::new(Vec::new())),
            &mut |_| (),
        );
        println!("\n{}", case.name);
        for row in &table.rows {
            let at = |name: &str| SummaryMetric::ALL.iter().position(|m| m.name == name);
            let figure = |name: &str| at(name).map_or(f64::NAN, |i| row.estimates[i].mean);
            let ratio = at("e2e_mean_s").and_then(|i| row.ratios[i]);
            println!(
                "  {:<18} mean {:8.3}  ratio {:5.3} +-{:5.3}  p99 {:8.3}  ttft {:7.3} p99 {:7.3}  hits {:4.2}  fastest {:4.2}",
                row.name,
                figure("e2e_mean_s"),
                ratio.map_or(f64::NAN, |r| r.mean),
                ratio.and_then(|r| r.half_width).unwrap_or(f64::NAN),
                figure("e2e_p99_s"),
                figure("ttft_mean_s"),
                figure("ttft_p99_s"),
                figure("prefix_hits"),
                row.share.first().copied().unwrap_or(f64::NAN),
            );
        }
    }
    Ok(())
}
