//! SGLang's way: both workers get the request at once and meet in a bootstrap room.

use super::super::attempt::{Answer, Tone};
use super::super::forward::Exchange;
use super::Bond;
use super::pairing::{Pairing, Try, named, undecoded, unprefilled, unread};
use super::prefill::{self, Prefilled, Reading};
use crate::error::ProxyError;
use crate::lease::Lease;
use http::{StatusCode, header};
use router_protocol::disaggregation::{BootstrapServer, LogprobsMerger, bootstrap_members, room_on_rank};
use router_telemetry::Leg;
use std::pin::pin;
use std::sync::Arc;
use tokio::time::sleep_until;

/// What the records say of a decode leg that was ended because of its prefill.
const FORSAKEN: &str = "prefill_ended";

/// How the wait for the client's first byte ended.
enum Ending {
    /// The answer begins. The prompt's own answer is here too, or still on its way.
    Begun(Answer, Option<Prefilled>),
    /// Both legs are over.
    Over(Try),
    /// The prefill leg is waited for in vain.
    Unread(ProxyError),
    /// The decode leg failed.
    Undecoded(ProxyError),
}

impl Pairing<'_> {
    /// Sends the request to both at once and answers with what the decode worker writes.
    pub(super) async fn together(&self, prefill: Lease, mut decode: Lease) -> Try {
        let worker = Arc::clone(&prefill.worker);
        let profile = worker.profile.load();
        let at = BootstrapServer { host: worker.target.authority().host(), port: profile.bootstrap_port };
        let ranks = profile.told.dp_size.map_or(1, u64::from);
        let members = bootstrap_members(at, self.rooms(), || {
            let room = self.split.rooms.next();
            self.wishes.rank.map_or(room, |rank| room_on_rank(room, rank, ranks))
        });
        let exchange = self.told(&self.decode, &members);
        let mut reading = prefill::begin(&self.with_body(&self.prefill, exchange.body.clone()), prefill);
        let (answer, prefilled) = match self.first_byte(&mut reading, &exchange, &decode).await {
            Ending::Begun(answer, prefilled) => (answer, prefilled),
            Ending::Over(end) => {
                decode.blame(FORSAKEN);
                return end;
            }
            Ending::Unread(error) => {
                decode.blame(FORSAKEN);
                return Err(unread(reading, error));
            }
            Ending::Undecoded(error) => return Err(undecoded(decode, error)),
        };
        let status = answer.parts.status;
        let events = answer.is_stream();
        let name = reading.worker.header.clone();
        let response = named(exchange.relay(answer, decode), name);
        if !status.is_success() {
            // The request is at fault, so the prompt is read for nobody.
            return Ok(response);
        }
        let logprobs = prefilled.as_ref().filter(|_| self.wishes.input_logprobs).map(Prefilled::logprobs);
        let merger = logprobs.filter(|l| !l.is_empty()).map(|logprobs| {
            if events { LogprobsMerger::for_stream(logprobs) } else { LogprobsMerger::for_response(logprobs) }
        });
        let open = if prefilled.is_none() { Some(reading.end) } else { None };
        if open.is_none() && merger.is_none() {
            return Ok(response);
        }
        let (mut parts, body) = response.into_parts();
        if merger.is_some() {
            parts.headers.remove(header::CONTENT_LENGTH);
        }
        let pool = &self.split.pool;
        let bond = Bond::new(merger, open, pool).with_parts(self.rooms().unwrap_or(1));
        Ok(http::Response::from_parts(parts, body.paired(bond)))
    }

    /// Waits until the answer begins, and where the client wants the prompt's logprobs, until the prompt is read.
    async fn first_byte(&self, reading: &mut Reading, exchange: &Exchange<'_>, decode: &Lease) -> Ending {
        let patience = self.patience();
        let mut time = pin!(sleep_until(patience.until));
        let mut answering = pin!(exchange.attempt(decode));
        let mut silent = pin!(self.trouble(Leg::Prefill, &reading.worker));
        let mut unwritten = pin!(self.trouble(Leg::Decode, &decode.worker));
        let mut prefilled = None;
        let mut answer = None;
        loop {
            tokio::select! {
                biased;
                end = &mut reading.end, if prefilled.is_none() => match end {
                    Ok(read) => prefilled = Some(read),
                    Err(end) => return Ending::Over(unprefilled(end, &reading.worker)),
                },
                result = &mut answering, if answer.is_none() => match result.and_then(|a| self.fit(a)) {
                    Ok(fit) => answer = Some(fit),
                    Err(error) => return Ending::Undecoded(error),
                },
                () = &mut silent, if prefilled.is_none() => return Ending::Unread(ProxyError::Trouble),
                () = &mut unwritten, if answer.is_none() => return Ending::Undecoded(ProxyError::Trouble),
                () = &mut time => return match prefilled {
                    None => Ending::Unread(self.late(patience)),
                    Some(_) => Ending::Undecoded(self.late(patience)),
                },
            }
            let waits = prefilled.is_none() && self.wishes.input_logprobs;
            if let Some(found) = answer.take_if(|a| !waits || !a.parts.status.is_success()) {
                return Ending::Begun(found, prefilled);
            }
        }
    }

    /// An answer that the client may get, or why it may not.
    pub(super) fn fit(&self, answer: Answer) -> Result<Answer, ProxyError> {
        match answer.tone(self.decode.exchange.route) {
            Tone::Final => Ok(answer),
            Tone::Busy => Err(ProxyError::Status(StatusCode::SERVICE_UNAVAILABLE)),
            Tone::Fault => Err(ProxyError::Status(match answer.parts.status {
                // The error stands inside a stream.
                status if status.is_success() => StatusCode::INTERNAL_SERVER_ERROR,
                status => status,
            })),
        }
    }
}
