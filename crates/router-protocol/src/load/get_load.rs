//! `/get_load` of SGLang: one number of tokens, or a list with an entry per data-parallel rank.

use super::figures::{LoadFigures, RankLoad, WorkerLoad};
use crate::json::{JsonReader, Parse};

/// `{"load":N}` counts tokens, not requests; later builds send a list, one entry per rank.
pub(super) fn read_get_load(r: &mut JsonReader<'_>) -> Parse<WorkerLoad> {
    if r.peek()? == b'[' {
        let mut ranks = Vec::new();
        r.elements(|r| {
            ranks.push(read_rank(r)?);
            Ok(())
        })?;
        return Ok(WorkerLoad::of_ranks(ranks));
    }
    let mut total = LoadFigures::default();
    r.fields(|key, r| {
        if key == b"load" {
            total.tokens = r.whole_number()?;
            return Ok(());
        }
        r.skip()
    })?;
    Ok(WorkerLoad { total, ranks: Vec::new() })
}

fn read_rank(r: &mut JsonReader<'_>) -> Parse<RankLoad> {
    let mut load = RankLoad::default();
    let mut requests = None;
    r.fields(|key, r| {
        match key {
            b"dp_rank" => load.rank = r.count()?.unwrap_or(0),
            b"num_reqs" => requests = r.count()?,
            b"num_waiting_reqs" => load.figures.waiting = r.count()?,
            b"num_tokens" => load.figures.tokens = r.whole_number()?,
            _ => r.skip()?,
        }
        Ok(())
    })?;
    // `num_reqs` includes the waiting ones.
    load.figures.running =
        requests.zip(load.figures.waiting).and_then(|(all, waiting)| all.checked_sub(waiting));
    Ok(load)
}
