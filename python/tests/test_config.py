"""Config: defaults, TOML, command lines, and errors."""

import dataclasses
import enum
import pathlib
import re

import generate
import pytest
from sgl_router import Config, PolicyType, _native

WORKERS = ["http://127.0.0.1:31000"]


def test_defaults_match_command_line():
    assert Config.from_args([]) == Config()
    assert Config(worker_urls=WORKERS, port=1) == Config.from_args(["--worker-urls", *WORKERS, "--port", "1"])


@pytest.mark.parametrize("name", generate.FILES)
def test_fields_match_native_module(name):
    stale = (generate.PACKAGE / name).read_text(encoding="utf-8") != generate.FILES[name]()
    assert not stale, f"src/sgl_router/{name} is old: run generate.py"


def test_every_policy_has_a_member():
    assert [str(each) for each in PolicyType] == [name for name, _ in _native.policies()]
    assert Config(policy=PolicyType.MarginalUtility) == Config(policy="marginal_utility")


CONFIGS = [
    Config(),
    Config(
        worker_urls=WORKERS,
        workers=[{"url": "http://127.0.0.1:31001", "weight": 2.5, "priority": 7}],
        policy=PolicyType.MarginalCost,
        policy_options={"choice_count": 3, "name": "x", "flag": True, "probabilities": {"a": 0.5}},
        port=0,
        record_dir=pathlib.PurePosixPath("some/where"),
        routing_key_headers=[],
        hedge_after="p95",
        disable_retries=True,
        retry_jitter_factor=0,
    ),
]


@pytest.mark.parametrize("config", CONFIGS, ids=["nothing", "much"])
def test_toml_round_trip(config, tmp_path):
    text = config.to_toml()
    again = Config.from_toml(text + "\n")
    assert again.to_toml() == text
    file = tmp_path / "router.toml"
    file.write_text(text, encoding="utf-8")
    assert Config.from_toml(file) == Config.from_toml(str(file)) == again
    assert Config.from_args(["--config", str(file)]) == again
    for name in ("worker_urls", "policy", "policy_options", "workers", "hedge_after", "disable_retries"):
        assert getattr(again, name) == getattr(config, name)


def test_keys_are_never_shown():
    config = Config(api_key="sesame", control_plane_api_keys=["a:b:admin:sesame"], worker_api_key="sesame")
    assert "sesame" not in repr(config) + config.to_toml()
    assert Config.from_args(["--api-key", "sesame"]).api_key == "sesame"
    assert dataclasses.replace(config, port=1).api_key == "sesame"


def test_repr_shows_changed_options():
    assert repr(Config(port=1, policy="random")) == "Config(port=1, policy='random')"


class Odd:
    """Neither a string nor a number."""


class Colour(str, enum.Enum):
    """A string enum of another package."""

    RED = "red"


WRONG = [
    ({"port": "http"}, TypeError, "port"),
    ({"port": 70000}, ValueError, "port: .*65535"),
    ({"port": -1}, ValueError, "port"),
    ({"port": True}, TypeError, "port"),
    ({"port": 1.5}, TypeError, "port"),
    ({"port": 2**80}, ValueError, "port"),
    ({"worker_urls": "http://a"}, TypeError, "worker_urls: .*list"),
    ({"worker_urls": [1]}, TypeError, "worker_urls"),
    ({"worker_urls": {"a": 1}}, TypeError, "worker_urls"),
    ({"worker_urls": {1, 2}}, TypeError, "worker_urls: .*set"),
    ({"policy": Odd()}, TypeError, "policy: .*Odd"),
    ({"policy": b"random"}, TypeError, "policy: .*bytes"),
    ({"policy": "\ud800"}, ValueError, "policy"),
    ({"policy_options": {1: 2}}, TypeError, "policy_options: .*int"),
    ({"policy_options": {"a": Odd()}}, TypeError, r'policy_options\["a"\]'),
    ({"retry_budget": float("nan")}, ValueError, "retry_budget"),
    ({"retry_budget": "half"}, TypeError, "retry_budget"),
    ({"log_level": "loud"}, ValueError, "log_level: .*`info`"),
    ({"log_level": Colour.RED}, ValueError, "log_level"),
    ({"workers": [{"url": "http://a", "wieght": 1}]}, ValueError, "workers: .*`weight`"),
    ({"api_key": 5}, TypeError, "api_key"),
    ({"disable_retries": "yes"}, TypeError, "disable_retries"),
]


@pytest.mark.parametrize(("options", "error", "message"), WRONG)
def test_wrong_option_is_named(options, error, message):
    with pytest.raises(error, match=message):
        Config(**options)


def test_recursive_value_is_refused():
    loop = []
    loop.append(loop)
    with pytest.raises(ValueError, match="worker_urls: is nested too deeply"):
        Config(worker_urls=loop)


def test_changed_option_is_checked_on_use():
    config = Config()
    config.port = "http"
    with pytest.raises(TypeError, match="port"):
        config.to_toml()


def test_messages_contain_no_key():
    with pytest.raises((TypeError, ValueError)) as caught:
        Config(api_key=["sesame"])
    assert "sesame" not in str(caught.value)


LINES = [
    (["--prot", "1"], "unexpected argument '--prot' found; did you mean '--port'?"),
    (["--port", "http"], "--port"),
    (["--config", "nowhere.toml"], "config file nowhere.toml"),
    (["http://a"], "unexpected argument 'http://a'"),
]


@pytest.mark.parametrize(("args", "message"), LINES)
def test_wrong_command_line_is_value_error(args, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Config.from_args(args)


def test_help_is_no_error(capfd):
    with pytest.raises(SystemExit) as caught:
        Config.from_args(["--help"])
    assert caught.value.code == 0
    assert "--worker-urls" in capfd.readouterr().out


def test_wrong_toml_names_the_key():
    with pytest.raises(ValueError, match="config text: .*`prot`"):
        Config.from_toml("prot = 1")
    with pytest.raises(FileNotFoundError):
        Config.from_toml("nowhere.toml")
