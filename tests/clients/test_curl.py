"""curl sees the bytes, the headers and the stream as they are on the wire."""

import json
import shutil
import subprocess

import pytest

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is missing")


def curl(*arguments):
    """The status, the headers (lower case) and the body of one call."""
    out = subprocess.run(
        ["curl", "-sS", "--max-time", "30", "-i", *arguments], stdin=subprocess.DEVNULL, capture_output=True, check=True
    ).stdout.decode()
    head, body = out.split("\r\n\r\n", 1)
    status, *lines = head.split("\r\n")
    headers = {k.strip().lower(): v.strip() for k, v in (line.split(":", 1) for line in lines)}
    return int(status.split()[1]), headers, body


def post(url, body, *arguments):
    kind = ("-H", "content-type: application/json")
    return curl(url, *kind, "-d", json.dumps(body), *arguments)


def chat(model, **more):
    return {"model": model, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 8, **more}


def test_response_names_worker_and_request(router, workers, model):
    status, headers, body = post(f"{router}/v1/chat/completions", chat(model), "-H", "x-request-id: ask-1")
    assert status == 200
    assert headers["x-request-id"] == "ask-1"
    assert headers["x-sglang-worker"] in workers
    assert json.loads(body)["usage"]["completion_tokens"] == 8


def test_http2_is_served_without_tls(router, workers, model):
    version = subprocess.run(["curl", "--version"], capture_output=True, check=True).stdout.decode()
    if "HTTP2" not in version:
        pytest.skip("this curl does not speak HTTP/2")
    status, headers, body = post(
        f"{router}/v1/chat/completions", chat(model, stream=True), "-N", "--http2-prior-knowledge"
    )
    assert status == 200
    assert headers["x-sglang-worker"] in workers
    assert body.rstrip().endswith("data: [DONE]")


def test_request_ids_are_unique(router, model):
    ids = [post(f"{router}/v1/chat/completions", chat(model))[1]["x-request-id"] for _ in range(3)]
    assert len(set(ids)) == 3


def test_stream_passes_event_by_event(router, model):
    status, headers, body = post(f"{router}/v1/chat/completions", chat(model, stream=True), "-N")
    assert status == 200
    assert headers["content-type"].startswith("text/event-stream")
    events = [event for event in body.replace("\r\n", "\n").split("\n\n") if event]
    assert all(event.startswith("data: ") for event in events)
    assert events[-1] == "data: [DONE]"
    # A slow machine puts several tokens in one event.
    assert len(events) > 2


def test_native_generate_keeps_its_meta_info(router):
    body = {"text": "Once upon a time", "sampling_params": {"max_new_tokens": 8}}
    status, _, body = post(f"{router}/generate", body)
    assert status == 200
    assert json.loads(body)["meta_info"]["completion_tokens"] == 8


def test_readiness_reflects_workers(router, lonely_router):
    assert curl(f"{router}/readiness")[0] == 200
    assert curl(f"{lonely_router}/readiness")[0] == 503
    for liveness in ("health", "liveness"):
        assert curl(f"{router}/{liveness}")[0] == 200
        assert curl(f"{lonely_router}/{liveness}")[0] == 200


def test_truncated_body_gets_workers_error(router, workers):
    status, headers, body = curl(f"{router}/v1/chat/completions", "-H", "content-type: application/json", "-d", '{"model": "x", ')
    assert status == 400
    assert headers["x-sglang-worker"] in workers
    assert json.loads(body)["message"]


def test_metrics_are_served(router, model):
    post(f"{router}/v1/chat/completions", chat(model))
    status, _, body = curl(f"{router}/metrics")
    assert status == 200
    assert "sgl_router_requests" in body
