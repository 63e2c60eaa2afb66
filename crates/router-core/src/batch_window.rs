//! When requests are sent to their workers together.

use crate::Time;
use std::time::Duration;

/// Time is cut into windows of one length. A request that comes while the fleet is busy is dispatched at the end of its window,
/// together with all others of that window: engines that stop decoding while they compute prompts then compute many at once, and
/// stop less often (docs/overload.md, "Batch windows").
///
/// ```
/// use router_core::{BatchWindow, Time};
/// use std::time::Duration;
///
/// let window = BatchWindow::new(Duration::from_millis(100)).expect("it has a length");
/// assert_eq!(window.end_after(Time::from_secs_f64(0.23)), Time::from_secs_f64(0.3));
/// assert_eq!(window.end_after(Time::from_secs_f64(0.3)), Time::from_secs_f64(0.3));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchWindow {
    nanos: u64,
}

impl BatchWindow {
    /// Windows of this length; none of no length.
    pub fn new(length: Duration) -> Option<Self> {
        let nanos = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
        (nanos > 0).then_some(Self { nanos })
    }

    /// The first end of a window that is not before `now`.
    pub fn end_after(self, now: Time) -> Time {
        Time::from_nanos(now.as_nanos().div_ceil(self.nanos).saturating_mul(self.nanos))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Route;
    use crate::testing::TestBench;

    #[test]
    fn only_prompts_for_a_busy_fleet_wait() {
        let mut bench = TestBench::new(Box::new(crate::policy::RoundRobin::default()), 2);
        let now = Time::from_secs_f64(0.23);
        let dispatch_at = |bench: &TestBench, route| bench.balancer.dispatch_at(now, route);
        bench.send_many(2);
        assert_eq!(dispatch_at(&bench, Route::ChatCompletions), None, "there is no window");
        bench.balancer.set_batch_window(BatchWindow::new(Duration::from_millis(100)));
        assert_eq!(dispatch_at(&bench, Route::ChatCompletions), Some(Time::from_secs_f64(0.3)));
        assert_eq!(dispatch_at(&bench, Route::Embeddings), None);
        let at_the_end = bench.balancer.dispatch_at(Time::from_secs_f64(0.3), Route::ChatCompletions);
        assert_eq!(at_the_end, None, "it has waited");
        bench.finish_all();
        bench.send();
        assert_eq!(dispatch_at(&bench, Route::ChatCompletions), None, "a worker is idle");
        assert_eq!(BatchWindow::new(Duration::ZERO), None);
    }
}
