//! `sgl-router simulate`: policies side by side on a modelled fleet, in virtual time.

mod args;
mod json;
mod load;
mod page;
mod setting;
mod table;

pub(crate) use args::SimulateArgs;

use crate::cli::Failure;
use indicatif::{ProgressBar, ProgressStyle};
use load::Source;
use router_core::Registry;
use router_engine::FleetSpec;
use router_sim::{Contender, Experiment, Fleet, Ran, Reports, Scenario, Slo, Table, What};
use setting::Setting;
use std::fs;
use std::path::Path;
use std::time::Duration;

pub(crate) fn run(args: &SimulateArgs) -> Result<(), Failure> {
    let registry = Registry::builtin();
    let contenders = Contender::list(&args.policy, &registry)
        .map_err(|error| Failure::Usage(format!("--policy: {error}")))?;
    let spec: FleetSpec = args.fleet.parse().map_err(|e| Failure::Usage(format!("--fleet: {e}")))?;
    let parts = args.fleet.split(',').map(|part| part.trim().to_owned());
    let parts = parts.zip(spec.parts.iter().map(|part| part.count as usize)).collect();
    let scenario = scenario(args, &spec)?;
    let source = Source::open(&args.load)?;
    let last = args.seed.checked_add(args.seeds.get() as u64 - 1);
    let last = last.ok_or_else(|| Failure::Usage("--seed: the last seed is too large".to_owned()))?;
    // Files that cannot be written are better known before the runs than after them.
    let to_file = args.json.as_deref().filter(|path| *path != Path::new("-"));
    for (flag, path) in [("--json", to_file), ("--output", args.output.as_deref())] {
        if let Some(path) = path {
            fs::File::create(path)
                .map_err(|e| Failure::Usage(format!("{flag}: cannot write {}: {e}", path.display())))?;
        }
    }
    let requests = source.load(&args.load, args.seed).requests.len();
    let load = load::describe(&args.load, requests);
    let setting = Setting { args, parts, scenario, seeds: (args.seed..=last).collect(), load, requests };
    let mut runs = page::Runs::new(&setting);
    let table = compare(&setting, &contenders, &source, &mut runs);
    tell(&setting, &table, runs)
}

/// Runs everything, with a bar on standard error where that is a terminal.
fn compare(
    setting: &Setting<'_>,
    contenders: &[Contender<'_>],
    source: &Source,
    runs: &mut page::Runs,
) -> Table {
    let args = setting.args;
    let slo = Slo { ttft: args.slo_ttft, tpot: args.slo_tpot };
    let experiment = Experiment { scenario: &setting.scenario, seeds: &setting.seeds, slo };
    let bar = ProgressBar::new((contenders.len() * setting.seeds.len()) as u64);
    // The template is a constant; a wrong one would show in the first run.
    if let Ok(style) = ProgressStyle::with_template("[{bar:30}] {pos}/{len} runs {elapsed} {msg}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(format!("{} requests each", setting.requests));
    bar.enable_steady_tick(Duration::from_millis(250));
    let table =
        experiment.run_watched(contenders, &|seed| source.load(&args.load, seed), &mut |ran: Ran<'_>| {
            bar.set_position(ran.done as u64);
            if ran.seed == args.seed {
                runs.keep(&contenders[ran.contender].name, ran.outcome);
            }
        });
    bar.finish_and_clear();
    table
}

fn scenario(args: &SimulateArgs, spec: &FleetSpec) -> Result<Scenario, Failure> {
    let mut scenario = Scenario::of(Fleet::from(spec));
    scenario.routers = usize::from(args.routers);
    let poll = args.poll_secs.map(Duration::from_secs_f64);
    scenario.reports = Reports { poll, ..scenario.reports };
    scenario.incidents = args.event.iter().flat_map(|event| event.incidents.iter().copied()).collect();
    let joining = scenario.incidents.iter().filter(|i| matches!(i.what, What::Join(_))).count();
    let servers = scenario.fleet.servers.len() + joining;
    for incident in &scenario.incidents {
        if let What::Slow { server, .. } | What::Die { server } = incident.what
            && server >= servers
        {
            let problem = format!("--event: there is no server {server}; they are 0 to {}", servers - 1);
            return Err(Failure::Usage(problem));
        }
    }
    Ok(scenario)
}

/// Prints and writes what came of it.
fn tell(setting: &Setting<'_>, table: &Table, runs: page::Runs) -> Result<(), Failure> {
    let args = setting.args;
    let text = table::render(setting, table);
    if args.json.as_deref() == Some(Path::new("-")) {
        eprint!("{text}");
        println!("{}", json::render(setting, table)?);
    } else {
        print!("{text}");
    }
    if let Some(path) = args.json.as_deref().filter(|path| *path != Path::new("-")) {
        write(path, &(json::render(setting, table)? + "\n"))?;
    }
    if let Some(path) = &args.output {
        let page = runs.page(setting, table);
        write(path, &page)?;
        eprintln!("{}: {:.1} MB", path.display(), page.len() as f64 / 1e6);
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|e| Failure::Runtime(format!("cannot write {}: {e}", path.display())))
}
