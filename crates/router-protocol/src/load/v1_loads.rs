//! `/v1/loads` of SGLang: one entry per data-parallel rank, each with counts and running sums.

use super::figures::{LoadFigures, RankLoad, WorkerLoad};
use crate::json::{JsonReader, Parse};

/// Reads the whole body. The oldest builds also send an `aggregate`; it is used when `loads` is not there.
pub(super) fn read_v1_loads(r: &mut JsonReader<'_>) -> Parse<WorkerLoad> {
    let mut ranks = Vec::new();
    let mut aggregate = LoadFigures::default();
    r.fields(|key, r| {
        match key {
            b"loads" => {
                ranks.clear();
                r.elements(|r| {
                    ranks.push(read_rank(r)?);
                    Ok(())
                })?;
            }
            b"aggregate" => aggregate = read_aggregate(r)?,
            _ => r.skip()?,
        }
        Ok(())
    })?;
    Ok(if ranks.is_empty() { WorkerLoad { total: aggregate, ranks } } else { WorkerLoad::of_ranks(ranks) })
}

fn read_aggregate(r: &mut JsonReader<'_>) -> Parse<LoadFigures> {
    let mut total = LoadFigures::default();
    r.fields(|key, r| {
        match key {
            b"total_running_reqs" => total.running = r.count()?,
            b"total_waiting_reqs" => total.waiting = r.count()?,
            b"total_reqs" => total.in_flight = r.count()?,
            b"total_tokens" => total.tokens = r.whole_number()?,
            b"avg_token_usage" => total.kv_usage = r.measure()?,
            _ => r.skip()?,
        }
        Ok(())
    })?;
    Ok(total)
}

fn read_rank(r: &mut JsonReader<'_>) -> Parse<RankLoad> {
    let mut load = RankLoad::default();
    let mut used_tokens = None;
    let figures = &mut load.figures;
    r.fields(|key, r| {
        match key {
            b"dp_rank" => load.rank = r.count()?.unwrap_or(0),
            b"num_waiting_reqs" => figures.waiting = r.count()?,
            b"num_running_reqs" => figures.running = r.count()?,
            b"num_total_tokens" => figures.tokens = r.whole_number()?,
            b"num_used_tokens" => used_tokens = r.whole_number()?,
            b"num_waiting_uncached_tokens" => figures.waiting_uncached_tokens = r.whole_number()?,
            b"token_usage" => figures.kv_usage = r.measure()?,
            b"gen_throughput" => figures.gen_throughput = r.measure()?,
            b"total_prefill_uncached_tokens" => figures.prefill_uncached_tokens = r.whole_number()?,
            b"total_prefill_busy_us" => figures.prefill_busy_us = r.whole_number()?,
            b"decode_moments" => figures.decode_moments = read_moments(r)?,
            _ => r.skip()?,
        }
        Ok(())
    })?;
    // Builds without `num_total_tokens` send one of its parts.
    figures.tokens = figures.tokens.or(used_tokens);
    Ok(load)
}

/// Six numbers; any other list is unknown, because the meaning goes by position.
fn read_moments(r: &mut JsonReader<'_>) -> Parse<Option<[f64; 6]>> {
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
