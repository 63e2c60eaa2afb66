"""Programs that were written for sglang_router, unchanged: the package under its name, and its launcher in a child."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import types
import urllib.request

import pytest
from conftest import TIMEOUT, ask, generate
from sgl_router import drop_in, foreground
from sgl_router import launch_router as launcher
from sgl_router.launch_router import RouterArgs

#: As RL frameworks start a router: flags in their own parser, attributes set afterwards, a child process, workers by API.
PROGRAM = """
import argparse, multiprocessing.connection, sys
from sglang_router.launch_router import RouterArgs


def run_router(args):
    from sglang_router.launch_router import launch_router

    sys.exit(0 if launch_router(args) is not None else 1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--start-method")
    RouterArgs.add_cli_args(parser, use_router_prefix=True, exclude_host_port=True)
    args = parser.parse_args()
    router_args = RouterArgs.from_cli_args(args, use_router_prefix=True)
    router_args.host = "127.0.0.1"
    router_args.port = 0
    router_args.prometheus_port = None
    process = multiprocessing.get_context(args.start_method).Process(target=run_router, args=(router_args,))
    process.daemon = True
    process.start()
    # A router that could not start ends the program, too.
    multiprocessing.connection.wait([process.sentinel, sys.stdin])
    process.terminate()
    process.join()
    print("exit code", process.exitcode)
"""


def environment(*more):
    """The environment of a program that finds this router as sglang_router."""
    return {"PYTHONPATH": os.pathsep.join([drop_in.folder(), *map(str, more)])}


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_router_runs_in_a_child_process(program, workers, tmp_path, method):
    script = tmp_path / "train.py"
    script.write_text(PROGRAM, encoding="utf-8")
    words = ["--start-method", method, "--router-policy", "round_robin", "--router-queue-timeout-secs", "30"]
    running = program(str(script), *words, env=environment(), stdin=subprocess.PIPE)
    url = running.url("listening")
    assert ask(url, "/workers")[1]["workers"] == []
    for worker in workers:
        body = json.dumps({"url": worker, "worker_type": "regular"}).encode()
        request = urllib.request.Request(url + "/workers", data=body)
        assert urllib.request.urlopen(request, timeout=TIMEOUT).status in (200, 202)
    deadline = time.monotonic() + TIMEOUT
    while ask(url, "/readiness")[0] != 200:
        assert time.monotonic() < deadline, ask(url, "/workers")
        time.sleep(0.002)
    assert generate(url) == 200
    running.process.stdin.write("\n")
    running.process.stdin.flush()
    assert "exit code 0" in running.line_with("exit code")


IMPORTS = """
import sglang_router, sgl_router.launch_router
from sglang_router.launch_router import RouterArgs, launch_router, parse_router_args
from sglang_router.launch_server import main
from sglang_router.router import Router, policy_from_str
from sglang_router.router_args import RouterArgs as Same
from sglang_router.sglang_router_rs import PolicyType
import sglang_router.cli, sglang_router.launch_router as launcher

assert sglang_router.__version__ == "0.3.2", sglang_router.__version__
assert RouterArgs is Same and launcher is sgl_router.launch_router
assert policy_from_str("cache_aware") is PolicyType.CacheAware
Router(selector={}, prefill_selector={}, policy=PolicyType.Random)
print("found in", sglang_router.__file__)
"""


def test_drop_in_comes_before_an_installed_package(tmp_path):
    installed = tmp_path / "sglang_router"
    installed.mkdir()
    (installed / "__init__.py").write_text("other = True\n", encoding="utf-8")
    printed = subprocess.check_output([sys.executable, "-m", "sgl_router.drop_in"], text=True, timeout=TIMEOUT)
    assert printed.strip() == drop_in.folder()
    for paths, expected in ((environment(tmp_path), drop_in.folder()), ({"PYTHONPATH": str(tmp_path)}, None)):
        code = IMPORTS if expected else "import sglang_router; print(sglang_router.other)"
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, env={**os.environ, **paths}, capture_output=True, text=True, timeout=TIMEOUT)
        assert done.returncode == 0, done.stderr
        assert f"found in {expected}" in done.stdout if expected else done.stdout == "True\n"
    assert [file.name for file in installed.iterdir() if file.suffix] == ["__init__.py"]


def test_name_is_not_taken_unasked():
    code = "import importlib.util, sgl_router; print(importlib.util.find_spec('sglang_router'))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True, timeout=TIMEOUT) == "None\n"


@pytest.mark.parametrize("module", ["sglang_router.launch_router", "sglang_router", "sglang_router.launch_server"])
def test_modules_run_as_programs(program, module):
    words = ["launch"] if module == "sglang_router" else []
    code, output = program("-m", module, *words, "--help", env=environment()).end()
    assert code == 0 and "--host" in output and "Warning" not in output


@pytest.mark.parametrize("words", [["sglang_router.launch_router"], ["sglang_router", "launch"]])
def test_launcher_has_defaults_of_sglang_router(program, words):
    ports = ["--host", "127.0.0.1", "--port", "0", "--prometheus-host", "127.0.0.1", "--prometheus-port", "0"]
    running = program("-m", *words, *ports, env=environment())
    url = running.url("listening")
    assert 'policy="cache_aware"' in running.lines[-1], running.lines
    assert "WARN" not in "".join(running.lines)
    assert ask(url, "/workers")[1]["workers"] == []
    assert "metrics" in running.line_with("/metrics")


def test_flags_win_over_defaults_of_sglang_router(program, workers):
    words = ["--host", "127.0.0.1", "--port", "0", "--prometheus-host", "127.0.0.1", "--prometheus-port", "0"]
    words += ["--policy", "round_robin", "--worker-urls", *workers]
    running = program("-m", "sglang_router.launch_router", *words, env=environment())
    assert ask(running.url("listening"), "/health")[0] == 200
    assert 'policy="round_robin"' in running.lines[-1], running.lines
    assert "WARN" not in "".join(running.lines)


def test_router_of_sglang_router_blocks(program, workers):
    script = f"""
from sglang_router.router import Router
from sglang_router.router_args import RouterArgs
router = Router.from_args(RouterArgs(worker_urls={workers}, host="127.0.0.1", port=0))
router.start()
print("returned")
"""
    running = program("-c", script, env=environment())
    assert ask(running.url("listening"), "/health")[0] == 200
    running.process.send_signal(signal.SIGINT)
    code, output = running.end()
    # Threads of the router may still write to the log.
    assert code == 0 and "returned" in output


class RouterStandIn:
    """A router that only notes its calls."""

    def __init__(self):
        self.calls = []

    def start(self):
        self.calls.append("start")

    def wait(self):
        self.calls.append("wait")

    def stop(self):
        self.calls.append("stop")


@pytest.mark.parametrize("form", ["arguments", "namespace"])
def test_launcher_starts_the_router_of_the_arguments(monkeypatch, form):
    router, seen = RouterStandIn(), []
    monkeypatch.setattr(launcher.Router, "from_args", lambda args: seen.append(args) or router)
    monkeypatch.setattr(launcher, "_name_process", lambda: None)
    args = RouterArgs(worker_urls=["http://a"], port=7)
    given = args if form == "arguments" else types.SimpleNamespace(**vars(args), verbose=False)
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert launcher.launch_router(given) is router
    assert seen == [args] and router.calls == ["start", "wait", "stop"]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_second_signal_does_not_wait_for_requests():
    class Waiting(RouterStandIn):
        def wait(self):
            signal.raise_signal(signal.SIGTERM)

        def stop(self):
            super().stop()
            signal.raise_signal(signal.SIGTERM)

    router = Waiting()
    with pytest.raises(KeyboardInterrupt):
        foreground.serve(router)
    assert router.calls == ["start", "stop"]


def test_thread_runs_router_without_signals():
    router, ended = RouterStandIn(), []
    thread = threading.Thread(target=lambda: ended.append(foreground.serve(router)))
    thread.start()
    thread.join(TIMEOUT)
    assert ended == [None] and router.calls == ["start", "wait"]


def test_refused_argument_ends_the_launcher(program, workers):
    script = f"""
from sgl_router.launch_router import RouterArgs, launch_router
launch_router(RouterArgs(worker_urls={workers}, service_discovery=True))
"""
    code, output = program("-c", script).end()
    assert code == 1
    assert output.splitlines()[-1].startswith("ValueError: --selector: is needed with --service-discovery")
