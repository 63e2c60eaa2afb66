"""A real HAProxy that asks the decision service, by the configuration in deploy/haproxy."""

import json
import shutil

import pytest
from conftest import Fleet, Router, chat, get_json, post, send, until
from processes import ROOT, Server, free_ports

HAPROXY = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
EXAMPLE = ROOT / "deploy" / "haproxy"

pytestmark = pytest.mark.skipif(HAPROXY is None, reason="haproxy is missing: install haproxy")


def router(stack, workers, *arguments):
    port = free_ports(1)
    flags = ["--worker-urls", *workers, "--port", str(port), "--enable-tracking", *arguments]
    started = stack.put(Router(Server(stack.folder / "router", "launch", *flags), port))
    started.server.wait_for(f"{started.url}/readiness")
    return started


def haproxy(stack, router_port):
    port = free_ports(1)
    text = (EXAMPLE / "haproxy.cfg").read_text()
    for old, new in [
        ("127.0.0.1:8080", f"127.0.0.1:{port}"),
        ("http://127.0.0.1:30000\n    http-request return", f"http://127.0.0.1:{router_port}\n    http-request return"),
        ("deploy/haproxy/route.lua", str(EXAMPLE / "route.lua")),
    ]:
        assert old in text, old
        text = text.replace(old, new)
    file = stack.folder / "haproxy.cfg"
    file.write_text(text)
    server = stack.put(Server(stack.folder / "haproxy", "-db", "-f", str(file), program=HAPROXY))
    server.wait_for(f"http://127.0.0.1:{port}/health")
    return port


def test_requests_go_where_the_router_says(stack):
    fleet = stack.put(Fleet(stack.folder, 2))
    started = router(stack, fleet.urls, "--policy", "round_robin")
    port = haproxy(stack, started.port)
    for stream in [False, True] * 2:
        options = {"stream_options": {"include_usage": True}} if stream else {}
        status, _, body = post(port, chat(stream=stream, **options))
        assert status == 200 and b"choices" in body
    assert post(port, chat(content="long " * 16_000))[0] == 200
    until(started.is_idle, "all have ended")
    traces = [trace for trace in get_json(f"{started.url}/v1/traces")["traces"] if "chat" in trace["route"]]
    assert [trace["status"] for trace in traces] == ["completed"] * 5
    assert {trace["worker_url"] for trace in traces} == set(fleet.urls)
    assert [trace["output_tokens"] for trace in traces] == [5] * 5


def test_client_that_leaves_is_cancelled(stack):
    fleet = stack.put(Fleet(stack.folder, 1))
    started = router(stack, fleet.urls)
    port = haproxy(stack, started.port)
    response = send(port, chat(stream=True, max_tokens=20_000))
    assert response.read(20) and started.in_flight() == 1
    response.close()
    response.connection.close()
    until(started.is_idle, "it is cancelled")
    assert started.outcomes()[0] == ["cancelled"]


def test_refusal_of_the_router_reaches_the_client(stack):
    fleet = stack.put(Fleet(stack.folder, 1))
    limits = ["--worker-max-in-flight", "1", "--queue-timeout-secs", "0.1"]
    started = router(stack, fleet.urls, *limits)
    port = haproxy(stack, started.port)
    running = send(port, chat(stream=True, max_tokens=20_000))
    assert running.read(20)
    status, _, body = post(port, chat())
    assert (status, json.loads(body)["error"]["code"]) == (503, "workers_at_capacity")
    running.close()
    running.connection.close()
