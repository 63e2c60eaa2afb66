//! What makes two runs not comparable. Each warning names the reason and the figures.

use super::pairs::{ComparedRun, Pair, matched, other_lengths};
use crate::run::{FileKind, RecordedRequest, RecordedRun};
use router_core::quantile;
use std::collections::BTreeSet;

/// The part of a run that shows whether its caches were warm when it began: later, a run fills them itself.
const FIRST_PART: f64 = 0.1;
/// The least number of requests with cached tokens in that part.
const MIN_FIRST: usize = 10;
/// A difference of the cached shares that is more than chance.
const MAX_CACHED_DIFFERENCE: f64 = 0.05;
/// Seconds by which planned arrivals may differ.
const SAME_ARRIVAL: f64 = 0.001;
/// The share of the requests that may differ in a plan or a length.
const MAX_DIFFERING: f64 = 0.01;
/// The share of the answers that may have another length: models do not answer alike.
const MAX_OTHER_ANSWERS: f64 = 0.05;
/// The difference of two durations that is more than chance.
const MAX_DURATION: f64 = 1.2;
/// The difference of the shares of failures that changes what latencies mean.
const MAX_FAILURES: f64 = 0.01;
/// The 99th percentile of lateness from which `sgl-router send` warns, in seconds.
const MAX_LATENESS: f64 = 0.005;
/// How many workers a warning names.
const MAX_NAMED: usize = 3;

/// What makes the two runs not comparable.
pub(super) fn warnings(a: &ComparedRun<'_>, b: &ComparedRun<'_>) -> Vec<String> {
    let pairs = matched(&a.requests, &b.requests);
    let mut all: Vec<String> = Vec::new();
    all.extend(other_lengths_planned(&pairs));
    all.extend(other_numbers(a, b));
    all.extend(other_arrivals(a.run.kind, &pairs));
    all.extend(other_answers(&pairs));
    all.extend(warm_caches(a, b));
    all.extend([a, b].into_iter().filter_map(late_sender));
    all.extend(other_fleet(a.run, b.run));
    all.extend(other_durations(a.run, b.run));
    all.extend(other_failures(a, b));
    all
}

fn other_lengths_planned(pairs: &[Pair<'_>]) -> Option<String> {
    let share = other_lengths(pairs).filter(|share| *share > MAX_DIFFERING)?;
    Some(format!(
        "Another load: {:.0} % of the {} requests with the same number have other planned lengths, as with another --seed.",
        share * 100.0,
        pairs.len()
    ))
}

fn other_numbers(a: &ComparedRun<'_>, b: &ComparedRun<'_>) -> Option<String> {
    let (in_a, in_b) = (a.requests.len(), b.requests.len());
    let more = in_a.max(in_b) as f64 / in_a.min(in_b).max(1) as f64 - 1.0;
    (more > MAX_DIFFERING)
        .then(|| format!("Other numbers of requests: {in_a} in {}, {in_b} in {}.", a.name(), b.name()))
}

/// A recorder sees when requests come, not when they were planned.
fn other_arrivals(kind: FileKind, pairs: &[Pair<'_>]) -> Option<String> {
    if kind != FileKind::Client {
        return None;
    }
    let apart = |(a, b): &Pair<'_>| Some((b.start? - a.start?).abs());
    let known: Vec<f64> = pairs.iter().filter_map(apart).collect();
    let differing = known.iter().filter(|apart| **apart > SAME_ARRIVAL).count();
    let largest = known.iter().copied().fold(0.0, f64::max);
    (differing as f64 > MAX_DIFFERING * known.len() as f64).then(|| {
        format!(
            "Other arrivals: {differing} of {} requests were planned for another time, by up to {largest:.3} s, as with \
             another --request-rate or --seed.",
            known.len()
        )
    })
}

fn other_answers(pairs: &[Pair<'_>]) -> Option<String> {
    let known: Vec<(f64, f64)> = pairs
        .iter()
        .filter(|(a, b)| a.ok && b.ok && a.planned == b.planned)
        .filter_map(|(a, b)| Some((a.output_tokens?, b.output_tokens?)))
        .collect();
    let differing = known.iter().filter(|(a, b)| a != b).count();
    let mean = |of: fn(&(f64, f64)) -> f64| known.iter().map(of).sum::<f64>() / known.len().max(1) as f64;
    (differing as f64 > MAX_OTHER_ANSWERS * known.len() as f64).then(|| {
        format!(
            "Other answers: {differing} of {} requests have answers of other lengths, {:.1} and {:.1} tokens on average.",
            known.len(),
            mean(|(a, _)| *a),
            mean(|(_, b)| *b)
        )
    })
}

/// The share of the prompt tokens of the first requests that were in a cache.
fn cached_at_first(requests: &[RecordedRequest]) -> Option<(f64, usize)> {
    let first = ((requests.len() as f64 * FIRST_PART) as usize).max(MIN_FIRST).min(requests.len());
    let known: Vec<(f64, f64)> =
        requests[..first].iter().filter_map(|r| Some((r.cached_tokens?, r.prompt_tokens?))).collect();
    let prompt: f64 = known.iter().map(|(_, prompt)| prompt).sum();
    let cached: f64 = known.iter().map(|(cached, _)| cached).sum();
    (known.len() >= MIN_FIRST && prompt > 0.0).then(|| (cached / prompt, known.len()))
}

fn warm_caches(a: &ComparedRun<'_>, b: &ComparedRun<'_>) -> Option<String> {
    let ((of_a, _), (of_b, n)) = (cached_at_first(&a.requests)?, cached_at_first(&b.requests)?);
    if (of_b - of_a).abs() <= MAX_CACHED_DIFFERENCE {
        return None;
    }
    let (warm, cold) = if of_b > of_a { (b, a) } else { (a, b) };
    let after = cold.run.period().zip(warm.run.period()).map(|((_, ended), (began, _))| began - ended);
    let shared = workers(a.run).intersection(&workers(b.run)).count();
    let order = match after {
        Some(after) if after >= 0.0 && shared > 0 => format!(
            " {} began {after:.0} s after the end of {}, on {shared} of the same workers.",
            warm.name(),
            cold.name()
        ),
        _ => String::new(),
    };
    Some(format!(
        "Caches that were warm: of the first {n} requests' prompt tokens {:.0} % were cached in {}, {:.0} % in {}.{order}",
        of_a * 100.0,
        a.name(),
        of_b * 100.0,
        b.name()
    ))
}

fn late_sender(of: &ComparedRun<'_>) -> Option<String> {
    let mut lateness: Vec<f64> = of.requests.iter().filter_map(|request| request.lateness).collect();
    lateness.sort_unstable_by(f64::total_cmp);
    let p99 = quantile(&lateness, 0.99).filter(|p99| *p99 > MAX_LATENESS)?;
    Some(format!(
        "A late sender: in {} 1 % of the requests were sent {:.1} ms after their planned arrival or later.",
        of.name(),
        p99 * 1e3
    ))
}

/// The workers that ended requests.
fn workers(run: &RecordedRun) -> BTreeSet<&str> {
    let names = run.workers.as_slice();
    run.requests.iter().filter_map(|request| Some(names[request.worker? as usize].as_str())).collect()
}

fn other_fleet(a: &RecordedRun, b: &RecordedRun) -> Option<String> {
    let (of_a, of_b) = (workers(a), workers(b));
    if of_a == of_b || of_a.is_empty() || of_b.is_empty() {
        return None;
    }
    let only = |run: &RecordedRun, own: &BTreeSet<&str>, other: &BTreeSet<&str>| {
        let only: Vec<&str> = own.difference(other).copied().collect();
        let named = only.iter().take(MAX_NAMED).copied().collect::<Vec<_>>().join(", ");
        let more = only.len().saturating_sub(MAX_NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        (!only.is_empty()).then(|| format!(" Only in {}: {named}{more}.", run.name))
    };
    Some(format!(
        "Other workers: {} answered in {}, {} in {}.{}{}",
        of_a.len(),
        a.name,
        of_b.len(),
        b.name,
        only(a, &of_a, &of_b).unwrap_or_default(),
        only(b, &of_b, &of_a).unwrap_or_default()
    ))
}

fn other_durations(a: &RecordedRun, b: &RecordedRun) -> Option<String> {
    let duration = |run: &RecordedRun| {
        let times = || run.requests.iter().flat_map(|r| [r.start, r.end]).flatten();
        Some(times().reduce(f64::max)? - times().reduce(f64::min)?)
    };
    let (of_a, of_b) = (duration(a)?, duration(b)?);
    let ratio = of_a.max(of_b) / of_a.min(of_b).max(1e-9);
    (ratio > MAX_DURATION)
        .then(|| format!("Other durations: {of_a:.1} s in {}, {of_b:.1} s in {}.", a.name, b.name))
}

fn other_failures(a: &ComparedRun<'_>, b: &ComparedRun<'_>) -> Option<String> {
    let failed = |of: &ComparedRun<'_>| of.requests.iter().filter(|request| !request.ok).count();
    let share = |of: &ComparedRun<'_>| failed(of) as f64 / of.requests.len().max(1) as f64;
    ((share(a) - share(b)).abs() > MAX_FAILURES).then(|| {
        format!(
            "Other failures: {} of {} requests failed in {}, {} of {} in {}; latencies are those of the others.",
            failed(a),
            a.requests.len(),
            a.name(),
            failed(b),
            b.requests.len(),
            b.name()
        )
    })
}
