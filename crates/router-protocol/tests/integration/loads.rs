//! Load reports of every engine and generation, and the identity endpoints.

use router_core::{LoadSource, Time};
use router_protocol::{
    LoadEndpoint, LoadFigures, LoadParseError, ServerInfo, parse_load, parse_orca, parse_server_info,
    parse_server_metrics,
};

/// The total that a captured body states. One engine without data-parallel ranks wrote each of them.
fn load(endpoint: LoadEndpoint, name: &str) -> LoadFigures {
    let load = parse_load(endpoint, &crate::support::body(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    assert!(load.ranks.is_empty(), "one rank is the whole");
    load.total
}

#[test]
fn v1_loads_of_busy_server() {
    let f = load(LoadEndpoint::V1Loads, "sglang-0.5.23-metrics/load_poll_004_v1_loads");
    assert_eq!((f.waiting, f.running, f.tokens), (Some(12), Some(4), Some(928)));
    assert_eq!((f.kv_usage, f.gen_throughput), (Some(0.0302), Some(901.25)));
    assert_eq!((f.prefill_uncached_tokens, f.prefill_busy_us), (Some(392), Some(245_077)));
    assert_eq!(f.decode_moments, Some([3890.0, 4670.0, 7_974_563.0, 7734.0, 10_456_290.0, 4670.0]));
    let report = f.report(Time::from_nanos(5), LoadSource::Poll);
    assert_eq!((report.at, report.waiting, report.running), (Time::from_nanos(5), Some(12), Some(4)));
    assert_eq!((report.tokens, report.kv_usage), (Some(928), Some(0.0302)));
    assert_eq!(report.waiting_tokens, Some(182));
}

#[test]
fn idle_is_zero_and_absent_is_unknown() {
    let idle = load(LoadEndpoint::V1Loads, "sglang-0.5.23-variant-embedding/GET_v1_loads");
    assert_eq!((idle.waiting, idle.running, idle.decode_moments), (Some(0), Some(0), None));
    let body = br#"{"loads":[{"dp_rank":0,"num_running_reqs":2},{"dp_rank":1,"num_running_reqs":1,"num_waiting_reqs":4}]}"#;
    let f = parse_load(LoadEndpoint::V1Loads, body).unwrap();
    assert_eq!((f.total.waiting, f.total.running, f.total.tokens), (Some(4), Some(3), None));
    assert_eq!((f.ranks.len(), f.ranks[1].rank, f.ranks[1].figures.waiting), (2, 1, Some(4)));
    let aggregate =
        br#"{"dp_rank_count":1,"aggregate":{"total_running_reqs":2,"total_waiting_reqs":1},"loads":[]}"#;
    assert_eq!(parse_load(LoadEndpoint::V1Loads, aggregate).unwrap().total.waiting, Some(1));
}

#[test]
fn get_load_in_its_shapes() {
    let first = load(LoadEndpoint::GetLoad, "sglang-0.4.10.post2-variant-queue/saturated_get_load");
    assert_eq!((first.tokens, first.waiting, first.running), (Some(284), None, None));
    let list = br#"[{"rid":null,"dp_rank":null,"num_reqs":14,"num_waiting_reqs":10,"num_tokens":724},{"dp_rank":1,"num_reqs":2,"num_waiting_reqs":0,"num_tokens":6}]"#;
    let f = parse_load(LoadEndpoint::GetLoad, list).unwrap();
    assert_eq!((f.total.waiting, f.total.running, f.total.tokens), (Some(10), Some(6), Some(730)));
    assert_eq!(f.ranks[0].figures.running, Some(4));
}

#[test]
fn metrics_pages() {
    let old = load(LoadEndpoint::Metrics, "sglang-0.4.10.post2-metrics/get_metrics_final");
    assert_eq!(
        (old.waiting, old.running, old.tokens, old.kv_usage),
        (Some(0), Some(1), Some(1118), Some(0.06))
    );
    assert_eq!(old.gen_throughput, Some(464.016_193_793_950_44));
    let new = load(LoadEndpoint::Metrics, "sglang-0.5.23-metrics/load_poll_004_metrics");
    assert_eq!(
        (new.waiting, new.running, new.tokens, new.kv_usage),
        (Some(10), Some(2), Some(352), Some(0.02))
    );
    let vllm = load(LoadEndpoint::Metrics, "vllm-0.32.0/load_poll_004_metrics");
    assert_eq!((vllm.waiting, vllm.running), (Some(16), Some(4)));
    assert_eq!(vllm.kv_usage, Some(0.000_976_622_108_282_976_2));
}

#[test]
fn metrics_sum_ranks_not_copies() {
    let page = concat!(
        "sglang_num_queue_reqs{dp_rank=\"0\",tp_rank=\"0\"} 3.0\nsglang_num_queue_reqs{dp_rank=\"0\",tp_rank=\"1\"} 3.0\n",
        "sglang_num_queue_reqs{dp_rank=\"1\",tp_rank=\"2\"} 4\n",
        "sglang_token_usage{dp_rank=\"0\",tp_rank=\"0\"} 0.5\nsglang_token_usage{dp_rank=\"1\",tp_rank=\"2\"} 0.25\n",
        "sglang_num_running_reqs{dp_rank=\"0\"} NaN\nsglang_gen_throughput +Inf\n",
    );
    let f = parse_load(LoadEndpoint::Metrics, page.as_bytes()).unwrap().total;
    assert_eq!((f.waiting, f.running, f.kv_usage, f.gen_throughput), (Some(7), None, Some(0.375), None));
    let engines = "vllm:num_requests_waiting{engine=\"0\",model_name=\"a b, }\"} 1.0 1795353438\nvllm:num_requests_waiting{engine=\"1\"} 2e0\n";
    assert_eq!(parse_load(LoadEndpoint::Metrics, engines.as_bytes()).unwrap().total.waiting, Some(3));
}

#[test]
fn vllm_load_is_undivided() {
    let f = load(LoadEndpoint::VllmLoad, "vllm-0.32.0/GET_load");
    assert_eq!((f.in_flight, f.waiting, f.running), (Some(0), None, None));
    let busy = parse_load(LoadEndpoint::VllmLoad, br#"{"server_load":7}"#).unwrap().total;
    let report = busy.report(Time::ZERO, LoadSource::Poll);
    assert_eq!((report.running, report.waiting), (Some(7), None));
}

#[test]
fn body_without_load_is_error() {
    use LoadEndpoint::{GetLoad, Metrics, V1Loads, VllmLoad};
    for endpoint in LoadEndpoint::ALL {
        for body in [
            &b"{\"detail\":\"Not Found\"}"[..],
            b"{}",
            b"[]",
            b"",
            b"<html>",
            b"{\"loads\":[{}]}",
            b"{\"load\":-1}",
        ] {
            assert!(parse_load(endpoint, body).is_err(), "{endpoint:?} {body:?}");
        }
    }
    assert_eq!(parse_load(V1Loads, b"{\"loads\":"), Err(LoadParseError::NotJson));
    assert_eq!(parse_load(Metrics, b"\xff"), Err(LoadParseError::NotText));
    let limits_only = br#"{"loads":[{"dp_rank":0,"max_running_requests":4,"max_total_num_tokens":9}]}"#;
    assert!(matches!(parse_load(V1Loads, limits_only), Err(LoadParseError::NoLoad(_))));
    assert!(matches!(parse_load(GetLoad, b"{\"server_load\":1}"), Err(LoadParseError::NoLoad("/get_load"))));
    let message = parse_load(VllmLoad, b"{}").unwrap_err().to_string();
    assert_eq!(message, "the body of /load states no load");
}

#[test]
fn orca_headers() {
    let text =
        parse_orca("TEXT named_metrics.kv_cache_usage_perc=0.4, named_metrics.num_requests_waiting=3.0")
            .unwrap();
    assert_eq!((text.kv_usage, text.waiting, text.running), (Some(0.4), Some(3), None));
    let json = r#"JSON {"named_metrics": {"kv_cache_usage_perc": 0.4, "num_requests_waiting": 3.0}}"#;
    assert_eq!(parse_orca(json), Some(text));
    for nothing in [
        "",
        "TEXT",
        "TEXT cpu_utilization=0.3",
        "JSON {",
        "JSON {}",
        "BIN AAAA",
        "TEXT named_metrics.num_requests_waiting=-1",
    ] {
        assert_eq!(parse_orca(nothing), None, "{nothing}");
    }
}

#[test]
fn server_info_of_each_engine() {
    let info = |name: &str| parse_server_info(&crate::support::body(name));
    for (name, version) in [
        ("sglang-0.4.10.post2-metrics/GET_get_server_info", "0.4.10.post2"),
        ("sglang-0.5.23-metrics/GET_get_server_info", "0.5.23"),
    ] {
        let i = info(name).unwrap();
        assert_eq!(
            (i.model.as_deref(), i.version.as_deref()),
            (Some("/srv/models/tiny-llama"), Some(version)),
            "{name}"
        );
        assert_eq!((i.max_running_requests, i.max_total_tokens), (Some(4), Some(20_000)), "{name}");
        assert_eq!((i.dp_size, i.tp_size, i.page_size), (Some(1), Some(1), Some(1)), "{name}");
        assert_eq!(i.disaggregation_mode, None, "{name}");
    }
    let decode = info("sglang-0.4.10.post2-variant-pd/decode_GET_get_model_info").unwrap();
    assert_eq!((decode.model.as_deref(), decode.is_generation), (Some("/srv/models/tiny-llama"), Some(true)));
    let vllm = info("vllm-0.32.0/GET_v1_models").unwrap();
    assert_eq!((vllm.model.as_deref(), vllm.owned_by.as_deref()), (Some("tiny-llama"), Some("vllm")));
    assert_eq!((vllm.context_length, vllm.models.len()), (Some(2048), 1));
    assert_eq!(info("vllm-0.32.0/GET_version").unwrap().version.as_deref(), Some("0.32.0"));
    assert_eq!(info("vllm-0.32.0/GET_get_server_info"), None, "Not Found says nothing");
    assert_eq!(parse_server_info(b"{\"version\":"), None);
}

#[test]
fn vllm_metrics_tell_cache_and_start() {
    let told = parse_server_metrics(&crate::support::body("vllm-0.32.0/GET_metrics_final"));
    assert_eq!((told.max_total_tokens, told.started_at), (Some(2_097_152), Some(1_795_354_017)));
    let blocks = "vllm:cache_config_info{block_size=\"16\",engine=\"0\",kv_cache_size_tokens=\"None\",num_gpu_blocks=\"27824\"} 1.0\n";
    assert_eq!(parse_server_metrics(blocks.as_bytes()).max_total_tokens, Some(445_184));
    let lies = "vllm:cache_config_info{block_size=\"16\",num_gpu_blocks=\"18446744073709551615\"} 1.0\nprocess_start_time_seconds NaN\n";
    assert_eq!(parse_server_metrics(lies.as_bytes()), ServerInfo::default());
    let sglang = parse_server_metrics(&crate::support::body("sglang-0.5.23-metrics/get_metrics_final"));
    assert_eq!((sglang.max_total_tokens, sglang.started_at), (None, None));
    let later = ServerInfo { started_at: Some(1_795_354_018), ..ServerInfo::default() };
    assert!(later.is_restart_of(&told) && !told.is_restart_of(&told) && !sglang.is_restart_of(&told));
}
