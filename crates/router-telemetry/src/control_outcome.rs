//! How a control call ended on one worker.

/// How a control call ended on one worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ControlOutcome {
    /// The worker did what it was asked for.
    Success,
    /// It refused, failed or did not answer.
    Failed,
}

impl ControlOutcome {
    /// The name in metrics.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failed => "failed",
        }
    }
}
