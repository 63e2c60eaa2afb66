"""The launcher: the same flags, messages, exit codes and signals as the program."""

import signal
import warnings

import pytest
from conftest import ROOT, ask, generate
from sgl_router import Config

LISTS = ROOT / "crates" / "router-config" / "tests" / "data" / "flags"
LAUNCH = ("-m", "sgl_router.launch_router")


def flags(name):
    """The flags of another router with the number of values of each."""
    return [tuple(line.split()) for line in (LISTS / name).read_text(encoding="utf-8").splitlines() if line]


#: Values other than the defaults, for flags that do not take any string.
VALUES = {
    "assignment-mode": ["min_load"],
    "backend": ["openai"],
    "balance-rel-threshold": ["1.25"],
    "cors-allowed-origins": ["https://a.example"],
    "decode": ["http://127.0.0.1:31002"],
    "decode-policy": ["random"],
    "history-backend": ["none"],
    "log-level": ["debug"],
    "otlp-traces-endpoint": ["127.0.0.1:4317"],
    "policy": ["random"],
    "prefill": ["http://127.0.0.1:31001", "9000"],
    "prefill-policy": ["random"],
    "worker-urls": ["http://127.0.0.1:31000", "http://127.0.0.1:31001"],
}

ALL = flags("sglang-router-0.3.2.txt")


def test_flag_list_is_complete():
    assert len(ALL) == len(set(ALL)) == 98


@pytest.mark.parametrize(("flag", "takes"), ALL, ids=[name for name, _ in ALL])
def test_every_sglang_router_flag_is_handled(flag, takes):
    """No flag is ignored silently: it changes the configuration, or a warning or an error names it."""
    values = [] if takes == "0" else VALUES.get(flag, ["7"])
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            config = Config.from_args([f"--{flag}", *values])
        except ValueError as refusal:
            assert str(refusal).startswith(f"--{flag}")
            assert "unexpected" not in str(refusal) and "\n" not in str(refusal)
            return
    named = [note for note in told if f"--{flag}" in str(note.message)]
    assert named or config != Config(), "it did nothing and said nothing"
    if "7" in values and flag.replace("-", "_") in config.given():
        assert str(config.given()[flag.replace("-", "_")]) in ("7", "7.0", "['7']", "[7.0]")


@pytest.mark.parametrize("name", ["sglang-router-0.1.txt", "smg-1.13.0.txt", "vllm-router-0.1.17.txt"])
def test_flags_of_other_routers_are_known(name):
    for flag, takes in flags(name):
        values = [] if takes == "0" else VALUES.get(flag, ["7"])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                Config.from_args([f"--{flag}", *values])
            except ValueError as refusal:
                assert "unexpected argument" not in str(refusal), flag


def test_abbreviations_and_repeated_flags_work():
    config = Config.from_args(["--eviction-interval", "7", "--worker-url", "http://a", "--port", "1", "--port", "2"])
    assert (config.eviction_interval_secs, config.worker_urls, config.port) == (7, ["http://a"], 2)
    prefill = ["--prefill", "http://p", "9000", "--prefill", "http://q", "none", "--prefill", "http://r"]
    config = Config.from_args(["--pd-disaggregation", *prefill, "--decode", "http://d"])
    assert config.prefill == ["http://p", "9000", "http://q", "none", "http://r"]


def test_launcher_routes_until_signal(program, workers):
    for number in (signal.SIGINT, signal.SIGTERM):
        router = program(*LAUNCH, "--worker-urls", *workers, "--host", "127.0.0.1", "--port", "0", "--queue-when-unavail")
        assert generate(router.url("listening")) == 200
        router.process.send_signal(number)
        code, output = router.end()
        assert code == 0, output
        assert "stopped" in output and "Traceback" not in output


WRONG = [
    (["--prot", "1"], "sgl-router: unexpected argument '--prot' found; did you mean '--port'? (--help lists all)\n"),
    (
        ["--worker-urls", "ftp://a"],
        "sgl-router: --worker-urls: worker URL 'ftp://a': the scheme must be http, https, grpc or grpcs\n",
    ),
]


@pytest.mark.parametrize(("args", "line"), WRONG)
def test_wrong_command_line_exits_with_2(program, args, line):
    assert program(*LAUNCH, *args).end() == (2, line)


def test_failure_exits_with_1(program, workers):
    first = program(*LAUNCH, "--worker-urls", *workers, "--host", "127.0.0.1", "--port", "0")
    port = first.url("listening").rsplit(":", 1)[1]
    code, output = program(*LAUNCH, "--worker-urls", *workers, "--host", "127.0.0.1", "--port", port).end()
    assert code == 1
    assert f"cannot listen on 127.0.0.1:{port}" in output.splitlines()[-1]


def test_help_and_version_match_program(program):
    code, output = program(*LAUNCH, "--help").end()
    assert code == 0 and "--worker-urls" in output
    assert program("-m", "sgl_router", "--version").end()[0] == 0
    code, output = program("-m", "sgl_router", "policies").end()
    assert code == 0 and "marginal_utility" in output


def test_config_file_works_with_both(program, workers, tmp_path):
    file = tmp_path / "router.toml"
    config = Config(worker_urls=workers, host="127.0.0.1", port=0, queue_when_unavailable=True)
    file.write_text(config.to_toml(), encoding="utf-8")
    router = program(*LAUNCH, "--config", str(file))
    url = router.url("listening")
    assert generate(url) == 200
    assert {worker["url"] for worker in ask(url, "/workers")[1]["workers"]} == set(workers)
