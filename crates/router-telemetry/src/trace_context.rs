//! The place of a request in a distributed trace, and its header `traceparent` (W3C Trace Context).
//!
//! Ids are made when the request comes in, because the worker gets them in its headers; spans are built from records later.
//! <https://www.w3.org/TR/trace-context/>
//!
//! The propagator of opentelemetry_sdk is not used: on each request it copies the header into a `String`, parses `tracestate` as
//! well, and builds a `Context`; this reads 55 bytes in place, and `tracestate` goes on byte for byte.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use router_core::Rng;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::num::{NonZeroU64, NonZeroU128};
use std::sync::atomic::{AtomicU64, Ordering};

/// The header that names a trace and the sender's span in it.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The header that vendors add to a trace. It belongs to the trace and is forwarded unchanged.
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Version, trace id, span id and flags in hexadecimal, joined by dashes.
const LEN: usize = 2 + 1 + 32 + 1 + 16 + 1 + 2;

/// The flag of traces that the caller records.
const SAMPLED: u8 = 1;

/// The place of one request in a sampled trace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TraceContext {
    /// The id of the trace.
    pub trace_id: NonZeroU128,
    /// The caller's span; none when the trace starts here.
    pub parent_span: Option<NonZeroU64>,
    /// The span of the request.
    pub request_span: NonZeroU64,
}

impl TraceContext {
    /// The span of one attempt. It is computed from the request's span, so it need not be stored.
    pub fn attempt_span(&self, number: u32) -> NonZeroU64 {
        span_id(Rng::seeded(self.request_span.get().wrapping_add(u64::from(number))).next_u64())
    }

    /// The `traceparent` that a worker gets; its parent id is the span of the attempt.
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

/// Generates trace and span ids that are unique across routers.
#[derive(Debug)]
pub struct TraceIds {
    /// A trace id takes two seeds, because 64 random bits are too few for many routers together.
    seeds: [u64; 3],
    count: AtomicU64,
}

impl Default for TraceIds {
    fn default() -> Self {
        Self::new()
    }
}

impl TraceIds {
    /// A generator with random seeds.
    pub fn new() -> Self {
        Self { seeds: [(); 3].map(|()| random_seed()), count: AtomicU64::new(0) }
    }

    /// The context of a request with these headers; none if the caller's trace is not sampled.
    ///
    /// A valid `traceparent` is continued and the headers stay as they are. An invalid one is ignored, a new trace starts,
    /// and `tracestate` is removed, as section 4.3 of the recommendation demands.
    pub fn start_request(&self, headers: &mut HeaderMap) -> Option<TraceContext> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let parent = values.next().and_then(parse).filter(|_| values.next().is_none());
        let n = self.count.fetch_add(1, Ordering::Relaxed);
        let [high, low, span] = self.seeds.map(|seed| spread(seed, n));
        let request_span = span_id(span);
        if let Some(parent) = parent {
            let context =
                TraceContext { trace_id: parent.trace, parent_span: Some(parent.span), request_span };
            return (parent.flags & SAMPLED != 0).then_some(context);
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

/// A seed that differs each time, across processes and machines.
pub fn random_seed() -> u64 {
    // The standard library's hasher is seeded by the operating system.
    RandomState::new().build_hasher().finish()
}

/// A parsed `traceparent`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct ParentContext {
    trace: NonZeroU128,
    span: NonZeroU64,
    flags: u8,
}

/// The `n`th id of a seed. All differ, because one step of the generator is a permutation.
fn spread(seed: u64, n: u64) -> u64 {
    Rng::seeded(seed.wrapping_add(n.wrapping_mul(0x9E37_79B9_7F4A_7C15))).next_u64()
}

/// A span id of these bits. Zero is not a valid id and is replaced by one.
fn span_id(bits: u64) -> NonZeroU64 {
    NonZeroU64::new(bits).unwrap_or(NonZeroU64::MIN)
}

fn hex(bytes: &[u8], to: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        to.extend([DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}

/// Section 3.2 of the recommendation: version 00 has exactly these four fields, later versions may add more.
fn parse(value: &HeaderValue) -> Option<ParentContext> {
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
    ends.then_some(ParentContext { trace, span, flags })
}

/// A number of exactly `digits` lower-case hexadecimal digits; upper case is invalid.
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
    fn valid_traceparent_is_continued() {
        let ids = TraceIds::new();
        let later = VALID.replacen("00", "cc", 1) + "-more-fields";
        for value in [VALID, &VALID.replacen("00", "01", 1), &later, &VALID.replace("-01", "-ff")] {
            let mut headers = headers(&[value]);
            let context = ids.start_request(&mut headers).unwrap();
            assert_eq!(context.trace_id.get(), 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736, "{value}");
            assert_eq!(context.parent_span.map(NonZeroU64::get), Some(0x00f0_67aa_0ba9_02b7), "{value}");
            assert_eq!(headers[TRACESTATE], "vendor=1");
            let sent = context.traceparent(1);
            let parent = parse(&sent).unwrap();
            assert_eq!(
                (parent.trace, parent.span, parent.flags),
                (context.trace_id, context.attempt_span(1), SAMPLED)
            );
        }
    }

    #[test]
    fn unsampled_trace_makes_no_context() {
        let mut headers = headers(&[&VALID.replace("-01", "-00")]);
        assert_eq!(TraceIds::new().start_request(&mut headers), None);
        assert_eq!((headers.len(), headers[TRACESTATE].as_bytes()), (2, &b"vendor=1"[..]));
    }

    #[test]
    fn invalid_traceparent_is_ignored() {
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
    fn generated_ids_are_unique() {
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
