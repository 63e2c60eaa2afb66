"""A real Envoy with the endpoint picker, by the configuration in deploy/envoy."""

import importlib.util
import json
import pathlib
import re
import shutil
import socket
import subprocess
import threading
import time

import pytest
from conftest import PATIENCE_SECONDS, Fleet, Router, StubWorker, chat, get_json, post, send, until
from processes import ROOT, Server, free_ports

ENVOY = pathlib.Path(importlib.util.find_spec("envoy").origin).parent / "_bin" / "envoy"
EXAMPLE = (ROOT / "deploy" / "envoy" / "envoy.yaml").read_text()
ENDPOINT = "        - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %d}}}\n"

SUBSET_FILTER = """          - name: envoy.filters.http.header_to_metadata
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.header_to_metadata.v3.Config
              request_rules:
              - header: x-subset
                on_header_present: {metadata_namespace: envoy.lb.subset_hint, key: x-gateway-destination-endpoint-subset}
"""


def picker(stack, workers, *arguments, ready=200):
    """An endpoint picker for workers."""
    first = free_ports(2)
    where = ["--port", str(first), "--grpc-port", str(first + 1), "--enable-tracking"]
    log = stack.folder / f"picker-{first}"
    server = Server(log, "endpoint-picker", "--worker-urls", *workers, *where, *arguments)
    router = stack.put(Router(server, first))
    router.grpc_port = first + 1
    server.wait_for(f"{router.url}/readiness", status=ready)
    return router


def envoy(stack, worker_ports, grpc_port, changes=()):
    """The port of an Envoy in front of workers."""
    port = free_ports(2)
    text = EXAMPLE.replace("port_value: 8080", f"port_value: {port}").replace("port_value: 9002", f"port_value: {grpc_port}")
    endpoints = "".join(ENDPOINT % worker for worker in worker_ports)
    text, count = re.subn(r"(?:        - endpoint: .*port_value: 3000\d.*\n)+", endpoints, text)
    assert count == 1
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    admin = f"admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port + 1}}}}}}}\n"
    file = stack.folder / f"envoy-{port}.yaml"
    file.write_text(admin + text)
    ENVOY.chmod(0o755)
    arguments = ["--log-level", "warning", "--disable-hot-restart", "--concurrency", "1", "-c", str(file)]
    server = stack.put(Server(stack.folder / f"envoy-{port}", *arguments, program=str(ENVOY)))
    server.wait_for(f"http://127.0.0.1:{port + 1}/ready")
    return port


def stream_text(body):
    events = [line[6:] for line in body.decode().split("\n\n") if line.startswith("data: ")]
    assert events[-1] == "[DONE]"
    choices = [choice for event in events[:-1] for choice in json.loads(event)["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


def test_bodies_pass_unmodified_in_both_directions(stack):
    """Whole answers, streams and a large body; compared byte by byte with what a worker sent and got."""
    whole = json.dumps({"choices": [{"text": "é" * 70_000}], "usage": {"prompt_tokens": 3, "completion_tokens": 7}}).encode()
    event = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
    for answer, kind in [(whole, "application/json"), (event * 4000 + b"data: [DONE]\n\n", "text/event-stream")]:
        worker = stack.put(StubWorker(answer, kind))
        router = picker(stack, [worker.url])
        port = envoy(stack, [worker.port], router.grpc_port)
        for content in ["hi", "long " * 700_000]:
            request = json.dumps(chat(content=content, unknown={"ü": [1, None]}), ensure_ascii=False).encode()
            status, headers, body = post(port, request, headers={"x-own": "kept", "authorization": "Bearer of-the-engine"})
            assert (status, body) == (200, answer)
            seen, sent = worker.seen[-1]
            assert sent == request
            assert (seen["x-own"], seen["authorization"]) == ("kept", "Bearer of-the-engine")
            assert headers["x-sglang-worker"] == worker.url
            until(router.is_idle, "the request has ended")
        assert router.outcomes() == [["success"]] * 2


def test_engines_are_learned_from(stack):
    """Streams and whole answers of engines: the picker reads their token counts."""
    fleet = stack.put(Fleet(stack.folder, 2))
    router = picker(stack, fleet.urls)
    port = envoy(stack, fleet.ports, router.grpc_port)
    for stream in [False, True] * 3:
        options = {"stream_options": {"include_usage": True}} if stream else {}
        status, headers, body = post(port, chat(stream=stream, **options))
        assert status == 200 and headers["x-sglang-worker"] in fleet.urls
        text = stream_text(body) if stream else json.loads(body)["choices"][0]["message"]["content"]
        assert text.strip()
    until(router.is_idle, "all have ended")
    traces = get_json(f"{router.url}/v1/traces")["traces"]
    assert [trace["output_tokens"] for trace in traces] == [5] * 6
    assert all(trace["attempts"][0]["end"]["ttft"] for trace in traces if trace["stream"])


def test_dead_worker_is_passed_over(stack):
    """A worker dies between two health checks: the gateway goes to the next endpoint, and the lease with it."""
    fleet = stack.put(Fleet(stack.folder, 3))
    router = picker(stack, fleet.urls, "--policy", "round_robin")
    port = envoy(stack, fleet.ports, router.grpc_port)
    for _ in range(3):
        assert post(port, chat())[0] == 200
    fleet.kill(1)
    for _ in range(6):
        status, headers, _ = post(port, chat())
        assert status == 200 and headers["x-sglang-worker"] != fleet.urls[1]
    until(router.is_idle, "all have ended")
    moved = [outcomes for outcomes in router.outcomes() if len(outcomes) == 2]
    assert moved and all(sorted(outcomes) == ["failed", "success"] for outcomes in moved)
    until(lambda: sum(worker["is_healthy"] for worker in router.workers()) == 2, "the dead one is found")


def test_no_worker_answers(stack):
    """All endpoints are dead: the client gets the gateway's error, and nothing stays in flight."""
    fleet = stack.put(Fleet(stack.folder, 2))
    router = picker(stack, fleet.urls)
    port = envoy(stack, fleet.ports, router.grpc_port)
    fleet.kill(0)
    fleet.kill(1)
    assert post(port, chat())[0] == 503
    until(router.is_idle, "it has ended")
    until(lambda: not any(worker["is_healthy"] for worker in router.workers()), "both are found")
    status, headers, body = post(port, chat())
    assert (status, json.loads(body)["error"]["code"]) == (503, "no_healthy_worker")
    assert headers["content-type"] == "application/json" and headers["retry-after"] == "1"


def test_client_that_leaves_is_cancelled(stack):
    fleet = stack.put(Fleet(stack.folder, 1))
    router = picker(stack, fleet.urls)
    port = envoy(stack, fleet.ports, router.grpc_port)
    response = send(port, chat(stream=True, max_tokens=20_000))
    assert response.read(20)
    assert router.in_flight() == 1
    response.close()
    response.connection.close()
    until(router.is_idle, "it is cancelled")
    assert router.outcomes()[0] == ["cancelled"]


def test_full_fleet_makes_wait_or_refuses(stack):
    fleet = stack.put(Fleet(stack.folder, 1))
    limits = ["--worker-max-in-flight", "1", "--queue-size", "1", "--queue-timeout-secs", "10"]
    router = picker(stack, fleet.urls, *limits)
    port = envoy(stack, fleet.ports, router.grpc_port)
    running = send(port, chat(stream=True, max_tokens=20_000))
    assert running.read(20)
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(post(port, chat())))
    waiting.start()
    time.sleep(0.5)  # longer than Envoy waits for an answer in other modes
    status, _, body = post(port, chat())
    assert (status, json.loads(body)["error"]["code"]) == (503, "workers_at_capacity")
    running.close()
    running.connection.close()
    waiting.join(PATIENCE_SECONDS)
    assert answers[0][0] == 200
    until(router.is_idle, "all have ended")


def test_shed_requests_get_429(stack):
    fleet = stack.put(Fleet(stack.folder, 1))
    router = picker(stack, fleet.urls, "--max-concurrent-requests", "1", "--queue-size", "0")
    port = envoy(stack, fleet.ports, router.grpc_port)
    running = send(port, chat(stream=True, max_tokens=20_000))
    assert running.read(20)
    status, headers, body = post(port, chat())
    assert (status, json.loads(body)["error"]["code"], headers["retry-after"]) == (429, "queue_full", "1")
    running.close()
    running.connection.close()


@pytest.mark.parametrize("allow", [False, True], ids=["fail-close", "fail-open"])
def test_picker_that_dies(stack, allow):
    fleet = stack.put(Fleet(stack.folder, 2))
    router = picker(stack, fleet.urls)
    port = envoy(stack, fleet.ports, router.grpc_port, [("failure_mode_allow: false", f"failure_mode_allow: {str(allow).lower()}")])
    running = send(port, chat(stream=True, max_tokens=20_000))
    assert running.read(20) and post(port, chat())[0] == 200
    router.server.process.kill()
    router.server.process.wait()
    if allow:
        # At the moment of its death Envoy has not noticed yet.
        bodies = [chat(stream=stream) for stream in [False, True]] * 2
        until(lambda: all(post(port, body)[0] == 200 for body in bodies), "Envoy does without the picker")
    else:
        assert post(port, chat())[0] == 500
    running.close()
    running.connection.close()


def test_subset_alone_is_chosen_from(stack):
    fleet = stack.put(Fleet(stack.folder, 3))
    router = picker(stack, fleet.urls, "--policy", "round_robin")
    before = "          - name: envoy.filters.http.ext_proc\n"
    port = envoy(stack, fleet.ports, router.grpc_port, [(before, SUBSET_FILTER + before)])
    for _ in range(3):
        headers = {"x-subset": f"127.0.0.1:{fleet.ports[2]}"}
        assert post(port, chat(), headers=headers)[1]["x-sglang-worker"] == fleet.urls[2]
    status, _, body = post(port, chat(), headers={"x-subset": "10.9.8.7:1"})
    assert (status, json.loads(body)["error"]["code"]) == (503, "no_healthy_worker")


def test_key_of_a_client_stays_here(stack):
    worker = stack.put(StubWorker(b"{}"))
    router = picker(stack, [worker.url], "--api-key", "secret")
    port = envoy(stack, [worker.port], router.grpc_port)
    assert post(port, chat())[0] == 401
    assert post(port, chat(), headers={"authorization": "Bearer secret"})[0] == 200
    assert "authorization" not in worker.seen[-1][0]


TLS = """    transport_socket:
      name: envoy.transport_sockets.tls
      typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext}
"""


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is missing: install openssl")
def test_picker_behind_tls(stack):
    """The health of the picker is asked for on a port of its own, since gateways' probes know no TLS."""
    fleet = stack.put(Fleet(stack.folder, 1))
    cert, key = stack.folder / "cert.pem", stack.folder / "key.pem"
    kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=picker"]
    subprocess.run(["openssl", "req", *kind, "-keyout", key, "-out", cert], check=True, capture_output=True)
    health = free_ports(1)
    files = ["--grpc-tls-cert-path", str(cert), "--grpc-tls-key-path", str(key), "--grpc-health-port", str(health)]
    router = picker(stack, fleet.urls, *files)
    before = "    typed_extension_protocol_options:\n"
    readiness = ("grpc_health_check: {service_name: liveness}", "grpc_health_check: {service_name: readiness}")
    port = envoy(stack, fleet.ports, router.grpc_port, [(before, TLS + before), readiness])
    status, headers, _ = post(port, chat())
    assert status == 200 and headers["x-sglang-worker"] == fleet.urls[0]
    with socket.create_connection(("127.0.0.1", health), timeout=PATIENCE_SECONDS) as plain:
        plain.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5))
        assert plain.recv(9)[3] == 4, "it speaks HTTP/2 without TLS"


@pytest.mark.parametrize("modes", [("BUFFERED", "STREAMED"), ("NONE", "NONE")], ids=["buffered", "heads-only"])
def test_other_body_modes(stack, modes):
    """Gateways that send bodies otherwise, or not at all."""
    fleet = stack.put(Fleet(stack.folder, 2))
    router = picker(stack, fleet.urls)
    request, response = modes
    changes = [
        ("request_body_mode: FULL_DUPLEX_STREAMED", f"request_body_mode: {request}"),
        ("response_body_mode: FULL_DUPLEX_STREAMED", f"response_body_mode: {response}"),
    ]
    port = envoy(stack, fleet.ports, router.grpc_port, changes)
    for stream in [False, True]:
        status, headers, _ = post(port, chat(stream=stream))
        assert status == 200 and headers["x-sglang-worker"] in fleet.urls
    until(router.is_idle, "all have ended")
    assert router.outcomes() == [["success"]] * 2
