//! How much room for output the scheduler reserves per request.

/// Share of the allowed output that is reserved per request at admission. It starts here, falls with each decode step and
/// returns here after a retraction. SGLang's `init_new_token_ratio`.
pub(super) const RESERVE_START: f64 = 0.7;
/// The lowest share: SGLang's factor of 0.14.
pub(super) const RESERVE_FLOOR: f64 = 0.098;
/// How much the share falls with each decode step: SGLang's 600 steps from the start to the lowest share.
pub(super) const RESERVE_DECAY: f64 = (RESERVE_START - RESERVE_FLOOR) / 600.0;
