//! What the Prometheus page of vLLM says about the server: vLLM tells the size of its cache nowhere else.

use crate::ServerInfo;
use crate::prometheus_text::{Sample, metric_name};

/// Reads the body of `/metrics`. Only the size of the cache and the time of the start are set, where it tells them.
pub fn parse_server_metrics(body: &[u8]) -> ServerInfo {
    let mut info = ServerInfo::default();
    let page = std::str::from_utf8(body).unwrap_or_default();
    for line in page.lines() {
        match metric_name(line) {
            "process_start_time_seconds" => {
                info.started_at = Sample::read(line).map(|sample| sample.value as u64)
            }
            "vllm:cache_config_info" if info.max_total_tokens.is_none() => {
                info.max_total_tokens = Sample::read(line).as_ref().and_then(cache_tokens);
            }
            _ => {}
        }
    }
    info
}

/// The tokens that fit into the cache; older versions tell blocks only.
fn cache_tokens(config: &Sample<'_>) -> Option<u64> {
    let number = |label| config.label(label)?.parse::<u64>().ok().filter(|number| *number > 0);
    number("kv_cache_size_tokens").or_else(|| number("num_gpu_blocks")?.checked_mul(number("block_size")?))
}
