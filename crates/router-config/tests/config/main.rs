//! Options from flags and file, and the errors of invalid ones.
#![allow(missing_docs)]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod discovery;

use clap::{Args as _, Command, FromArgMatches as _};
use router_config::{ConfigError, Options, Secret};
use router_core::Registry;
use std::io::Write as _;

fn load(flags: &[&str], file: Option<&str>) -> Result<Options, ConfigError> {
    let matches = Options::augment_args(Command::new("test")).get_matches_from([&["test"], flags].concat());
    let options = Options::from_arg_matches(&matches).unwrap();
    let path = file.map(|text| {
        static COUNT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let n = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("options-{n}.toml"));
        std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
        path
    });
    Options::load(&matches, options, path.as_deref())
}

fn refuse(flags: &[&str], file: Option<&str>) -> String {
    let error = match load(flags, file) {
        Err(error) => error,
        // A whole configuration would be printed with all that its policy knows.
        Ok(options) => match options.check(&Registry::builtin()) {
            Err(error) => error,
            Ok(_) => panic!("was accepted"),
        },
    };
    let text = error.to_string();
    assert!(!text.contains('\n'), "several lines: {text}");
    text
}

const WORKER: &str = "http://127.0.0.1:30001";

#[test]
fn flag_overrides_file_overrides_default() {
    let file = "worker_urls = ['http://a:1']\npolicy = 'random'\nport = 4000\nmax_payload_size = 99\n[policy_options]\nx = 3\n";
    let options = load(&["--port", "5000", "--worker-urls", WORKER], Some(file)).unwrap();
    assert_eq!((options.port, options.policy.as_str(), options.max_payload_size), (5000, "random", 99));
    assert_eq!(options.worker_urls, [WORKER]);
    assert_eq!(options.policy_options, [("x".to_owned(), "3".to_owned())]);
    assert_eq!(options.request_timeout_secs, Options::default().request_timeout_secs);
}

#[test]
fn flag_at_default_overrides_file() {
    assert_eq!(load(&["--port", "30000"], Some("port = 4000")).unwrap().port, 30000);
}

#[test]
fn full_configuration_is_accepted() {
    let file = "policy = 'marginal_utility'\nshadow_policies = ['round_robin', 'cache_aware']\ncache_threshold = 0.5\n\
                [policy_options]\nwindow_size = 40\nnormalize = true\n[[workers]]\nurl = 'http://a:1'\nweight = 2.5\n\
                [[workers]]\nurl = 'http://b:1'\n";
    let config = load(&[], Some(file)).unwrap().check(&Registry::builtin()).unwrap();
    assert_eq!(config.workers.iter().map(|w| w.weight).collect::<Vec<_>>(), [2.5, 1.0]);
    assert_eq!((config.policy.name(), config.shadows.len()), ("marginal_utility", 2));
}

#[test]
fn dashboard_is_served_unless_it_is_turned_off() {
    let is_on = |flags: &[&str], file| {
        let flags = [&["--worker-urls", WORKER], flags].concat();
        load(&flags, file).unwrap().check(&Registry::builtin()).unwrap().security.dashboard
    };
    assert!(is_on(&[], None));
    assert!(!is_on(&["--no-dashboard"], None));
    assert!(!is_on(&[], Some("no_dashboard = true")));
}

#[test]
fn config_errors_name_the_option() {
    let worker: &[&str] = &["--worker-urls", WORKER];
    for (flags, file, parts) in [
        (&[][..], None, &["--worker-urls", "no worker is given"][..]),
        (
            &[worker, &["--http2-max-concurrent-streams", "0"]].concat(),
            None,
            &["--http2-max-concurrent-streams", "--disable-http2"],
        ),
        (&[worker, &["--slo-ttft-secs", "0"]].concat(), None, &["--slo-ttft-secs", "0"]),
        (&[worker, &["--slo-tpot-secs=-1"]].concat(), None, &["--slo-tpot-secs", "-1"]),
        (&[worker, &["--slo-attainment", "1"]].concat(), None, &["--slo-attainment", "below 1"]),
        (&[worker, &["--scale-horizon-secs", "nan"]].concat(), None, &["--scale-horizon-secs", "NaN"]),
        (&["--worker-urls", WORKER, "http://127.0.0.1:30001/"], None, &["are the same", WORKER]),
        (&["--worker-urls", "localhost:3000"], None, &["'localhost:3000'", "http://"]),
        (&["--worker-urls", "http://localhost:9", "--port", "9"], None, &["localhost:9", "own address"]),
        (
            &["--worker-urls", "http://[::1]:9", "--port", "9", "--host", "0.0.0.0"],
            None,
            &["[::1]:9", "own address"],
        ),
        (&[worker, &["--policy", "round_robbin"]].concat(), None, &["round_robbin", "round_robin"]),
        (
            &[worker, &["--policy", "marginal_utility", "--policy-option", "windowsize=3"]].concat(),
            None,
            &["--policy-option: ", "`windowsize` is unknown, did you mean `window_size`?"],
        ),
        (
            &[worker, &["--policy-option", "ttft_weigt=3"]].concat(),
            None,
            &["--policy-option: ", "`ttft_weigt` is unknown, did you mean `ttft_weight`?"],
        ),
        (
            &[worker, &["--policy-option", "ttft_weight=much"]].concat(),
            None,
            &["--policy-option: ", "`ttft_weight` must be a number, not \"much\""],
        ),
        (
            &[worker, &["--policy-option", "cold_answers=-1"]].concat(),
            None,
            &["--policy-option: ", "`cold_answers` must be a whole number of at least 0, not -1"],
        ),
        (&[worker, &["--policy", "random", "--policy-option", "x=1"]].concat(), None, &["no options"]),
        (
            &[worker, &["--shadow-policies", "least_reqest"]].concat(),
            None,
            &["--shadow-policies: ", "least_request"],
        ),
        (
            &[worker, &["--shadow-policies", "random", "--shadow-policy-option", "manual.x=1"]].concat(),
            None,
            &["--shadow-policy-option: ", "'manual'"],
        ),
        (
            &[
                worker,
                &["--shadow-policies", "least_request", "--shadow-policy-option", "least_request.choices=1"],
            ]
            .concat(),
            None,
            &["--shadow-policy-option: ", "`choices` is unknown", "choice_count"],
        ),
        (
            &[worker, &["--policy", "cache_aware", "--cache-threshold", "1.5"]].concat(),
            None,
            &["--cache-threshold: ", "cache_threshold"],
        ),
        (
            &[worker, &["--health-check-endpoint", "health"]].concat(),
            None,
            &["--health-check-endpoint", "'health'"],
        ),
        (&[worker, &["--health-failure-threshold", "0"]].concat(), None, &["--health-failure-threshold"]),
        (&[worker, &["--connect-timeout-secs=-1"]].concat(), None, &["--connect-timeout-secs", "-1"]),
        (&[worker, &["--request-id-headers", "bad header"]].concat(), None, &["'bad header'"]),
        (
            &[worker, &["--routed-worker-headers", "bad header"]].concat(),
            None,
            &["--routed-worker-headers", "'bad header'"],
        ),
        (
            &[worker, &["--trusted-proxies", "10.0.0.1,10.0.0/8"]].concat(),
            None,
            &["--trusted-proxies: ", "'10.0.0/8'", "2001:db8::/32"],
        ),
        (&[worker, &["--sse-keep-alive-secs=-1"]].concat(), None, &["--sse-keep-alive-secs", "-1"]),
        (&[worker, &["--access-log-sample", "0"]].concat(), None, &["--access-log-sample", "above 0"]),
        (
            &[worker, &["--routing-key-headers", "bad header"]].concat(),
            None,
            &["--routing-key-headers", "'bad header'"],
        ),
        (
            worker,
            Some("policy = 'manual'\nassignment_mode = 'best'"),
            &["assignment_mode", "`best`", "min_load"],
        ),
        (
            &[worker, &["--policy", "bucket", "--bucket-adjust-interval-secs", "0"]].concat(),
            None,
            &["bucket_adjust_interval_secs"],
        ),
        (
            &[worker, &["--prometheus-duration-buckets", "1", "1"]].concat(),
            None,
            &["--prometheus-duration-buckets", "[1.0, 1.0]", "ascending"],
        ),
        (&[worker, &["--host", "no.such.host.invalid"]].concat(), None, &["--host", "no.such.host.invalid"]),
        (
            &[worker, &["--enable-trace", "--otlp-traces-endpoint", "https://c:4317"]].concat(),
            None,
            &["--otlp-traces-endpoint", "'https://c:4317'", "TLS"],
        ),
        (&[worker, &["--max-concurrent-requests", "0"]].concat(), None, &["--max-concurrent-requests", "-1"]),
        (&[worker, &["--max-concurrent-requests", "-2"]].concat(), None, &["--max-concurrent-requests"]),
        (
            &[worker, &["--rate-limit-tokens-per-second", "0"]].concat(),
            None,
            &["--rate-limit-tokens-per-second", "1"],
        ),
        (
            &[worker, &["--overload-kv-usage", "98"]].concat(),
            None,
            &["--overload-kv-usage", "98", "from 0 to 1"],
        ),
        (worker, Some("overload_kv_usage = -0.5"), &["--overload-kv-usage", "-0.5"]),
        (worker, Some("overload_waiting_requests = -1"), &["overload_waiting_requests"]),
        (&[worker, &["--dp-size", "2"]].concat(), None, &["--dp-size", "--dp-aware"]),
        (&[worker, &["--dp-aware", "--dp-size", "0"]].concat(), None, &["--dp-size", "at least 1"]),
        (&[worker, &["--queue-timeout-secs", "0"]].concat(), None, &["--queue-timeout-secs", "0"]),
        (
            &[worker, &["--cors-allowed-origins", "chat.example"]].concat(),
            None,
            &["--cors-allowed-origins", "'chat.example'"],
        ),
        (&[worker, &["--tls-cert-path", "cert.pem"]].concat(), None, &["--tls-key-path", "--tls-cert-path"]),
        (
            &[worker, &["--port", "4000", "--prometheus-port", "4000"]].concat(),
            None,
            &["--port, --prometheus-port", "4000"],
        ),
        (
            &[worker, &["--host", "0.0.0.0", "--port", "4000", "--admin-port", "4000"]].concat(),
            None,
            &["--port, --admin-port", "4000"],
        ),
        (
            worker,
            Some("port = 1\npolcy = 'random'"),
            &["line 2: unknown key `polcy`, did you mean `policy`?"],
        ),
        (worker, Some("wholly_unknown = 1"), &["line 1: unknown key `wholly_unknown`"]),
        (worker, Some("port = 'high'"), &["port", "line 1"]),
        (worker, Some("port = "), &["line 1"]),
        (&[], Some("[[workers]]\nurl = 'http://a:1'\nweight = -1"), &["http://a:1", "-1"]),
        (
            &[],
            Some("[[workers]]\nurl = 'http://a:1'\nwieght = 1"),
            &["line 3", "`wieght`, did you mean `weight`?"],
        ),
        (
            &[],
            Some("[[workers]]\nurl = 'http://a:1'\nworker_type = 'decode'"),
            &["[[workers]]", "--pd-disaggregation"],
        ),
        (
            &[],
            Some("[[workers]]\nurl = 'http://a:1'\nhealth_check_timeout_secs = 0"),
            &["[[workers]]", "http://a:1"],
        ),
    ] {
        let text = refuse(flags, file);
        for part in parts {
            assert!(text.contains(part), "{flags:?} {file:?}: '{part}' is not in: {text}");
        }
    }
    let fixed = ["--worker-urls", WORKER, "--policy", "fixed_probability", "--policy-option"];
    let text = refuse(&[&fixed[..], &["probabilities={\"http://127.0.0.1:30001\": 0.7}"]].concat(), None);
    assert!(text.contains("0.7"), "{text}");
}

#[test]
fn zero_switches_client_timeouts_off() {
    let flags =
        ["--worker-urls", WORKER, "--client-header-timeout-secs", "0", "--client-body-timeout-secs", "0"];
    let config = load(&flags, None).unwrap().check(&Registry::builtin()).unwrap();
    let year = std::time::Duration::from_secs(365 * 24 * 3600);
    assert!(config.client_timeouts.head > year && config.requests.body_timeout > year);
}

#[test]
fn disaggregated_router_may_start_empty() {
    let empty = load(&["--pd-disaggregation", "--start-empty"], None).unwrap();
    let config = empty.check(&Registry::builtin()).unwrap();
    assert!(config.workers.is_empty() && config.disaggregation.unwrap().prefill.is_empty());
    assert!(refuse(&["--pd-disaggregation"], None).contains("--start-empty"));
}

#[test]
fn missing_file_is_named() {
    let matches = Options::augment_args(Command::new("test")).get_matches_from(["test"]);
    let path = std::path::Path::new("/no/such/file.toml");
    let error = Options::load(&matches, Options::default(), Some(path)).unwrap_err().to_string();
    assert!(error.contains("/no/such/file.toml"), "{error}");
}

#[test]
fn keys_are_never_in_messages() {
    let file =
        "api_key = 'from-file'\nadmin_api_key = 'admin-file'\ncontrol_plane_api_keys = ['a:b:admin:c']";
    let options = load(&["--worker-urls", WORKER, "--api-key", "from-flag"], Some(file)).unwrap();
    assert_eq!(options.api_key.as_ref().map(Secret::expose), Some("from-flag"));
    assert_eq!(options.admin_api_key.as_ref().map(Secret::expose), Some("admin-file"));
    assert_eq!(options.control_plane_api_keys.len(), 1);
    let worker: &[&str] = &["--worker-urls", WORKER];
    for (flags, file, part) in [
        (&["--api-key", "hush hush"][..], None, "--api-key"),
        (&["--admin-api-key", ""], None, "--admin-api-key"),
        (&["--worker-api-key", "hush\nhush"], None, "--worker-api-key"),
        (&["--control-plane-api-keys", "a:b:admin:c", "hush"], None, "--control-plane-api-keys: entry 2"),
        (&["--control-plane-api-keys", "a:b:boss:hush"], None, "entry 1"),
        (&[], Some("api_key = 4815162342"), "string in quotes"),
        (&[], Some("api_key = 'hush"), "line 1"),
        (&[], Some("api_key = ['hush']"), "line 1"),
        (&[], Some("control_plane_api_keys = ['a', 4815162342]"), "string in quotes"),
        (&[], Some("worker_api_key = hush"), "line 1"),
    ] {
        let text = refuse(&[worker, flags].concat(), file);
        let silent = !text.contains("hush") && !text.contains("4815162342");
        assert!(text.contains(part) && silent, "{flags:?} {file:?}: {text}");
    }
}

/// Every file gives options or a one-line error, and so does every check of options.
#[test]
fn random_files_do_not_panic() {
    const VALUES: [&str; 28] = [
        "-1",
        "0",
        "1",
        "70000",
        "4294967296",
        "9223372036854775807",
        "-9223372036854775808",
        "1e308",
        "-0.0",
        "nan",
        "inf",
        "0.3",
        "true",
        "''",
        "'x'",
        "'round_robin'",
        "'http://a:1'",
        "'https://a'",
        "'*'",
        "\"\\u0000\"",
        "[]",
        "['a', 'b']",
        "['a:b:admin:c']",
        "{}",
        "{ x = 1 }",
        "1979-05-27",
        "'",
        "[[",
    ];
    let serde_json::Value::Object(known) = serde_json::to_value(Options::default()).unwrap() else {
        panic!("options are no table")
    };
    let secrets = ["api_key", "admin_api_key", "control_plane_api_keys", "worker_api_key"];
    let names: Vec<&str> = known.keys().map(String::as_str).chain(secrets).collect();
    let mut rng = router_core::Rng::seeded(5);
    let (mut read, mut accepted) = (0, 0);
    for _ in 0..5_000 {
        let mut text = "worker_urls = ['http://127.0.0.1:1']\n".to_owned();
        for _ in 0..rng.below(3) {
            let (name, value) = (names[rng.below(names.len())], VALUES[rng.below(VALUES.len())]);
            text += &format!("{name} = {value}\n");
        }
        if rng.below(4) == 0 {
            let at = rng.below(text.len());
            text.insert(at, char::from(b" '\"[]{}=.#\n"[rng.below(11)]));
        }
        let Ok(mut options) = toml::from_str::<Options>(&text) else { continue };
        read += 1;
        // Other hosts would need a DNS lookup.
        for host in [&mut options.host, &mut options.admin_host, &mut options.prometheus_host] {
            "127.0.0.1".clone_into(host);
        }
        match options.check(&Registry::builtin()) {
            Ok(_) => accepted += 1,
            Err(error) => assert!(!error.to_string().contains('\n'), "{text}: {error}"),
        }
    }
    assert!(read > 1000 && accepted > 500 && accepted < read, "{read} read, {accepted} accepted");
}

#[test]
fn deploy_files_are_accepted() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy");
    for (file, workers, discovers) in [("router.toml", 2, false), ("kubernetes/router.toml", 0, true)] {
        let text = std::fs::read_to_string(folder.join(file)).unwrap();
        let config = load(&[], Some(&text)).unwrap().check(&Registry::builtin()).unwrap();
        assert_eq!((config.workers.len(), config.discovery.is_some()), (workers, discovers), "{file}");
    }
}

#[test]
fn listed_workers_have_the_fields_of_the_api() {
    let file = "[[workers]]\nurl = 'http://a:1'\napi_key = 'hush'\nlabels = { rack = 'b' }\nmodel_id = 'm'\n\
                health_check_interval_secs = 1\nruntime = 'vllm'\n";
    // A flag makes it a merge, which goes through JSON without keys.
    let options = load(&["--port", "4000"], Some(file)).unwrap();
    let [worker] = &options.check(&Registry::builtin()).unwrap().workers[..] else { panic!("one worker") };
    assert_eq!(worker.api_key.as_ref().map(Secret::expose), Some("hush"));
    assert_eq!((worker.labels["rack"].as_str(), worker.model_id.as_deref()), ("b", Some("m")));
    let written = options.to_toml().unwrap();
    assert!(!written.contains("hush") && written.contains("model_id = \"m\""), "{written}");
    let split = "pd_disaggregation = true\n[[workers]]\nurl = 'http://p:1'\nworker_type = 'prefill'\nbootstrap_port = 9000\n\
                 [[workers]]\nurl = 'http://d:1'\nworker_type = 'decode'\n";
    let config = load(&[], Some(split)).unwrap().check(&Registry::builtin()).unwrap();
    assert_eq!(config.workers[0].url, "http://d:1");
    assert_eq!(config.disaggregation.unwrap().prefill[0].bootstrap_port, Some(9000));
}

#[test]
fn shadow_policies_take_commas_and_options() {
    let worker = ["--worker-urls", WORKER];
    let flags = [
        "--shadow-policies",
        "random,least_request",
        "--shadow-policy-option",
        "least_request.choice_count=3",
    ];
    let options = load(&[&worker[..], &flags].concat(), None).unwrap();
    assert_eq!(options.shadow_policies, ["random", "least_request"]);
    assert_eq!(options.check(&Registry::builtin()).unwrap().shadows.len(), 2);
    let warnings = options.policy_warnings(&Registry::builtin());
    assert!(warnings.len() == 1 && warnings[0].contains("--record-dir"), "{warnings:?}");
    let file = "shadow_policies = ['least_request']\nenable_tracking = true\n[shadow_policy_options.least_request]\nchoice_count = 3\n";
    let options = load(&worker, Some(file)).unwrap();
    assert!(options.check(&Registry::builtin()).is_ok());
    assert!(options.policy_warnings(&Registry::builtin()).is_empty());
}

#[test]
fn unused_policy_options_are_listed() {
    let idle = |flags: &[&str]| {
        let flags =
            [&["--worker-urls", "http://127.0.0.1:30001", "--cache-threshold", "0.5"], flags].concat();
        load(&flags, None).unwrap().policy_warnings(&Registry::builtin())
    };
    assert_eq!(
        idle(&["--policy", "round_robin"]),
        ["cache_threshold is not an option of round_robin: it has no effect"]
    );
    assert!(idle(&["--policy", "cache_aware"]).is_empty());
    assert!(idle(&["--shadow-policies", "cache_aware", "--enable-tracking"]).is_empty());
}
