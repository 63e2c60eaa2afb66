//! The setup of a comparison, in words and numbers.

use super::args::SimulateArgs;
use router_sim::{IncidentKind, Scenario};
use std::ops::Range;

/// The setup of a comparison.
#[derive(Debug)]
pub(super) struct ComparisonSetup<'a> {
    pub(super) args: &'a SimulateArgs,
    /// The parts of the fleet specification as written, and how many servers each has.
    pub(super) parts: Vec<(String, usize)>,
    pub(super) scenario: Scenario,
    pub(super) seeds: Vec<u64>,
    /// A description of the load.
    pub(super) load: String,
    /// Number of requests with the first seed.
    pub(super) requests: usize,
}

impl ComparisonSetup<'_> {
    /// The lines above the table. Ratios are to `first`.
    pub(super) fn about(&self, first: &str) -> Vec<String> {
        let mut lines = vec![self.load.clone(), self.installation()];
        lines.extend(self.events());
        lines.push(format!("{}; × is to {first}", self.repeats()));
        lines.push(format!(
            "goodput counts responses with a first token within {} s and {} s per further token",
            self.args.slo_ttft, self.args.slo_tpot
        ));
        lines
    }

    /// `sglang_1.5b,sglang_8b*2 behind 2 independent routers`.
    pub(super) fn installation(&self) -> String {
        let routers = match self.scenario.routers {
            1 => "one router".to_owned(),
            n => format!("{n} independent routers"),
        };
        let polled =
            self.args.poll_secs.map_or_else(String::new, |s| format!(", polled for their load every {s} s"));
        format!("{} behind {routers}{polled}", self.args.fleet)
    }

    /// The events as typed.
    pub(super) fn events(&self) -> Option<String> {
        let events: Vec<_> = self.args.event.iter().map(|event| event.text.as_str()).collect();
        (!events.is_empty()).then(|| format!("events: {}", events.join(", ")))
    }

    /// The number of seeds, and what the intervals mean.
    pub(super) fn repeats(&self) -> String {
        let trace = self.args.load.trace.is_some();
        match (self.seeds.len(), trace) {
            (1, _) => "one seed, so no intervals".to_owned(),
            (n, false) => format!("{n} seeds, ± is the 95 % interval of their mean"),
            (n, true) => format!(
                "{n} seeds, ± is the 95 % interval of their mean; the trace is the same for all, so it shows only the \
                 randomness of the policies"
            ),
        }
    }

    /// A name for each server.
    pub(super) fn servers(&self) -> Vec<String> {
        let joining = self.scenario.incidents.iter().filter_map(|incident| match incident.kind {
            IncidentKind::Join(profile) => Some(profile.name),
            _ => None,
        });
        let all: Vec<_> = self.scenario.fleet.servers.iter().map(|p| p.name).chain(joining).collect();
        let digits = all.len().saturating_sub(1).to_string().len();
        all.iter().enumerate().map(|(i, name)| format!("{i:0digits$} {name}")).collect()
    }

    /// The groups of servers that the results show: each server, or if there are more than `max`, each part of the fleet
    /// specification and the servers that join.
    pub(super) fn groups(&self, max: usize) -> Vec<(String, Range<usize>)> {
        let servers = self.servers();
        if servers.len() <= max {
            return servers.into_iter().enumerate().map(|(i, name)| (name, i..i + 1)).collect();
        }
        let mut groups = Vec::new();
        let mut from = 0;
        for (part, count) in &self.parts {
            groups.push((part.clone(), from..from + count));
            from += count;
        }
        if from < servers.len() {
            groups.push(("joined".to_owned(), from..servers.len()));
        }
        groups
    }
}
