//! What requests read on their way and what may change while the router runs.

use crate::hedge_delay::HedgeDelay;
use router_config::{RequestLimits, RetryConfig};
use router_core::PolicyNeeds;
use std::sync::Arc;

/// What requests read on their way and what may change while the router runs. All of it changes in one step; a request may read
/// it before and after.
#[derive(Clone, Debug)]
pub(crate) struct LiveSettings {
    /// What the policies of all pools want to know of a request.
    pub(crate) needs: PolicyNeeds,
    pub(crate) limits: RequestLimits,
    pub(crate) retry: RetryConfig,
    /// When hedges are sent; never when absent.
    pub(crate) hedging: Option<Arc<HedgeDelay>>,
}

impl LiveSettings {
    pub(crate) fn new(needs: PolicyNeeds, limits: RequestLimits, retry: RetryConfig) -> Self {
        let hedging = retry.hedge.map(|after| Arc::new(HedgeDelay::new(after)));
        Self { needs, limits, retry, hedging }
    }
}
