//! `/v1/loads` of SGLang: one entry per data-parallel rank, each with counts, limits and running sums.

use crate::json::{Parse, Reader};
use crate::load::{LoadFigures, RankLoad, sum_ranks};

/// One entry of `loads`.
#[derive(Clone, Copy, Default)]
struct Entry {
    rank: RankLoad,
    used_tokens: Option<u64>,
    cache_hit_rate: Option<f64>,
    max_running_requests: Option<u64>,
    max_total_tokens: Option<u64>,
}

/// Reads the whole body. The oldest builds also send an `aggregate`; it is used when `loads` is not there.
pub(crate) fn read_v1_loads(r: &mut Reader<'_>) -> Parse<LoadFigures> {
    let mut entries = Vec::new();
    let mut aggregate = LoadFigures::default();
    r.fields(|key, r| {
        match key {
            b"loads" => {
                entries.clear();
                r.elements(|r| {
                    entries.push(Entry::read(r)?);
                    Ok(())
                })?;
            }
            b"aggregate" => aggregate = read_aggregate(r)?,
            _ => r.skip()?,
        }
        Ok(())
    })?;
    Ok(if entries.is_empty() { aggregate } else { sum(&entries) })
}

fn read_aggregate(r: &mut Reader<'_>) -> Parse<LoadFigures> {
    let mut facts = LoadFigures::default();
    r.fields(|key, r| {
        match key {
            b"total_running_reqs" => facts.running = r.count()?,
            b"total_waiting_reqs" => facts.waiting = r.count()?,
            b"total_reqs" => facts.in_flight = r.count()?,
            b"total_tokens" => facts.tokens = r.whole_number()?,
            b"avg_token_usage" => facts.kv_usage = r.measure()?,
            _ => r.skip()?,
        }
        Ok(())
    })?;
    Ok(facts)
}

impl Entry {
    fn read(r: &mut Reader<'_>) -> Parse<Self> {
        let mut entry = Self::default();
        r.fields(|key, r| entry.member(key, r))?;
        // Before `num_total_tokens` was added, its parts were there.
        entry.rank.tokens = entry.rank.tokens.or(entry.used_tokens);
        Ok(entry)
    }

    fn member(&mut self, key: &[u8], r: &mut Reader<'_>) -> Parse<()> {
        match key {
            b"dp_rank" => self.rank.rank = r.count()?.unwrap_or(0),
            b"num_waiting_reqs" => self.rank.waiting = r.count()?,
            b"num_running_reqs" => self.rank.running = r.count()?,
            b"num_total_tokens" => self.rank.tokens = r.whole_number()?,
            b"num_used_tokens" => self.used_tokens = r.whole_number()?,
            b"num_waiting_uncached_tokens" => self.rank.waiting_uncached_tokens = r.whole_number()?,
            b"token_usage" => self.rank.kv_usage = r.measure()?,
            b"gen_throughput" => self.rank.gen_throughput = r.measure()?,
            b"cache_hit_rate" => self.cache_hit_rate = r.measure()?,
            b"max_running_requests" => self.max_running_requests = r.whole_number()?,
            b"max_total_num_tokens" => self.max_total_tokens = r.whole_number()?,
            b"total_prefill_uncached_tokens" => self.rank.prefill_uncached_tokens = r.whole_number()?,
            b"total_prefill_busy_us" => self.rank.prefill_busy_us = r.whole_number()?,
            b"decode_moments" => self.rank.decode_moments = moments(r)?,
            _ => r.skip()?,
        }
        Ok(())
    }
}

/// Six numbers; any other list is unknown, because the meaning goes by position.
fn moments(r: &mut Reader<'_>) -> Parse<Option<[f64; 6]>> {
    let mut values = [0.0; 6];
    let mut seen = 0;
    let mut sound = true;
    r.elements(|r| {
        match (values.get_mut(seen), r.measure()?) {
            (Some(slot), Some(value)) => *slot = value,
            _ => sound = false,
        }
        seen += 1;
        Ok(())
    })?;
    Ok((sound && seen == values.len()).then_some(values))
}

fn sum(entries: &[Entry]) -> LoadFigures {
    let total = |of: fn(&Entry) -> Option<u64>| entries.iter().filter_map(of).reduce(u64::saturating_add);
    let mean = |of: fn(&Entry) -> Option<f64>| {
        let stated: Vec<f64> = entries.iter().filter_map(of).collect();
        (!stated.is_empty()).then(|| stated.iter().sum::<f64>() / entries.len() as f64)
    };
    let mut facts = LoadFigures {
        kv_usage: mean(|e| e.rank.kv_usage),
        gen_throughput: entries.iter().filter_map(|e| e.rank.gen_throughput).reduce(|a, b| a + b),
        cache_hit_rate: mean(|e| e.cache_hit_rate),
        waiting_uncached_tokens: total(|e| e.rank.waiting_uncached_tokens),
        max_running_requests: total(|e| e.max_running_requests).and_then(|n| u32::try_from(n).ok()),
        max_total_tokens: total(|e| e.max_total_tokens),
        prefill_uncached_tokens: total(|e| e.rank.prefill_uncached_tokens),
        prefill_busy_us: total(|e| e.rank.prefill_busy_us),
        decode_moments: entries.iter().filter_map(|e| e.rank.decode_moments).reduce(add_moments),
        ..LoadFigures::default()
    };
    sum_ranks(&mut facts, entries.iter().map(|e| e.rank).collect());
    facts
}

fn add_moments(mut a: [f64; 6], b: [f64; 6]) -> [f64; 6] {
    for (a, b) in a.iter_mut().zip(b) {
        *a += b;
    }
    a
}
