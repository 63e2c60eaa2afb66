//! `least_request`: the fewest requests in flight.

use crate::{Cx, Decision, Policy, Reason, Terms};

/// Takes the worker with the fewest requests in flight from this router; ties go by lot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LeastRequest;

impl Policy for LeastRequest {
    fn name(&self) -> &'static str {
        "least_request"
    }

    fn decide(&mut self, mut cx: Cx<'_>) -> Decision {
        let load = |in_flight: u32| f64::from(in_flight);
        cx.lowest(
            Reason::LoadBased,
            |w| load(w.in_flight),
            |w| Terms::new([("in_flight", load(w.in_flight))]),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;

    #[test]
    fn the_least_loaded_worker_gets_the_next_request() {
        let mut bench = Bench::new(Box::new(LeastRequest), 3);
        bench.hold(0, 3);
        bench.hold(1, 1);
        bench.hold(2, 2);
        assert_eq!(bench.send_as(&crate::Features::default()), 1);
    }
}
