"""RouterArgs: the flags and attributes of sglang_router, and what they become."""

import argparse
import copy
import dataclasses
import pickle
import re
import types
import warnings

import pytest
from conftest import ROOT
from sgl_router import Config, PolicyType, Router
from sgl_router.launch_router import RouterArgs, parse_router_args
from sgl_router.router import backend_from_str, history_backend_from_str, policy_from_str

LIST = ROOT / "crates" / "router-config" / "tests" / "data" / "flags" / "sglang-router-0.3.2.txt"

#: Every flag of sglang_router, with the number of its values.
FLAGS = [tuple(line.split()) for line in LIST.read_text(encoding="utf-8").splitlines() if line]

WORKERS = ["http://127.0.0.1:31000", "http://127.0.0.1:31001"]


def parser(**how):
    """A parser with the flags."""
    made = argparse.ArgumentParser()
    RouterArgs.add_cli_args(made, **how)
    return made


def declared(made):
    """The names of the flags of a parser."""
    return {option for action in made._actions for option in action.option_strings} - {"-h", "--help"}


def built(**arguments):
    """The configuration of a router with these arguments; nothing is warned about."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return Router.from_args(RouterArgs(**arguments)).config


def test_defaults_are_those_of_sglang_router():
    args = RouterArgs()
    assert (args.host, args.port, args.policy, args.worker_urls) == ("0.0.0.0", 30000, "cache_aware", [])
    assert (args.prefill_urls, args.decode_urls, args.pd_disaggregation) == ([], [], False)
    assert (args.prefill_policy, args.decode_policy, args.log_level, args.prometheus_port) == (None,) * 4
    assert (args.service_discovery, args.selector, args.service_discovery_port) == (False, {}, 80)
    assert (args.retry_max_retries, args.cb_failure_threshold, args.disable_retries) == (5, 10, False)
    assert (args.max_tree_size, args.max_payload_size, args.max_concurrent_requests) == (2**26, 2**29, -1)
    assert args.selector is not RouterArgs().selector


def test_parser_has_exactly_the_flags():
    assert declared(parser()) == {f"--{flag}" for flag, _ in FLAGS}


def test_prefix_leaves_three_flags_alone():
    plain = {"host", "port", "worker-urls"}
    expected = {f"--{flag}" if flag in plain else f"--router-{flag}" for flag, _ in FLAGS}
    assert declared(parser(use_router_prefix=True)) == expected
    without = parser(use_router_prefix=True, exclude_host_port=True)
    assert declared(without) == expected - {"--host", "--port"}


#: Words after a flag and the value of its attribute, where they are not one number or text.
VALUES = {
    "assignment-mode": (["min_load"], "min_load"),
    "backend": (["openai"], "openai"),
    "control-plane-api-keys": (["a:b:ADMIN:k:1"], [("a", "b", "k:1", "admin")]),
    "decode": (["http://d"], ["http://d"]),
    "decode-selector": (["a=b=c", "d"], {"a": "b=c"}),
    "history-backend": (["redis"], "redis"),
    "jwt-role-mapping": (["A=Admin", "B=user"], {"A": "admin", "B": "user"}),
    "log-level": (["debug"], "debug"),
    "prefill": (["http://p", "9000"], [("http://p", 9000)]),
    "prefill-selector": (["a=b c=d"], {"a": "b", "c": "d"}),
    "prometheus-duration-buckets": (["0.5", "2"], [0.5, 2.0]),
    "selector": (["a=b", "c=d"], {"a": "b", "c": "d"}),
    "worker-urls": (WORKERS, WORKERS),
    **{f"{kind}policy": (["random"], "random") for kind in ("", "prefill-", "decode-")},
}

#: Attributes with other names than their flags.
ATTRIBUTES = {
    "decode": "decode_urls",
    "prefill": "prefill_urls",
    "tls-cert-path": "server_cert_path",
    "tls-key-path": "server_key_path",
}


@pytest.mark.parametrize("prefix", ["", "router-"])
@pytest.mark.parametrize(("flag", "takes"), FLAGS, ids=[flag for flag, _ in FLAGS])
def test_flag_sets_its_attribute(flag, takes, prefix):
    use = bool(prefix)
    made = parser(use_router_prefix=use)
    words, value = ([], True) if takes == "0" else VALUES.get(flag, (["7"], None))
    name = flag if flag in ("host", "port", "worker-urls") else prefix + flag
    args = RouterArgs.from_cli_args(made.parse_args([f"--{name}", *words]), use_router_prefix=use)
    default = RouterArgs.from_cli_args(made.parse_args([]), use_router_prefix=use)
    attribute = ATTRIBUTES.get(flag, flag.replace("-", "_"))
    given = getattr(args, attribute)
    # A plain 7 is a number or a text, by the type of the attribute.
    assert given == value if value is not None else given in (7, "7", ["7"])
    others = dataclasses.replace(args, **{attribute: getattr(default, attribute)})
    assert others == default and args != default


def test_flag_types_are_those_of_attributes():
    args = parse_router_args(["--port", "7", "--cache-threshold", "7", "--prometheus-port", "7", "--log-dir", "7"])
    assert [type(v) for v in (args.port, args.cache_threshold, args.prometheus_port, args.log_dir)] == [
        int,
        float,
        int,
        str,
    ]
    prefill = ["--prefill", "http://p", "none", "--prefill", "http://q"]
    assert parse_router_args(prefill).prefill_urls == [("http://p", None), ("http://q", None)]
    # The defaults of three flags differ from those of the attributes.
    none = parse_router_args([])
    assert (none.log_level, none.prometheus_port, none.prometheus_host) == ("info", 29000, "0.0.0.0")


def test_abbreviated_flags_are_found():
    assert parse_router_args(["--eviction-interval", "7"]).eviction_interval_secs == 7


def test_policies_of_this_router_are_accepted():
    args = parse_router_args(["--policy", "marginal_cost"])
    assert Router.from_args(args).config.policy == "marginal_cost"
    assert built(policy=PolicyType.PowerOfTwo).policy == "power_of_two"


@pytest.mark.parametrize("words", [["--policy", "best"], ["--port", "x"], ["--no-such-flag"], ["--log-level", "loud"]])
def test_wrong_flag_exits_with_2(words, capsys):
    with pytest.raises(SystemExit) as caught:
        parse_router_args(words)
    assert caught.value.code == 2
    assert words[0] in capsys.readouterr().err


def test_help_explains_every_flag(capsys):
    with pytest.raises(SystemExit) as caught:
        parse_router_args(["--help"])
    assert caught.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "Base URLs of the workers" in text
    assert "refused: the router does not call tools" in text and "changes nothing: the workers parse" in text


MALFORMED = [
    (["--prefill", "http://p", "ninety"], "Invalid bootstrap port 'ninety' of http://p"),
    (["--control-plane-api-keys", "sesame"], "Invalid API key format: entry 1"),
    (["--control-plane-api-keys", "a:b:user:k", "a:b:root:sesame"], "Invalid role 'root'"),
    (["--jwt-role-mapping", "a"], "Invalid role mapping format: 'a'"),
    (["--jwt-role-mapping", "a=root"], "Invalid gateway role 'root'"),
]


@pytest.mark.parametrize(("words", "message"), MALFORMED)
def test_malformed_value_is_value_error(words, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        parse_router_args(words)
    assert "sesame" not in str(caught.value)


def test_prefixed_attribute_comes_first():
    given = types.SimpleNamespace(policy="random", router_policy="manual", port=7, queue_size=3, unrelated=1)
    args = RouterArgs.from_cli_args(given, use_router_prefix=True)
    assert (args.policy, args.port, args.queue_size) == ("manual", 7, 3)
    assert RouterArgs.from_cli_args(given).policy == "random"


def test_attributes_of_another_object_are_read():
    other = RouterArgs(
        port=7,
        prefill_urls=[("http://p", 9000)],
        decode_urls=["http://d"],
        selector={"a": "b"},
        control_plane_api_keys=[("a", "b", "k", "admin")],
        server_cert_path="cert.pem",
    )
    assert RouterArgs.from_cli_args(types.SimpleNamespace(**vars(other))) == other


def test_arguments_are_copied_and_sent():
    args = RouterArgs(worker_urls=WORKERS, api_key="k")
    assert copy.deepcopy(args) == pickle.loads(pickle.dumps(args)) == args


def test_repr_shows_no_key():
    secret = ["api_key", "oracle_password", "postgres_db_url", "redis_url"]
    args = RouterArgs(**dict.fromkeys(secret, "sesame"), control_plane_api_keys=[("a", "b", "sesame", "admin")])
    assert "sesame" not in repr(args)


def test_arguments_become_options():
    config = built(
        worker_urls=WORKERS,
        host="[::1]",
        port=7,
        cache_threshold=0.5,
        max_concurrent_requests=0,
        queue_timeout_secs=3,
        dp_aware=True,
        api_key="client",
        log_level="warning",
        prometheus_port=8,
        prometheus_host="127.0.0.1",
        prometheus_duration_buckets=[0.5, 2.0],
        request_id_headers=["x-trace"],
        cors_allowed_origins=["https://a.example"],
        disable_retries=True,
        control_plane_api_keys=[("a", "b", "k", "admin")],
    )
    assert config == Config(
        worker_urls=WORKERS,
        host="[::1]",
        port=7,
        policy="cache_aware",
        cache_threshold=0.5,
        queue_timeout_secs=3.0,
        dp_aware=True,
        api_key="client",
        log_level="warn",
        prometheus_port=8,
        prometheus_host="127.0.0.1",
        prometheus_duration_buckets=[0.5, 2.0],
        request_id_headers=["x-trace"],
        cors_allowed_origins=["https://a.example"],
        disable_retries=True,
        control_plane_api_keys=["a:b:admin:k"],
    )


def test_defaults_build_a_router_that_starts_empty(monkeypatch):
    # A program's own database is no history backend of the router.
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1")
    assert built().start_empty
    assert not built(worker_urls=WORKERS).start_empty
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parsed = Router.from_args(parse_router_args([])).config
    assert parsed.start_empty and parsed.policy == "cache_aware"


@pytest.mark.parametrize(("value", "expected"), [("true", True), ("1", True), ("false", False)])
def test_environment_lets_servers_register_themselves(monkeypatch, value, expected):
    monkeypatch.setenv("SGL_ROUTER_ALLOW_REMOTE_ADMIN", value)
    assert built().allow_remote_admin is expected


def test_disaggregation_takes_its_own_workers():
    prefill = [("http://p", 9000), ("http://q", None)]
    split = {"prefill_urls": prefill, "decode_urls": ["http://d", "http://e"], "decode_policy": "random"}
    config = built(worker_urls=WORKERS, pd_disaggregation=True, **split)
    assert (config.prefill, config.decode) == (["http://p", "9000", "http://q", "none"], ["http://d", "http://e"])
    assert (config.worker_urls, config.decode_policy, config.start_empty) == ([], "random", False)
    assert built(pd_disaggregation=True).start_empty
    # Without the mode they are not used.
    config = built(worker_urls=WORKERS, **split)
    assert (config.worker_urls, config.prefill, config.decode_policy) == (WORKERS, [], None)


def test_discovery_takes_the_selectors_of_its_mode():
    labels = {"selector": {"app": "w"}, "prefill_selector": {"r": "p"}, "decode_selector": {"r": "d"}}
    config = built(service_discovery=True, service_discovery_port=8000, **labels)
    assert (config.service_discovery, config.selector, config.prefill_selector) == (True, ["app=w"], [])
    assert config.service_discovery_port == 8000
    config = built(service_discovery=True, pd_disaggregation=True, **labels)
    assert (config.selector, config.prefill_selector, config.decode_selector) == ([], ["r=p"], ["r=d"])
    # Without the mode they are not used.
    assert built(**labels).selector == []


REFUSED = [
    ({"service_discovery": True}, "--selector: is needed with --service-discovery"),
    ({"history_backend": "redis", "redis_url": "redis://a"}, "--history-backend redis: the router does not store"),
    ({"backend": "openai"}, "--backend openai: only sglang and vllm"),
    ({"jwt_issuer": "a", "jwt_audience": "b"}, "--jwt-issuer: JSON Web Tokens are not supported"),
    ({"policy": "best"}, "--policy: unknown policy `best`"),
    ({"policy": "kv_aware"}, "--policy kv_aware: the router does not read cache events"),
    ({"worker_urls": ["not-a-url"]}, "--worker-urls: "),
    ({"port": 70000}, "--port"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_refused_argument_is_value_error(arguments, message):
    args = RouterArgs(**arguments)
    with pytest.raises(ValueError, match=re.escape(message)):
        Router.from_args(args)


def test_argument_without_effect_is_warned_about():
    args = RouterArgs(worker_urls=WORKERS, model_path="m", tool_call_parser="qwen")
    with pytest.warns(UserWarning) as told:
        Router.from_args(args)
    assert [str(note.message).split(":")[0] for note in told] == [
        "--model-path changes nothing",
        "--tool-call-parser changes nothing",
    ]
    assert {note.filename for note in told} == {__file__}


def test_names_become_enum_members():
    assert policy_from_str("power_of_two") is PolicyType.PowerOfTwo and policy_from_str(None) is None
    with pytest.raises(KeyError):
        policy_from_str("best")
    assert backend_from_str("SGLANG").value == backend_from_str(None).value == "sglang"
    assert history_backend_from_str(None).value == "memory"
    assert history_backend_from_str("none").name == "None"
    for convert in (backend_from_str, history_backend_from_str):
        with pytest.raises(ValueError, match="Unknown .*'best'"):
            convert("best")
