//! vLLM's way: one worker reads the prompt and says where it keeps it, then the other one fetches it and answers.

use super::pairing::{Pairing, Reading, Try, named, undecoded, unprefilled};
use super::prefill::{self, Prefilled};
use crate::error::ProxyError;
use crate::lease::Lease;
use crate::record::Leg;
use router_core::Features;
use router_protocol::disaggregation::{kv_transfer_params, vllm_prefill_members};
use std::pin::pin;
use std::sync::Arc;
use tokio::time::sleep_until;

impl Pairing<'_> {
    /// Has the prompt read, and then the answer written by whoever fits best at that moment.
    pub(super) async fn in_turn(&self, prefill: Lease, features: &Features<'_>) -> Try {
        if self.decode.exchange.shared.healthy() == 0 {
            // Nobody would write the answer.
            return Err(self.nobody(Leg::Decode));
        }
        let worker = Arc::clone(&prefill.worker);
        let exchange = self.told(&self.prefill, vllm_prefill_members(self.prefill.exchange.route));
        let mut reading = Reading { worker, end: prefill::begin(&exchange, prefill) };
        let prefilled = match self.read(&mut reading).await {
            Ok(prefilled) => prefilled,
            Err(end) => return end,
        };
        let kept = kv_transfer_params(&prefilled.body);
        let kept = kept.and_then(|kept| std::str::from_utf8(kept).ok());
        // Of a short prompt nothing is kept; the decode worker reads it itself.
        let members: &[(&str, &str)] = &[("kv_transfer_params", kept.unwrap_or("null"))];
        let lease = self.seat(&self.decode, features)?;
        self.write(members, lease).await.map(|response| named(response, reading.worker.header.clone()))
    }

    async fn read(&self, reading: &mut Reading) -> Result<Prefilled, Try> {
        tokio::select! {
            biased;
            end = &mut reading.end => end.map_err(|end| unprefilled(end, &reading.worker)),
            failure = self.trouble(Leg::Prefill, &reading.worker) => Err(Err(failure)),
            () = sleep_until(self.prefill.exchange.deadline) => Err(Err(self.late(Leg::Prefill, &reading.worker))),
        }
    }

    async fn write(&self, members: &[(&str, &str)], lease: Lease) -> Try {
        let exchange = self.told(&self.decode, members);
        let result = {
            let mut answering = pin!(exchange.attempt(&lease));
            tokio::select! {
                biased;
                result = &mut answering => result.and_then(|answer| self.fit(answer)),
                _ = self.trouble(Leg::Decode, &lease.worker) => Err(ProxyError::Trouble),
                () = sleep_until(exchange.deadline) => Err(self.late(Leg::Decode, &lease.worker).error),
            }
        };
        match result {
            Ok(answer) => Ok(exchange.relay(answer, lease)),
            Err(error) => Err(undecoded(lease, error)),
        }
    }
}
