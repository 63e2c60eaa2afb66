"""The example of docs/report.md from end to end: emulated servers, two recorded runs, the report of them, and the line of
docs/recording.md that turns the records into Parquet.
"""

import contextlib
import os
import pathlib
import shlex
import signal
import socket
import subprocess
import sys

import duckdb
import pytest
from browsing import BINARY, ROOT, assert_drawn, inked, opened

COMMON = ["differences", "paired-differences", "latency", "ttft", "tpot", "requests", "tokens", "in-flight", "waiting"]
REQUESTS = 100
PER_WORKER = ["share", "worker-latency", "worker-in-flight", "worker-waiting"]


def commands(page, heading):
    """The commands of the first shell block after a heading, each as one line without its comment."""
    text = (ROOT / "docs" / page).read_text().split(heading, 1)[1]
    block = text.split("```sh\n", 1)[1].split("```", 1)[0]
    lines = [line.split("    # ")[0].rstrip() for line in block.splitlines()]
    return [line for line in "\n".join(lines).replace("\\\n", " ").splitlines() if line]


@contextlib.contextmanager
def serving(command, folder, says):
    """Runs a server until it has said a word that often; it is told to end, as by Ctrl-C."""
    word, times = says
    child = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        for line in child.stdout:
            times -= word in line
            if times == 0:
                break
        assert times == 0, f"{command} never said: {word}"
        yield
    finally:
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=60)


def free_ports(n):
    with contextlib.ExitStack() as stack:
        taken = [stack.enter_context(contextlib.closing(socket.create_server(("127.0.0.1", 0)))) for _ in range(n)]
        return [one.getsockname()[1] for one in taken]


@pytest.fixture(scope="session")
def example(tmp_path_factory):
    """The folder of the example after all its commands, and what the report printed."""
    folder = tmp_path_factory.mktemp("example")
    router, *workers = free_ports(4)
    own = {f"127.0.0.1:{30000 + i}": f"127.0.0.1:{port}" for i, port in enumerate([router, *workers])}
    printed = ""
    with contextlib.ExitStack() as servers, contextlib.ExitStack() as launched:
        for command in commands("report.md", "# Reports"):
            for known, address in own.items():
                command = command.replace(known, address)
            # A test need not wait for as many requests as a 99 % quantile with an interval.
            program, verb, *words = shlex.split(command.replace("--num-requests 320", f"--num-requests {REQUESTS}"))
            assert program == "sgl-router"
            if verb == "emulate":
                for profile, port in zip(("h200", "rtx4090", "rtx4090"), workers, strict=True):
                    emulated = [BINARY, verb, "--fleet", profile, "--port-base", str(port)]
                    servers.enter_context(serving(emulated, folder, ("http://", 1)))
            elif verb == "launch":
                launched.close()
                words += ["--host", "127.0.0.1", "--port", str(router), "--prometheus-port", "0"]
                launched.enter_context(serving([BINARY, verb, *words], folder, ("worker is healthy", 3)))
            else:
                words += ["--request-rate", "40"] if verb == "send" else []
                if verb == "report":
                    launched.close()
                done = subprocess.run([BINARY, verb, *words], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True)
                assert done.returncode == 0, f"{command}: {done.stderr}"
                printed = done.stdout
    return folder, printed


def test_example_is_told_in_words_and_tables(example):
    _, printed = example
    lines = printed.splitlines()
    assert lines[0].startswith(f"comparison.html: 4 runs, {4 * REQUESTS} requests, ")
    assert max(len(line) for line in lines) <= 80
    text = " ".join(lines)
    assert f"marginal_cost beside round_robin, from {REQUESTS} paired requests: mean latency is" in text
    assert f"marginal_cost (router) beside round_robin (router), from {REQUESTS} paired requests:" in text
    assert "The shadow marginal_cost would have chosen another worker in" in text
    assert "predicts a mean latency of" in text


def test_example_has_a_page(example, browser):
    folder, _ = example
    with opened(browser, folder / "comparison.html", "desktop", "light") as page:
        assert_drawn(page, COMMON + PER_WORKER)
        page.get_by_role("radio", name="round_robin (router)").click()
        drawn = inked(page)
        assert drawn["agreement"] >= 100 and drawn["decisions"] >= 100
        rated = page.get_by_role("region", name="Shadow policies").locator("tbody td").all_inner_texts()
        assert rated[0] == str(REQUESTS) and all(cell != "–" for cell in rated), rated


def test_records_become_parquet_by_the_documented_line(example):
    folder, _ = example
    line = commands("recording.md", "## Parquet")[1]
    assert line.startswith("python -c ")
    path = f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(line, shell=True, cwd=folder, check=True, env={**os.environ, "PATH": path})
    records = duckdb.read_parquet(str(folder / "records.parquet"))
    types = dict(zip(records.columns, map(str, records.types), strict=True))
    assert [types[name] for name in ("timestamp", "seq", "server_latency", "stream")] == ["TIMESTAMP", "BIGINT", "DOUBLE", "BOOLEAN"]
    found = duckdb.sql(
        "SELECT policy, count(*) FILTER (kind = 'decision'), count(server_latency), bool_and(server_latency > 0) "
        "FROM records GROUP BY policy ORDER BY policy"
    )
    assert found.fetchall() == [(policy, REQUESTS, REQUESTS, True) for policy in ("marginal_cost", "round_robin")]
