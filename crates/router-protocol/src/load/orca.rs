//! Reads the `endpoint-load-metrics` response header (ORCA). vLLM sends it when the request asks for it with
//! `endpoint-load-metrics-format: TEXT` or `JSON`.

use super::figures::LoadFigures;
use crate::json::{JsonReader, Parse};

/// Reads the header's value: `TEXT named_metrics.kv_cache_usage_perc=0.4, ..` or
/// `JSON {"named_metrics": {"kv_cache_usage_perc": 0.4, ..}}`. `None` when it states no load.
///
/// ```
/// let figures = router_protocol::parse_orca("TEXT named_metrics.num_requests_waiting=3.0").unwrap();
/// assert_eq!(figures.waiting, Some(3));
/// ```
pub fn parse_orca(header_value: &str) -> Option<LoadFigures> {
    let value = header_value.trim();
    let figures = match value.split_once(' ') {
        Some(("JSON", json)) => read_json(json)?,
        Some(("TEXT", text)) => read_text(text),
        _ if value.starts_with('{') => read_json(value)?,
        _ => read_text(value),
    };
    figures.states_load().then_some(figures)
}

fn read_text(text: &str) -> LoadFigures {
    let mut figures = LoadFigures::default();
    for (name, value) in text.split(',').filter_map(|pair| pair.split_once('=')) {
        let name = name.trim();
        if let Ok(value) = value.trim().parse() {
            set(&mut figures, name.strip_prefix("named_metrics.").unwrap_or(name), value);
        }
    }
    figures
}

fn read_json(json: &str) -> Option<LoadFigures> {
    let mut figures = LoadFigures::default();
    let mut r = JsonReader::new(json.as_bytes());
    read_object(&mut figures, &mut r).ok()?;
    r.at_end().then_some(figures)
}

fn read_object(figures: &mut LoadFigures, r: &mut JsonReader<'_>) -> Parse<()> {
    r.fields(|key, r| {
        if key == b"named_metrics" {
            return r.fields(|key, r| read_metric(figures, key, r));
        }
        read_metric(figures, key, r)
    })
}

fn read_metric(figures: &mut LoadFigures, key: &[u8], r: &mut JsonReader<'_>) -> Parse<()> {
    let value = r.measure()?;
    if let (Ok(name), Some(value)) = (std::str::from_utf8(key), value) {
        set(figures, name, value);
    }
    Ok(())
}

fn set(figures: &mut LoadFigures, name: &str, value: f64) {
    if !value.is_finite() || value < 0.0 {
        return;
    }
    // The casts saturate.
    match name {
        "num_requests_waiting" => figures.waiting = Some(value as u32),
        "num_requests_running" => figures.running = Some(value as u32),
        "kv_cache_usage_perc" | "kv_cache_utilization" => figures.kv_usage = Some(value),
        _ => {}
    }
}
