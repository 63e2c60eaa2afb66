//! The events of a simulation and the queue that puts them in order.

use super::inflight::InFlightRef;
use router_core::Time;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Something that happens at a point in virtual time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum SimEvent {
    /// An incident of the scenario, by index.
    Incident(usize),
    /// A server may have progress to report.
    Wake { server: usize, number: u32 },
    /// The router learns that a request got its first token.
    FirstToken(InFlightRef),
    /// The router learns that a request ended.
    End(InFlightRef),
    /// A router receives a load report, by index.
    Report(usize),
    /// All servers are polled for their load.
    Poll,
    /// Routers learn how far the streams are.
    Progress,
    /// The autoscaler reads its metric.
    Autoscale,
    /// A worker that was ordered is ready, by the number of the order.
    Ready(usize),
    /// A request arrives, for the first time or as a retry.
    Arrival(usize),
}

/// Events ordered by time, then by when they were pushed, so that equal input gives equal output.
#[derive(Debug, Default)]
pub(super) struct EventQueue {
    heap: BinaryHeap<Reverse<(Time, u64, SimEvent)>>,
    pushed: u64,
}

impl EventQueue {
    pub(super) fn push(&mut self, at: Time, event: SimEvent) {
        self.pushed += 1;
        self.heap.push(Reverse((at, self.pushed, event)));
    }

    pub(super) fn pop(&mut self) -> Option<(Time, SimEvent)> {
        self.heap.pop().map(|Reverse((at, _, event))| (at, event))
    }

    /// When the next event happens.
    pub(super) fn next_time(&self) -> Option<Time> {
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }
}
