//! Command lines of other routers: every flag is mapped, and none is ignored silently.
#![allow(missing_docs)]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use clap::{Args as _, Command, FromArgMatches as _};
use router_config::Options;
use router_config::compat::{
    FlagMapping, FlagValues, ForeignError, ForeignFlag, SourceRouter, Translation, foreign_flags, translate,
};
use router_config::{LogLevel, PdProtocol};
use router_core::Registry;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;

fn command() -> Command {
    Options::augment_args(Command::new("test")).args_override_self(true)
}

fn translated(line: &str) -> Result<Translation, ForeignError> {
    let command = command();
    let own: Vec<&str> = command.get_arguments().filter_map(clap::Arg::get_long).collect();
    translate(line.split(' ').filter(|w| !w.is_empty()).map(OsString::from).collect(), &own)
}

/// A translated and parsed command line.
#[derive(Debug)]
struct Parsed {
    options: Options,
    notes: Vec<String>,
}

fn parse(line: &str) -> Result<Parsed, String> {
    let Translation { args, policy_options, mut notes } = translated(line).map_err(|e| e.to_string())?;
    let words = [OsString::from("test")].into_iter().chain(args);
    let matches = command().try_get_matches_from(words).map_err(|e| e.to_string())?;
    let mut options = Options::from_arg_matches(&matches).map_err(|e| e.to_string())?;
    notes.extend(options.set_foreign_policy_options(policy_options, &Registry::builtin()));
    Ok(Parsed { options, notes })
}

fn refusal(line: &str) -> String {
    let text = translated(line).expect_err(line).to_string();
    assert!(!text.contains('\n'), "{text}");
    text
}

/// Names and numbers of values of the flags, from the router's own parser.
fn flags_of(router: SourceRouter) -> BTreeMap<&'static str, &'static str> {
    let list = match router {
        SourceRouter::SglangRouter => include_str!("data/flags/sglang-router-0.3.2.txt"),
        SourceRouter::Smg => include_str!("data/flags/smg-1.13.0.txt"),
        SourceRouter::VllmRouter => include_str!("data/flags/vllm-router-0.1.17.txt"),
        SourceRouter::SglangRouter01 => include_str!("data/flags/sglang-router-0.1.txt"),
    };
    list.lines().map(|line| line.split_once(' ').unwrap()).collect()
}

#[test]
fn table_has_exactly_the_routers_flags() {
    for router in SourceRouter::ALL {
        let theirs: BTreeSet<_> = flags_of(router).into_keys().collect();
        let known: Vec<_> = foreign_flags().filter(|f| f.routers.contains(&router)).map(|f| f.name).collect();
        assert_eq!(known.iter().copied().collect::<BTreeSet<_>>(), theirs, "{router:?}");
        assert_eq!(known.len(), theirs.len(), "{router:?}: a flag stands twice");
    }
    assert_eq!(flags_of(SourceRouter::SglangRouter).len(), 98);
}

#[test]
fn table_has_value_counts() {
    for flag in foreign_flags() {
        for arity in flag.routers.iter().map(|router| flags_of(*router)[flag.name]) {
            let values = match arity {
                "0" => FlagValues::Zero,
                "1" => FlagValues::One,
                _ => FlagValues::Many,
            };
            assert_eq!(flag.values, values, "--{}", flag.name);
        }
    }
}

#[test]
fn replacements_are_own_flags() {
    let command = command();
    let own: Vec<&str> = command.get_arguments().filter_map(clap::Arg::get_long).collect();
    let check = |flag: &ForeignFlag, mapping: &FlagMapping| match mapping {
        FlagMapping::Same(_) => assert!(own.contains(&flag.name), "--{} is no flag of ours", flag.name),
        FlagMapping::ReplacedBy(words) => {
            for word in words.iter().filter_map(|word| word.strip_prefix("--")) {
                assert!(own.contains(&word), "--{}: --{word} is no flag of ours", flag.name);
            }
        }
        FlagMapping::PolicyOption(name) => {
            let registry = Registry::builtin();
            let takes = |s: &router_core::PolicySpec| s.options.contains_key(*name);
            assert!(registry.specs().any(takes), "--{}: no policy has the option {name}", flag.name);
        }
        FlagMapping::Ignored(text) | FlagMapping::Rejected(text) => {
            assert!(text.len() > 20 && !text.ends_with('.'), "--{}: '{text}'", flag.name);
            assert!(!own.contains(&flag.name), "--{} is a flag of ours and does something", flag.name);
        }
        FlagMapping::ByValue(..) => panic!("--{}: values of values", flag.name),
    };
    for flag in foreign_flags() {
        match flag.mapping {
            FlagMapping::ByValue(some, other) => {
                check(&flag, other);
                for (_, mapping) in some {
                    assert!(!matches!(mapping, FlagMapping::ByValue(..)));
                    if !matches!(other, FlagMapping::Same(_)) || matches!(mapping, FlagMapping::ReplacedBy(_))
                    {
                        check(&flag, mapping);
                    }
                }
            }
            mapping => check(&flag, &mapping),
        }
    }
}

/// Expected effect of a flag of sglang-router.
enum Expected {
    /// It sets an option.
    Set(fn(&Options) -> bool),
    /// It has no effect, and one log line names it.
    Noted,
    /// It is an error with these words.
    Refused(&'static str),
}

use Expected::{Noted, Refused, Set};

/// One case for each of the 98 flags of sglang-router 0.3.2.
const CASES: [(&str, Expected); 98] = [
    ("--host 0.0.0.0", Set(|o| o.host == "0.0.0.0")),
    ("--port 8000", Set(|o| o.port == 8000)),
    ("--worker-urls http://a:1 http://b:1", Set(|o| o.worker_urls == ["http://a:1", "http://b:1"])),
    ("--policy power_of_two", Set(|o| o.policy == "power_of_two")),
    ("--prefill-policy bucket", Set(|o| o.prefill_policy.as_deref() == Some("bucket"))),
    ("--decode-policy manual", Set(|o| o.decode_policy.as_deref() == Some("manual"))),
    ("--cache-threshold 0.6", Set(|o| o.cache_threshold == Some(0.6))),
    ("--balance-abs-threshold 32", Set(|o| o.balance_abs_threshold == Some(32))),
    ("--balance-rel-threshold 1.1", Set(|o| o.balance_rel_threshold == Some(1.1))),
    ("--bucket-adjust-interval-secs 7", Set(|o| o.bucket_adjust_interval_secs == Some(7))),
    ("--eviction-interval-secs 30", Set(|o| o.eviction_interval_secs == Some(30))),
    ("--max-tree-size 1024", Set(|o| o.max_tree_size == Some(1024))),
    ("--max-idle-secs 60", Set(|o| o.max_idle_secs == Some(60))),
    ("--assignment-mode min_group", Set(|o| o.assignment_mode.as_deref() == Some("min_group"))),
    ("--max-payload-size 99", Set(|o| o.max_payload_size == 99)),
    ("--dp-aware", Set(|o| o.dp_aware)),
    ("--enable-igw", Noted),
    ("--mini-lb", Noted),
    ("--pd-disaggregation", Set(|o| o.pd_disaggregation)),
    ("--prefill http://p:1 9000 --prefill http://q:1 none", Set(|o| o.prefill.len() == 4)),
    ("--decode http://d:1 --decode http://e:1", Set(|o| o.decode == ["http://d:1", "http://e:1"])),
    ("--worker-startup-timeout-secs 600", Noted),
    ("--worker-startup-check-interval 10", Noted),
    ("--log-dir logs", Set(|o| o.log_dir.as_deref() == Some(std::path::Path::new("logs")))),
    ("--log-level debug", Set(|o| o.log_level == LogLevel::Debug)),
    ("--service-discovery", Set(|o| o.service_discovery)),
    ("--selector app=sglang role=worker", Set(|o| o.selector == ["app=sglang", "role=worker"])),
    ("--service-discovery-port 8000", Set(|o| o.service_discovery_port == 8000)),
    ("--service-discovery-namespace prod", Set(|o| o.service_discovery_namespace.as_deref() == Some("prod"))),
    ("--prefill-selector app=p", Set(|o| o.prefill_selector == ["app=p"])),
    ("--decode-selector app=d", Set(|o| o.decode_selector == ["app=d"])),
    ("--prometheus-port 29000", Set(|o| o.prometheus_port == Some(29000))),
    ("--prometheus-host 0.0.0.0", Set(|o| o.prometheus_host == "0.0.0.0")),
    ("--prometheus-duration-buckets 0.5 1 2", Set(|o| o.prometheus_duration_buckets == [0.5, 1.0, 2.0])),
    ("--request-id-headers x-a x-b", Set(|o| o.request_id_headers == ["x-a", "x-b"])),
    ("--request-timeout-secs 90", Set(|o| o.request_timeout_secs == 90)),
    ("--shutdown-grace-period-secs 5", Set(|o| o.shutdown_grace_period_secs == 5)),
    ("--cors-allowed-origins https://a.example", Set(|o| o.cors_allowed_origins == ["https://a.example"])),
    ("--max-concurrent-requests -1", Set(|o| o.max_concurrent_requests == -1)),
    ("--queue-size 5", Set(|o| o.queue_size == 5)),
    ("--queue-timeout-secs 7", Set(|o| o.queue_timeout_secs == 7.0)),
    ("--rate-limit-tokens-per-second 9", Set(|o| o.rate_limit_tokens_per_second == Some(9))),
    ("--retry-max-retries 2", Set(|o| o.retry_max_retries == 2)),
    ("--retry-initial-backoff-ms 10", Set(|o| o.retry_initial_backoff_ms == 10)),
    ("--retry-max-backoff-ms 100", Set(|o| o.retry_max_backoff_ms == 100)),
    ("--retry-backoff-multiplier 2", Set(|o| o.retry_backoff_multiplier == 2.0)),
    ("--retry-jitter-factor 0.1", Set(|o| o.retry_jitter_factor == 0.1)),
    ("--disable-retries", Set(|o| o.disable_retries)),
    ("--cb-failure-threshold 4", Set(|o| o.cb_failure_threshold == 4)),
    ("--cb-success-threshold 1", Set(|o| o.cb_success_threshold == 1)),
    ("--cb-timeout-duration-secs 20", Set(|o| o.cb_timeout_duration_secs == 20.0)),
    ("--cb-window-duration-secs 30", Set(|o| o.cb_window_duration_secs == 30.0)),
    ("--disable-circuit-breaker", Set(|o| o.disable_circuit_breaker)),
    ("--health-failure-threshold 1", Set(|o| o.health_failure_threshold == 1)),
    ("--health-success-threshold 1", Set(|o| o.health_success_threshold == 1)),
    ("--health-check-timeout-secs 300", Set(|o| o.health_check_timeout_secs == 300.0)),
    ("--health-check-interval-secs 10", Set(|o| o.health_check_interval_secs == 10.0)),
    ("--health-check-endpoint /health_generate", Set(|o| o.health_check_endpoint == "/health_generate")),
    ("--disable-health-check", Set(|o| o.disable_health_check)),
    ("--model-path meta-llama/Llama-3.1-8B", Noted),
    ("--tokenizer-path tokenizer", Noted),
    ("--chat-template chat.jinja", Noted),
    ("--tokenizer-cache-enable-l0", Noted),
    ("--tokenizer-cache-l0-max-entries 10", Noted),
    ("--tokenizer-cache-enable-l1", Noted),
    ("--tokenizer-cache-l1-max-memory 10", Noted),
    ("--reasoning-parser qwen3", Noted),
    ("--tool-call-parser qwen", Noted),
    ("--mcp-config-path mcp.yaml", Refused("the client")),
    ("--backend openai", Refused("--worker-urls")),
    ("--history-backend oracle", Refused("does not store conversations")),
    ("--oracle-wallet-path w", Refused("does not store conversations")),
    ("--oracle-tns-alias a", Refused("does not store conversations")),
    ("--oracle-connect-descriptor d", Refused("does not store conversations")),
    ("--oracle-username u", Refused("does not store conversations")),
    ("--oracle-password p", Refused("does not store conversations")),
    ("--oracle-pool-min 1", Refused("does not store conversations")),
    ("--oracle-pool-max 2", Refused("does not store conversations")),
    ("--oracle-pool-timeout-secs 3", Refused("does not store conversations")),
    ("--postgres-db-url postgres://db", Refused("does not store conversations")),
    ("--postgres-pool-max 4", Refused("does not store conversations")),
    ("--redis-url redis://db", Refused("does not store conversations")),
    ("--redis-pool-max 4", Refused("does not store conversations")),
    ("--redis-retention-days 1", Refused("does not store conversations")),
    ("--client-cert-path c.pem", Set(|o| o.client_cert_path.is_some())),
    ("--client-key-path k.pem", Set(|o| o.client_key_path.is_some())),
    ("--ca-cert-paths a.pem b.pem", Set(|o| o.ca_cert_paths.len() == 2)),
    ("--tls-cert-path c.pem", Set(|o| o.tls_cert_path.is_some())),
    ("--tls-key-path k.pem", Set(|o| o.tls_key_path.is_some())),
    ("--enable-trace", Set(|o| o.enable_trace)),
    ("--otlp-traces-endpoint c:4317", Set(|o| o.otlp_traces_endpoint == "c:4317")),
    ("--api-key k", Set(|o| o.api_key.is_some())),
    ("--control-plane-api-keys a:b:admin:c d:e:user:f", Set(|o| o.control_plane_api_keys.len() == 2)),
    ("--control-plane-audit-enabled", Refused("no audit log")),
    ("--jwt-issuer https://i", Refused("--control-plane-api-keys")),
    ("--jwt-audience a", Refused("--control-plane-api-keys")),
    ("--jwt-jwks-uri https://j", Refused("--control-plane-api-keys")),
    ("--jwt-role-mapping A=admin B=user", Refused("--control-plane-api-keys")),
];

#[test]
fn every_sglang_router_flag_works() {
    let named = |line: &str| line.split(' ').next().unwrap().trim_start_matches('-').to_owned();
    let cases: BTreeSet<_> = CASES.iter().map(|(line, _)| named(line)).collect();
    let all = flags_of(SourceRouter::SglangRouter).into_keys().map(str::to_owned).collect();
    assert_eq!(cases, all, "one case for each flag");
    for (line, want) in CASES {
        // What stands around a flag stays what it is.
        let around = format!("--seed 1 {line} --threads 3");
        match want {
            Refused(words) => {
                let text = refusal(&around);
                let flag = format!("--{}", named(line));
                assert!(text.starts_with(&flag) && text.contains(words), "{line}: {text}");
                continue;
            }
            Set(check) => {
                let parsed = parse(&around).unwrap();
                assert!(check(&parsed.options), "{line}: {:?}", parsed.options);
                assert_eq!(parsed.notes, [""; 0], "{line}");
            }
            Noted => {
                let parsed = parse(&around).unwrap();
                assert_eq!(parsed.notes.len(), 1, "{line}");
                assert!(parsed.notes[0].starts_with(&format!("--{} changes nothing: ", named(line))));
            }
        }
        let Parsed { options, .. } = parse(&around).unwrap();
        assert_eq!((options.seed, options.threads), (Some(1), Some(3)), "{line}");
    }
}

#[test]
fn names_and_values_are_translated() {
    let options = |line: &str| parse(line).unwrap().options;
    assert_eq!(options("--eviction-interval 7").eviction_interval_secs, Some(7));
    assert_eq!(options("--eviction-interval=7").eviction_interval_secs, Some(7));
    let split = options("--vllm-pd-disaggregation");
    assert!(split.pd_disaggregation && split.pd_protocol == PdProtocol::Vllm);
    assert_eq!(options("--policy consistent_hash").policy, "consistent_hashing");
    let sticky = options("--policy=sticky_least_loaded");
    assert_eq!((sticky.policy.as_str(), sticky.assignment_mode.as_deref()), ("manual", Some("min_load")));
    let ranks = options("--intra-node-data-parallel-size 4");
    assert_eq!((ranks.dp_aware, ranks.dp_size), (true, Some(4)));
    assert_eq!(options("--load-monitor-interval 10").load_poll_interval_ms, 10_000);
    assert_eq!(options("--max-concurrent-requests 0").max_concurrent_requests, -1);
    let both = options("--policy least_load --least-load-kv-pressure-weight 0.2 --policy-option x=1");
    assert_eq!(both.policy_options.len(), 2, "{:?}", both.policy_options);
    let never = options("--idle-connection-timeout-secs 0 --stream-body-stall-timeout-secs 0");
    let urls = vec!["http://127.0.0.1:30001".to_owned()];
    assert!(Options { worker_urls: urls, ..never }.check(&Registry::builtin()).is_ok());
    for level in ["warning", "critical"] {
        assert!(parse(&format!("--log-level {level}")).is_ok());
    }
}

#[test]
fn options_of_another_policy_are_noted() {
    for line in [
        "--prefix-hash-load-factor 1.5",
        "--prefix-token-count 256",
        "--least-load-kv-pressure-weight 0.2",
        "--least-load-default-throughput 100",
        "--least-load-mean-prefill-tokens 512",
        "--policy prefix_hash --least-load-mean-prefill-tokens 512",
    ] {
        let parsed = parse(line).unwrap();
        let flag = line.rsplit_once("--").unwrap().1.split(' ').next().unwrap();
        let [note] = &parsed.notes[..] else { panic!("{line}: {:?}", parsed.notes) };
        assert!(
            note.starts_with(&format!("--{flag} changes nothing")) && note.contains("not an option of"),
            "{note}"
        );
        assert!(parsed.options.policy_options.is_empty(), "{line}");
    }
    let taken = parse("--policy prefix_hash --prefix-hash-load-factor 1.5").unwrap();
    assert!(taken.notes.is_empty());
    assert_eq!(taken.options.policy_options, [("load_factor".to_owned(), "1.5".to_owned())]);
}

#[test]
fn default_values_are_accepted() {
    for line in ["--backend sglang", "--history-backend none", "--kv-connector nixl"] {
        assert_eq!(parse(line).unwrap().notes.len(), 1, "{line}");
    }
    for secs in [0.0, 15.0] {
        let taken = parse(&format!("--sse-keepalive-secs {secs}")).unwrap();
        assert_eq!((taken.options.sse_keep_alive_secs, taken.notes.len()), (secs, 0));
    }
    for line in ["--history-backend redis", "--kv-connector mooncake", "--policy kv_aware"] {
        assert!(refusal(line).starts_with(&format!("{line}: ")), "{line}");
    }
}

#[test]
fn list_forms_are_equal() {
    assert!(translated("--jwt-role-mapping a=b c=d").is_err());
    for line in ["--selector app=x tier=y", "--selector=app=x,tier=y", "--selector app=x --selector tier=y"] {
        let options = parse(&format!("--service-discovery {line}")).unwrap().options;
        let found = options.check(&Registry::builtin()).unwrap().discovery.unwrap();
        assert_eq!(found.pods[0].labels, "app=x,tier=y", "{line}");
    }
    assert_eq!(parse("--mm-processing auto --worker-urls").unwrap().options.worker_urls, [""; 0]);
    assert_eq!(parse("--cors-allowed-origins --port 1").unwrap().options.port, 1);
}

#[test]
fn unique_abbreviations_are_accepted() {
    let options = |line: &str| parse(line).unwrap().options;
    assert_eq!(options("--bucket 9").bucket_adjust_interval_secs, Some(9));
    assert_eq!(options("--worker-u http://a:1").worker_urls, ["http://a:1"]);
    // Of smg's five flags that begin so, sglang-router had one.
    assert_eq!(options("--cache 0.9").cache_threshold, Some(0.9));
    assert!(options("--enable-t").enable_trace);
    assert_eq!(options("--load-p 7").load_poll_interval_ms, 7);
    let text = refusal("--retry 3");
    for part in ["--retry matches several", "--retry-max-retries", "--retry-jitter-factor", "--retry-budget"]
    {
        assert!(text.contains(part), "{text}");
    }
    assert!(refusal("--serv").contains("--service-discovery-port"));
    assert!(parse("--no-such-flag").unwrap_err().contains("--no-such-flag"));
}

#[test]
fn last_value_counts_and_arity_is_checked() {
    assert_eq!(parse("--policy random --policy round_robin").unwrap().options.policy, "round_robin");
    assert_eq!(refusal("--chat-template --port 1"), "--chat-template needs a value");
    assert_eq!(refusal("--log-json=false"), "--log-json takes no value");
}
