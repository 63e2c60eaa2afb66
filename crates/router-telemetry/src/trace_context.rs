//! The place of a request in a distributed trace, as W3C Trace Context writes it in headers.
//!
//! It is made here because the worker must be told of it; the spans themselves are made from records, elsewhere.
//! <https://www.w3.org/TR/trace-context/>

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use router_core::Rng;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::num::{NonZeroU64, NonZeroU128};
use std::sync::atomic::{AtomicU64, Ordering};

/// The header that names a trace and the sender's span in it.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// What other tracing systems add to it; it belongs to the trace and travels unchanged.
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Version, trace id, span id and flags in hexadecimal, joined by dashes.
const LEN: usize = 2 + 1 + 32 + 1 + 16 + 1 + 2;

/// The flag of traces that somebody records.
const SAMPLED: u8 = 1;

/// The place of one request in a trace that is recorded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TraceContext {
    /// The whole trace, from the first client on.
    pub trace_id: NonZeroU128,
    /// The caller's span; absent when the trace begins here.
    pub parent_span: Option<NonZeroU64>,
    /// The request's own span.
    pub request_span: NonZeroU64,
}

impl TraceContext {
    /// The span of one attempt. It follows from the request's, so nothing has to be kept for it.
    pub fn attempt_span(&self, number: u32) -> NonZeroU64 {
        id(Rng::seeded(self.request_span.get().wrapping_add(u64::from(number))).next_u64())
    }

    /// The `traceparent` that a worker gets: its parent is the attempt.
    pub fn traceparent(&self, attempt: u32) -> HeaderValue {
        let mut text = Vec::with_capacity(LEN);
        text.extend_from_slice(b"00-");
        hex(&self.trace_id.get().to_be_bytes(), &mut text);
        text.push(b'-');
        hex(&self.attempt_span(attempt).get().to_be_bytes(), &mut text);
        text.extend_from_slice(b"-01");
        // Digits and dashes are always a valid value.
        HeaderValue::from_maybe_shared(Bytes::from(text)).unwrap_or(HeaderValue::from_static(""))
    }
}

/// Makes ids that no other router makes.
#[derive(Debug)]
pub struct TraceIds {
    /// A trace id takes two seeds, because 64 bits of chance are too few for all routers of a company together.
    seeds: [u64; 3],
    count: AtomicU64,
}

impl Default for TraceIds {
    fn default() -> Self {
        Self::new()
    }
}

impl TraceIds {
    /// Seeds from the operating system.
    pub fn new() -> Self {
        // The standard library's hasher is seeded by the operating system, and differently each time.
        Self { seeds: [(); 3].map(|()| RandomState::new().build_hasher().finish()), count: AtomicU64::new(0) }
    }

    /// The place of a request with these headers.
    ///
    /// Its caller's trace goes on where there is one, and nothing is recorded where the caller decided so; then the
    /// headers pass as they are. A header that breaks the rules is none, and its `tracestate` goes with it, as the
    /// recommendation demands (section 4.3).
    pub fn start_request(&self, headers: &mut HeaderMap) -> Option<TraceContext> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let caller = values.next().and_then(parse).filter(|_| values.next().is_none());
        let n = self.count.fetch_add(1, Ordering::Relaxed);
        let [high, low, span] = self.seeds.map(|seed| spread(seed, n));
        let request_span = id(span);
        if let Some(caller) = caller {
            let context =
                TraceContext { trace_id: caller.trace, parent_span: Some(caller.span), request_span };
            return (caller.flags & SAMPLED != 0).then_some(context);
        }
        headers.remove(TRACESTATE);
        let trace = (u128::from(high) << 64) | u128::from(low);
        Some(TraceContext {
            trace_id: NonZeroU128::new(trace).unwrap_or(NonZeroU128::MIN),
            parent_span: None,
            request_span,
        })
    }
}

/// What a caller says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Caller {
    trace: NonZeroU128,
    span: NonZeroU64,
    flags: u8,
}

/// The `n`th id of a seed: all differ, because the generator's step is a permutation.
fn spread(seed: u64, n: u64) -> u64 {
    Rng::seeded(seed.wrapping_add(n.wrapping_mul(0x9E37_79B9_7F4A_7C15))).next_u64()
}

/// Zero is not an id; once in 2^64 two spans share one.
fn id(bits: u64) -> NonZeroU64 {
    NonZeroU64::new(bits).unwrap_or(NonZeroU64::MIN)
}

fn hex(bytes: &[u8], to: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        to.extend([DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}

/// Section 3.2 of the recommendation: version 00 has exactly these four fields, a later one may add to them.
fn parse(value: &HeaderValue) -> Option<Caller> {
    let (text, rest) = value.as_bytes().split_at_checked(LEN)?;
    let mut fields = text.split(|b| *b == b'-');
    let version = number(fields.next()?, 2)?;
    let trace = NonZeroU128::new(number(fields.next()?, 32)?)?;
    let span = NonZeroU64::new(u64::try_from(number(fields.next()?, 16)?).ok()?)?;
    let flags = u8::try_from(number(fields.next()?, 2)?).ok()?;
    let ends = match version {
        0 => rest.is_empty(),
        0xff => false,
        _ => rest.first().is_none_or(|b| *b == b'-'),
    };
    ends.then_some(Caller { trace, span, flags })
}

/// A number of exactly `digits` hexadecimal digits; capitals are against the rules.
fn number(text: &[u8], digits: usize) -> Option<u128> {
    if text.len() != digits {
        return None;
    }
    text.iter().try_fold(0, |number, byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        Some((number << 4) | u128::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(traceparents: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(TRACESTATE, HeaderValue::from_static("vendor=1"));
        for value in traceparents {
            headers.append(TRACEPARENT, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn a_callers_trace_goes_on() {
        let ids = TraceIds::new();
        let later = VALID.replacen("00", "cc", 1) + "-what-the-future-brings";
        for value in [VALID, &VALID.replacen("00", "01", 1), &later, &VALID.replace("-01", "-ff")] {
            let mut headers = headers(&[value]);
            let context = ids.start_request(&mut headers).unwrap();
            assert_eq!(context.trace_id.get(), 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736, "{value}");
            assert_eq!(context.parent_span.map(NonZeroU64::get), Some(0x00f0_67aa_0ba9_02b7), "{value}");
            assert_eq!(headers[TRACESTATE], "vendor=1");
            let sent = context.traceparent(1);
            let caller = parse(&sent).unwrap();
            assert_eq!(
                (caller.trace, caller.span, caller.flags),
                (context.trace_id, context.attempt_span(1), SAMPLED)
            );
        }
    }

    #[test]
    fn a_caller_that_does_not_record_is_obeyed() {
        let mut headers = headers(&[&VALID.replace("-01", "-00")]);
        assert_eq!(TraceIds::new().start_request(&mut headers), None);
        assert_eq!((headers.len(), headers[TRACESTATE].as_bytes()), (2, &b"vendor=1"[..]));
    }

    #[test]
    fn what_breaks_the_rules_is_no_caller() {
        let upper = VALID.to_uppercase();
        let broken: &[&[&str]] = &[
            &[],
            &[VALID, VALID],
            &[""],
            &["00"],
            &[&VALID[..54]],
            &[&VALID.replacen("00", "ff", 1)],
            &[&format!("{VALID}-00")],
            &[&format!("{}x", VALID.replacen("00", "01", 1))],
            &[&upper],
            &["00-00000000000000000000000000000000-00f067aa0ba902b7-01"],
            &["00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"],
            &["00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01"],
            &["00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01"],
            &["00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"],
            &["00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01"],
        ];
        for values in broken {
            let mut headers = headers(values);
            let context = TraceIds::new().start_request(&mut headers).unwrap();
            assert_eq!(context.parent_span, None, "{values:?}");
            assert!(!headers.contains_key(TRACESTATE), "{values:?}");
        }
    }

    #[test]
    fn all_ids_differ() {
        let ids = TraceIds::new();
        let contexts: Vec<_> = (0..10_000).filter_map(|_| ids.start_request(&mut HeaderMap::new())).collect();
        let traces: HashSet<_> = contexts.iter().map(|c| c.trace_id).collect();
        let spans: HashSet<_> = contexts
            .iter()
            .flat_map(|c| [c.request_span, c.attempt_span(0), c.attempt_span(1), c.attempt_span(2)])
            .collect();
        assert_eq!((traces.len(), spans.len()), (10_000, 40_000));
    }
}
