//! `/load` of vLLM: how many requests are in flight.

use super::figures::{LoadFigures, WorkerLoad};
use crate::json::{JsonReader, Parse};

pub(super) fn read_vllm_load(r: &mut JsonReader<'_>) -> Parse<WorkerLoad> {
    let mut total = LoadFigures::default();
    r.fields(|key, r| {
        if key == b"server_load" {
            total.in_flight = r.count()?;
            return Ok(());
        }
        r.skip()
    })?;
    Ok(WorkerLoad { total, ranks: Vec::new() })
}
