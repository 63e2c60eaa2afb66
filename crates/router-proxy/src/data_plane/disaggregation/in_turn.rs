//! vLLM's way: one worker reads the prompt and says where it keeps it, then the other one fetches it and answers.

use super::pairing::{Pairing, Try, named, undecoded, unprefilled, unread};
use super::prefill::{self, Prefilled, Reading, Unprefilled};
use crate::error::ProxyError;
use crate::lease::Lease;
use router_core::RequestFeatures;
use router_protocol::disaggregation::{kv_transfer_params, vllm_prefill_members};
use router_telemetry::Leg;
use std::pin::pin;
use std::sync::Arc;
use tokio::time::sleep_until;

impl Pairing<'_> {
    /// Has the prompt read, and then the answer written by whoever fits best at that moment.
    pub(super) async fn in_turn(&mut self, prefill: Lease, features: &RequestFeatures<'_>) -> Try {
        if self.decode.exchange.shared.healthy() == 0 {
            // Nobody would write the answer.
            return Err(self.nobody(Leg::Decode));
        }
        let exchange = self.told(&self.prefill, vllm_prefill_members(self.prefill.exchange.route));
        let mut reading = prefill::begin(&exchange, prefill);
        let worker = Arc::clone(&reading.worker);
        let prefilled = match self.read(&mut reading).await {
            Ok(Ok(prefilled)) => prefilled,
            Ok(Err(end)) => return unprefilled(end, &worker),
            Err(error) => return Err(unread(reading, error)),
        };
        let kept = kv_transfer_params(&prefilled.body);
        let kept = kept.and_then(|kept| std::str::from_utf8(kept).ok());
        // Of a short prompt nothing is kept; the decode worker reads it itself.
        let members: &[(&str, &str)] = &[("kv_transfer_params", kept.unwrap_or("null"))];
        let lease = self.seat(Leg::Decode, features).await?;
        self.write(members, lease).await.map(|response| named(response, worker.header.clone()))
    }

    /// Waits for the prompt to be read, as long as that makes sense.
    async fn read(&self, reading: &mut Reading) -> Result<Result<Prefilled, Unprefilled>, ProxyError> {
        let patience = self.patience();
        tokio::select! {
            biased;
            end = &mut reading.end => Ok(end),
            () = self.trouble(Leg::Prefill, &reading.worker) => Err(ProxyError::Trouble),
            () = sleep_until(patience.until) => Err(self.late(patience)),
        }
    }

    async fn write(&self, members: &[(&str, &str)], lease: Lease) -> Try {
        let (exchange, patience) = (self.told(&self.decode, members), self.patience());
        let result = {
            let mut answering = pin!(exchange.attempt(&lease));
            tokio::select! {
                biased;
                result = &mut answering => result.and_then(|answer| self.fit(answer)),
                () = self.trouble(Leg::Decode, &lease.worker) => Err(ProxyError::Trouble),
                () = sleep_until(patience.until) => Err(self.late(patience)),
            }
        };
        match result {
            Ok(answer) => Ok(exchange.relay(answer, lease)),
            Err(error) => Err(undecoded(lease, error)),
        }
    }
}
