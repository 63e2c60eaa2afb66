//! The page: the runs of the first seed as charts, and the metrics of all seeds.

use super::ComparisonSetup;
use router_report::{
    MeasureComparison, MeasureEstimate, RecordedRequest, RecordedRun, ReplayFidelity, RunReport,
    SHOWN_MEASURES, ServerShare, ShownMeasure, SimulationReport,
};
use router_sim::{
    ComparisonTable, IncidentKind, MeanEstimate, REPLAYED_RUNS, SimulatedRecord, SimulationOutcome,
    SummaryMetric,
};

/// The maximum number of servers that the page shows individually.
const MAX_SERVERS: usize = 12;

/// The runs of the first seed, kept for the charts if there is a page.
#[derive(Debug)]
pub(super) struct KeptRuns {
    servers: Option<Vec<String>>,
    runs: Vec<RecordedRun>,
}

impl KeptRuns {
    pub(super) fn new(setting: &ComparisonSetup<'_>) -> Self {
        Self { servers: setting.args.output.as_ref().map(|_| setting.servers()), runs: Vec::new() }
    }

    /// Keeps one run.
    pub(super) fn keep(&mut self, name: &str, outcome: &SimulationOutcome) {
        if let Some(servers) = &self.servers {
            let requests = outcome.records.iter().flatten().map(request).collect();
            self.runs.push(RecordedRun::simulated(name, servers, requests));
        }
    }

    /// The page.
    pub(super) fn page(self, setting: &ComparisonSetup<'_>, table: &ComparisonTable) -> String {
        RunReport::simulated(self.runs, simulation(setting, table)).page()
    }
}

fn request(record: &SimulatedRecord) -> RecordedRequest {
    RecordedRequest {
        worker: Some(record.server),
        ok: record.finished_at.is_some(),
        start: Some(record.arrived_at.as_secs_f64()),
        end: record.finished_at.map(|at| at.as_secs_f64()),
        latency: record.e2e(),
        ttft: record.ttft(),
        output_tokens: Some(f64::from(record.output_tokens)),
        ..RecordedRequest::default()
    }
}

fn simulation(setting: &ComparisonSetup<'_>, table: &ComparisonTable) -> SimulationReport {
    let estimated = |e: MeanEstimate| MeasureEstimate { mean: e.mean, half_width: e.half_width };
    let measure = |shown: &ShownMeasure| {
        let at = SummaryMetric::ALL.iter().position(|m| m.name == shown.key)?;
        Some(MeasureComparison {
            name: shown.name.to_owned(),
            unit: shown.unit,
            better: shown.better,
            found: table.rows.iter().map(|row| estimated(row.estimates[at])).collect(),
            ratios: table.rows.iter().map(|row| row.ratios[at].map(estimated)).collect(),
        })
    };
    let groups = setting.groups(MAX_SERVERS);
    let share = |range: &std::ops::Range<usize>| {
        table.rows.iter().map(|row| row.share.get(range.clone()).unwrap_or_default().iter().sum()).collect()
    };
    SimulationReport {
        about: about(setting),
        policies: table.rows.iter().map(|row| row.name.clone()).collect(),
        measures: SHOWN_MEASURES.iter().filter_map(measure).collect(),
        shares: groups
            .iter()
            .map(|(name, range)| ServerShare { name: name.clone(), of: share(range) })
            .collect(),
        marks: marks(setting),
        fidelity: REPLAYED_RUNS
            .iter()
            .map(|replayed| ReplayFidelity {
                run: replayed.run.to_owned(),
                fleet: replayed.fleet.to_owned(),
                requests: replayed.requests as u64,
                measured: replayed.measured,
                simulated: replayed.simulated,
            })
            .collect(),
    }
}

/// What was simulated, as pairs of a label and a description.
fn about(setting: &ComparisonSetup<'_>) -> Vec<(String, String)> {
    let args = setting.args;
    let events = args.event.iter().map(|event| event.text.as_str()).collect::<Vec<_>>().join(", ");
    let slo = format!("a first token within {} s and {} s per further token", args.slo_ttft, args.slo_tpot);
    let all = [
        ("Load", setting.load.clone()),
        ("Installation", setting.installation()),
        ("Events", events),
        ("Runs", setting.repeats()),
        ("Goodput", slo),
    ];
    all.into_iter()
        .filter(|(_, text)| !text.is_empty())
        .map(|(label, text)| (label.to_owned(), text))
        .collect()
}

/// The incidents in the order of time, each as seconds and a label.
fn marks(setting: &ComparisonSetup<'_>) -> Vec<(f64, String)> {
    let mut marks: Vec<(f64, String)> = Vec::new();
    for (event, incident) in setting.args.event.iter().flat_map(|e| e.incidents.iter().map(move |i| (e, i))) {
        // Servers that join together are one mark, labelled with the text of the event.
        let label = match incident.kind {
            IncidentKind::Slow { server, factor: 1.0 } => format!("server {server} normal"),
            IncidentKind::Slow { server, factor } => format!("server {server} ×{factor} slower"),
            IncidentKind::Die { server } => format!("server {server} dies"),
            IncidentKind::Join(_) => joining(&event.text),
            IncidentKind::DelayReports(by) if by.is_zero() => "reports in time".to_owned(),
            IncidentKind::DelayReports(by) => format!("reports {} s late", by.as_secs_f64()),
            IncidentKind::DelayCompletions(by) if by.is_zero() => "responses in time".to_owned(),
            IncidentKind::DelayCompletions(by) => format!("responses {} s late", by.as_secs_f64()),
            _ => event.text.clone(),
        };
        let mark = (incident.at.as_secs_f64(), label);
        if marks.last() != Some(&mark) {
            marks.push(mark);
        }
    }
    marks.sort_by(|a, b| a.0.total_cmp(&b.0));
    marks
}

/// `t4*2 joins` for `join:t4*2@45`.
fn joining(event: &str) -> String {
    let (what, _) = event.rsplit_once('@').unwrap_or((event, ""));
    format!("{} joins", what.trim_start_matches("join:"))
}
