//! A comparison that is ready to run: all flags and files have been read.

use super::load::{self, WorkloadSource};
use super::setup::ComparisonSetup;
use super::{json, table};
use crate::error::CommandError;
use crate::simulate::SimulateArgs;
use router_core::{BatchWindow, OverloadBounds};
use router_engine::FleetSpec;
use router_sim::{
    ComparisonTable, Contender, Experiment, ExperimentObserver, IncidentKind, LoadReporting, Scenario,
    SimulatedFleet, Slo, Workload,
};
use std::num::NonZeroU32;
use std::time::Duration;

/// A comparison that is ready to run.
///
/// ```
/// use router_core::Registry;
/// use router_sim::{Contender, FinishedRun, ExperimentObserver};
/// use sgl_router::simulate::{SimulateArgs, PolicyComparison};
///
/// struct Quiet;
/// impl ExperimentObserver for Quiet {}
/// let args = SimulateArgs::parse(["--num-requests", "50", "--seeds", "2"])?;
/// let registry = Registry::builtin();
/// let contenders = Contender::list("random,least_request", &registry)?;
/// let comparison = PolicyComparison::new(&args)?;
/// let table = comparison.run(&contenders, &mut Quiet).unwrap();
/// assert_eq!((table.rows.len(), table.seeds), (2, 2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct PolicyComparison<'a> {
    pub(super) setting: ComparisonSetup<'a>,
    source: WorkloadSource,
}

impl<'a> PolicyComparison<'a> {
    /// Reads the fleet and the load that `args` name; [`run`](Self::run) gets the contenders.
    ///
    /// # Errors
    /// An invalid flag, or a trace that cannot be read; the message names it.
    pub fn new(args: &'a SimulateArgs) -> Result<Self, CommandError> {
        let spec: FleetSpec = args.fleet.parse().map_err(CommandError::flag("--fleet"))?;
        let parts = args.fleet.split(',').map(|part| part.trim().to_owned());
        let parts = parts.zip(spec.parts.iter().map(|part| part.count as usize)).collect();
        let scenario = scenario(args, &spec)?;
        let source = WorkloadSource::open(&args.load)?;
        let last = args.seed.checked_add(args.seeds.get() as u64 - 1);
        let last = last.ok_or("the last seed is too large").map_err(CommandError::flag("--seed"))?;
        let requests = source.load(&args.load, args.seed).requests.len();
        let load = load::describe(&args.load, requests);
        let setting =
            ComparisonSetup { args, parts, scenario, seeds: (args.seed..=last).collect(), load, requests };
        Ok(Self { setting, source })
    }

    /// Runs all contenders with all seeds; `None` if `observer` cancels it.
    pub fn run(
        &self,
        contenders: &[Contender<'_>],
        observer: &mut dyn ExperimentObserver,
    ) -> Option<ComparisonTable> {
        let ComparisonSetup { args, scenario, seeds, .. } = &self.setting;
        let slo = Slo { ttft: args.slo_ttft, tpot: args.slo_tpot };
        let experiment = Experiment { scenario, seeds, slo };
        experiment.run_observed(contenders, &|seed| self.workload(seed), observer)
    }

    /// The load of a seed.
    pub(super) fn workload(&self, seed: u64) -> Workload {
        self.source.load(&self.setting.args.load, seed)
    }

    /// The results as a text table.
    pub fn text(&self, table: &ComparisonTable) -> String {
        table::render(&self.setting, table)
    }

    /// All results as JSON.
    ///
    /// # Errors
    /// They cannot be serialized.
    pub fn json(&self, table: &ComparisonTable) -> Result<String, CommandError> {
        json::render(&self.setting, table)
    }

    /// A name for each server, in order; servers that join are at the end.
    pub fn servers(&self) -> Vec<String> {
        self.setting.servers()
    }
}

fn scenario(args: &SimulateArgs, spec: &FleetSpec) -> Result<Scenario, CommandError> {
    let mut scenario = Scenario::of(SimulatedFleet::from(spec));
    scenario.routers = usize::from(args.routers);
    let poll = args.poll_secs.map(Duration::from_secs_f64);
    scenario.reports = LoadReporting { poll, ..scenario.reports };
    scenario.batch_window = BatchWindow::new(Duration::from_millis(args.batch_window_ms.into()));
    scenario.overload = OverloadBounds {
        waiting: NonZeroU32::new(args.overload_waiting_requests),
        kv_usage: Some(args.overload_kv_usage).filter(|usage| *usage > 0.0),
        ..scenario.overload
    };
    scenario.incidents = args.event.iter().flat_map(|event| event.incidents.iter().copied()).collect();
    let joining = scenario.incidents.iter().filter(|i| matches!(i.kind, IncidentKind::Join(_))).count();
    let servers = scenario.fleet.servers.len() + joining;
    for incident in &scenario.incidents {
        if let IncidentKind::Slow { server, .. } | IncidentKind::Die { server } = incident.kind
            && server >= servers
        {
            let problem = format!("there is no server {server}; the servers are 0 to {}", servers - 1);
            return Err(CommandError::flag("--event")(problem));
        }
    }
    Ok(scenario)
}
