"""Servers and the router in front of them, with emulated servers in SGLang's place."""

import json
import os
import pathlib
import signal

import pytest
from conftest import generate
from sgl_router import launch_server

STAND_IN = str(pathlib.Path(__file__).parent / "stand_in")
LAUNCH = ("-m", "sgl_router.launch_server")
ROUTER = ("--host", "127.0.0.1", "--port", "0", "--router-queue-when-unavailable")


@pytest.fixture
def launch(program, tmp_path):
    """Start servers and a router, and read the arguments of each server."""

    def start(*args):
        return program(*LAUNCH, *args, env={"PYTHONPATH": STAND_IN, "STAND_IN_DIR": str(tmp_path)})

    def told():
        files = sorted(tmp_path.glob("*.json"))
        return [json.loads(file.read_text(encoding="utf-8")) for file in files]

    start.told = told
    return start


def runs(pid):
    """Whether a process exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def after(words, flag):
    """The word after a flag."""
    return words[words.index(flag) + 1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_servers_and_router_start_and_stop_together(launch, number):
    running = launch("--dp-size", "2", "--tp-size=2", "--model-path", "m", "--trust-remote-code", *ROUTER)
    assert generate(running.url("listening")) == 200
    while len(launch.told()) < 2:
        running.line_with("healthy")
    first, second = launch.told()
    assert [after(each["args"], "--base-gpu-id") for each in (first, second)] == ["0", "2"]
    assert after(first["args"], "--port") != after(second["args"], "--port")
    for each in (first, second):
        assert after(each["args"], "--host") == "127.0.0.1"
        assert after(each["args"], "--tp-size") == "2" and after(each["args"], "--model-path") == "m"
        assert "--trust-remote-code" in each["args"]
        assert not any("dp-size" in word or "router" in word for word in each["args"])
    running.process.send_signal(number)
    code, output = running.end()
    assert code == 0, output
    assert not any(runs(each["pid"]) for each in (first, second))


def test_ended_server_stops_the_others(launch):
    running = launch("--dp-size", "2", *ROUTER)
    assert generate(running.url("listening")) == 200
    while len(launch.told()) < 2:
        running.line_with("healthy")
    first, second = launch.told()
    os.kill(first["pid"], signal.SIGKILL)
    code, output = running.end()
    assert code == 1
    assert f":{after(first['args'], '--port')} was ended by signal 9; the others are stopped" in output
    assert not runs(second["pid"])


def test_server_that_never_starts_is_reported(launch):
    code, output = launch("--crash", *ROUTER).end()
    assert code == 1
    assert output.splitlines()[-1].endswith("ended with exit code 3; the others are stopped")


WRONG = [
    (["--dp-size", "0"], "--dp-size: must be at least 1"),
    (["--dp-size", "two"], "--dp-size: needs one whole number, not 'two'"),
    (["--worker-urls", "http://a"], "--worker-urls: the workers are those that are started"),
    (["model"], "unexpected argument 'model'; flags begin with --"),
    (["--router-polcy", "random"], "unexpected argument '--polcy' found; did you mean '--policy'?"),
]


@pytest.mark.parametrize(("args", "message"), WRONG)
def test_wrong_flags_exit_with_2(args, message, capsys):
    assert launch_server.run(args) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"sgl-router: {message}")


def test_missing_sglang_is_reported(capsys):
    assert launch_server.run(["--dp-size", "2"]) == 2
    assert "SGLang is not installed" in capsys.readouterr().err


PLANS = [
    ("--model m --router-policy random", ["--model", "m"], ["--policy", "random"]),
    ("--api-key k", ["--api-key", "k"], ["--api-key", "k", "--worker-api-key", "k"]),
    ("--api-key k --router-api-key j", ["--api-key", "k"], ["--api-key", "j", "--worker-api-key", "k"]),
    ("--log-level debug", ["--log-level", "debug"], ["--log-level", "debug"]),
    ("--log-level debug --router-log-level warn", ["--log-level", "debug"], ["--log-level", "warn"]),
    ("--port=1 --host h --x=a=b", ["--x", "a=b"], ["--port", "1", "--host", "h"]),
    ("--tp 4 --pp-size 2 --dp 3", ["--tp-size", "4", "--pp-size", "2"], []),
]


@pytest.mark.parametrize(("line", "server", "router"), PLANS)
def test_flags_go_to_server_or_router(line, server, router):
    plan = launch_server.plan(line.split())
    assert (plan.server, plan.router) == (server, router)
