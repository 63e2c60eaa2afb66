//! vLLM's protocol: the prefill worker says where it keeps the prompt's KV cache, then the decode worker fetches it.

use super::leg::{
    DecodeError, LegResult, abandon_prefill, decode_failure, prefill_failure, with_prefill_worker,
};
use super::prefill::{self, PrefillError, PrefillOutput, PrefillTask};
use super::split_request::SplitRequest;
use crate::error::ProxyError;
use crate::lease::Lease;
use router_core::RequestFeatures;
use router_protocol::disaggregation::{kv_transfer_params, vllm_prefill_members};
use router_telemetry::Leg;
use std::pin::pin;
use std::sync::Arc;
use tokio::time::sleep_until;

impl SplitRequest<'_> {
    /// Sends the request to the prefill worker, and then to the decode worker that is best at that moment.
    pub(super) async fn send_in_turn(&mut self, prefill: Lease, features: &RequestFeatures<'_>) -> LegResult {
        if self.decode.request.pool.healthy() == 0 {
            // No worker would decode.
            return Err(self.no_worker(Leg::Decode));
        }
        let request =
            self.with_members(&self.prefill, vllm_prefill_members(self.prefill.request.origin.route)).await;
        let mut task = prefill::start(&request, prefill).await;
        let candidate = Arc::clone(&task.candidate);
        let output = match self.wait_for_prefill(&mut task).await {
            Ok(Ok(output)) => output,
            Ok(Err(error)) => return prefill_failure(error, &candidate),
            Err(error) => return Err(abandon_prefill(task, error)),
        };
        let params = kv_transfer_params(&output.body);
        let params = params.and_then(|params| std::str::from_utf8(params).ok());
        // Nothing is kept of a short prompt; the decode worker prefills it itself.
        let members = [("kv_transfer_params", params.unwrap_or("null").to_owned())];
        let lease = self.dispatch(Leg::Decode, features).await?;
        let response = self.send_to_decode(members, lease).await?;
        Ok(with_prefill_worker(response, candidate.header.clone()))
    }

    /// Waits for the prefill to end, as long as that makes sense.
    async fn wait_for_prefill(
        &self,
        task: &mut PrefillTask,
    ) -> Result<Result<PrefillOutput, PrefillError>, ProxyError> {
        let deadline = self.first_byte_deadline();
        tokio::select! {
            biased;
            end = &mut task.output => Ok(end),
            () = self.evicted(Leg::Prefill, &task.candidate) => Err(ProxyError::WorkerUnhealthy),
            () = sleep_until(deadline.until) => Err(deadline.error()),
        }
    }

    async fn send_to_decode(&self, members: [(&'static str, String); 1], lease: Lease) -> LegResult {
        let (request, deadline) =
            (self.with_members(&self.decode, members).await, self.first_byte_deadline());
        let result = {
            let mut attempt = pin!(request.attempt(&lease));
            tokio::select! {
                biased;
                result = &mut attempt => result.map_err(DecodeError::from).and_then(|r| self.check_response(r)),
                () = self.evicted(Leg::Decode, &lease.candidate) => Err(ProxyError::WorkerUnhealthy.into()),
                () = sleep_until(deadline.until) => Err(deadline.error().into()),
            }
        };
        match result {
            Ok(response) => Ok(request.forward_response(response, lease)),
            Err(error) => Err(decode_failure(lease, error).await),
        }
    }
}
