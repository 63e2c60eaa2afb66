"""The launcher: the same flags, messages, exit codes and signals as the program."""

import pathlib
import signal

import pytest
from conftest import ROOT, ask, generate
from sgl_router import Config

LISTS = ROOT / "crates" / "router-proxy" / "tests" / "data" / "flags"
LAUNCH = ("-m", "sgl_router.launch_router")


def flags(name):
    """The flags of another router with how many values each takes."""
    return [tuple(line.split()) for line in (LISTS / name).read_text(encoding="utf-8").splitlines() if line]


def test_the_launcher_routes_until_a_signal(program, workers):
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
        "sgl-router: --worker-urls: worker URL 'ftp://a': the scheme must be http or https\n",
    ),
]


@pytest.mark.parametrize(("args", "line"), WRONG)
def test_a_wrong_command_line_is_one_line_and_exit_code_2(program, args, line):
    assert program(*LAUNCH, *args).end() == (2, line)


def test_a_failure_is_exit_code_1(program, workers):
    first = program(*LAUNCH, "--worker-urls", *workers, "--host", "127.0.0.1", "--port", "0")
    port = first.url("listening").rsplit(":", 1)[1]
    code, output = program(*LAUNCH, "--worker-urls", *workers, "--host", "127.0.0.1", "--port", port).end()
    assert code == 1
    assert f"cannot listen on 127.0.0.1:{port}" in output.splitlines()[-1]


def test_help_and_version_are_those_of_the_program(program):
    code, output = program(*LAUNCH, "--help").end()
    assert code == 0 and "--worker-urls" in output
    assert program("-m", "sgl_router", "--version").end()[0] == 0
    code, output = program("-m", "sgl_router", "policies").end()
    assert code == 0 and "marginal_utility" in output


def test_a_config_file_serves_both_ways(program, workers, tmp_path):
    file = tmp_path / "router.toml"
    config = Config(worker_urls=workers, host="127.0.0.1", port=0, queue_when_unavailable=True)
    file.write_text(config.to_toml(), encoding="utf-8")
    router = program(*LAUNCH, "--config", str(file))
    url = router.url("listening")
    assert generate(url) == 200
    assert {worker["url"] for worker in ask(url, "/workers")[1]["workers"]} == set(workers)
