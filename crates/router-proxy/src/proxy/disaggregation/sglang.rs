//! SGLang's protocol: both workers get the request at once and meet in a bootstrap room.

use super::leg::{
    DecodeError, LegResult, abandon_prefill, decode_failure, prefill_failure, with_prefill_worker,
};
use super::prefill::{self, PrefillOutput, PrefillTask};
use super::split_request::SplitRequest;
use crate::error::ProxyError;
use crate::lease::Lease;
use crate::proxy::attempt::UpstreamResponse;
use crate::proxy::request::ProxyRequest;
use crate::response::PrefillTail;
use http::header;
use router_protocol::disaggregation::{BootstrapServer, LogprobsMerger, bootstrap_members, room_on_rank};
use router_telemetry::Leg;
use std::pin::pin;
use std::sync::Arc;
use tokio::time::sleep_until;

/// What the records say of a decode leg that was ended because of its prefill.
const PREFILL_ENDED: &str = "prefill_ended";

/// How the wait for the client's first byte ended.
enum FirstByteOutcome {
    /// The response begins. The prefill worker's is here too, or still on its way.
    Started(UpstreamResponse, Option<PrefillOutput>),
    /// Both legs are over.
    Ended(LegResult),
    /// The prefill leg is no longer waited for.
    PrefillAbandoned(ProxyError),
    /// The decode leg failed.
    DecodeFailed(DecodeError),
}

impl SplitRequest<'_> {
    /// Sends the request to both workers at once, and responds with what the decode worker says.
    pub(super) async fn send_to_both(&self, prefill: Lease, mut decode: Lease) -> LegResult {
        let candidate = Arc::clone(&prefill.candidate);
        let worker = &candidate.worker;
        let profile = worker.profile.load();
        let at = BootstrapServer { host: worker.target.authority().host(), port: profile.bootstrap_port };
        let ranks = profile.reported.dp_size.map_or(1, u64::from);
        let members = bootstrap_members(at, self.rooms(), || {
            let room = self.split.rooms.next();
            self.options.rank.map_or(room, |rank| room_on_rank(room, rank, ranks))
        });
        let request = self.with_members(&self.decode, members).await;
        let mut task = prefill::start(&self.with_body(&self.prefill, request.body.clone()), prefill).await;
        let (response, output) = match self.first_byte(&mut task, &request, &decode).await {
            FirstByteOutcome::Started(response, output) => (response, output),
            FirstByteOutcome::Ended(result) => {
                decode.set_error(PREFILL_ENDED);
                return result;
            }
            FirstByteOutcome::PrefillAbandoned(error) => {
                decode.set_error(PREFILL_ENDED);
                return Err(abandon_prefill(task, error));
            }
            FirstByteOutcome::DecodeFailed(error) => return Err(decode_failure(decode, error).await),
        };
        let status = response.parts.status;
        let is_stream = response.is_stream();
        let name = task.candidate.header.clone();
        let response = with_prefill_worker(request.forward_response(response, decode), name);
        if !status.is_success() {
            // The request is at fault: dropping the task cancels the prefill.
            return Ok(response);
        }
        let logprobs = output.as_ref().filter(|_| self.options.input_logprobs).map(PrefillOutput::logprobs);
        let merger = logprobs.filter(|l| !l.is_empty()).map(|logprobs| {
            if is_stream {
                LogprobsMerger::for_stream(logprobs)
            } else {
                LogprobsMerger::for_response(logprobs)
            }
        });
        let running = if output.is_none() { Some(task.into_running()) } else { None };
        if running.is_none() && merger.is_none() {
            return Ok(response);
        }
        let (mut parts, body) = response.into_parts();
        if merger.is_some() {
            parts.headers.remove(header::CONTENT_LENGTH);
        }
        let tail = PrefillTail::new(merger, running, &self.split.pool, self.rooms().unwrap_or(1));
        Ok(http::Response::from_parts(parts, body.tied_to(tail)))
    }

    /// Waits until the response begins and, where the client wants the prompt's logprobs, until the prefill has ended.
    async fn first_byte(
        &self,
        task: &mut PrefillTask,
        request: &ProxyRequest<'_>,
        decode: &Lease,
    ) -> FirstByteOutcome {
        let deadline = self.first_byte_deadline();
        let mut timeout = pin!(sleep_until(deadline.until));
        let mut attempt = pin!(request.attempt(decode));
        let mut prefill_evicted = pin!(self.evicted(Leg::Prefill, &task.candidate));
        let mut decode_evicted = pin!(self.evicted(Leg::Decode, &decode.candidate));
        let mut output = None;
        let mut response = None;
        loop {
            tokio::select! {
                biased;
                end = &mut task.output, if output.is_none() => match end {
                    Ok(prefilled) => output = Some(prefilled),
                    Err(error) => {
                        return FirstByteOutcome::Ended(prefill_failure(error, &task.candidate));
                    }
                },
                result = &mut attempt, if response.is_none() => {
                    match result.map_err(DecodeError::from).and_then(|r| self.check_response(r)) {
                        Ok(found) => response = Some(found),
                        Err(error) => return FirstByteOutcome::DecodeFailed(error),
                    }
                }
                () = &mut prefill_evicted, if output.is_none() => {
                    return FirstByteOutcome::PrefillAbandoned(ProxyError::WorkerUnhealthy);
                }
                () = &mut decode_evicted, if response.is_none() => {
                    return FirstByteOutcome::DecodeFailed(ProxyError::WorkerUnhealthy.into());
                }
                () = &mut timeout => return match output {
                    None => FirstByteOutcome::PrefillAbandoned(deadline.error()),
                    Some(_) => FirstByteOutcome::DecodeFailed(deadline.error().into()),
                },
            }
            let waits_for_prefill = output.is_none() && self.options.input_logprobs;
            if let Some(found) = response.take_if(|r| !waits_for_prefill || !r.parts.status.is_success()) {
                return FirstByteOutcome::Started(found, output);
            }
        }
    }
}
