//! The share of a worker's responses that had no output.

/// How fast the share follows the responses.
const GAIN: f64 = 0.3;
/// A share so much higher than on other workers makes one suspect: two such responses in a row.
pub(super) const SUSPECT_SHARE: f64 = 0.5;

/// Share of a worker's last responses that had no output. It decays while the worker is idle, as its slowdown does, so that it
/// is tried again.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct EmptyShare(f64);

impl EmptyShare {
    /// Records a response; gives the change.
    pub(super) fn add(&mut self, is_empty: bool, idle_secs: Option<f64>, forgive_secs: f64) -> f64 {
        let share = self.after(idle_secs, forgive_secs);
        let before = std::mem::replace(&mut self.0, share + GAIN * (f64::from(u8::from(is_empty)) - share));
        self.0 - before
    }

    /// The share as last recorded.
    pub(super) const fn recorded(self) -> f64 {
        self.0
    }

    /// The share of a worker that has been idle for so long; it halves in `forgive_secs`.
    pub(super) fn after(self, idle_secs: Option<f64>, forgive_secs: f64) -> f64 {
        idle_secs.map_or(self.0, |idle| self.0 * (-idle / forgive_secs).exp2())
    }
}
