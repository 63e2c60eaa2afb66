"""Proxies that carry requests themselves, in front of emulated engines, with the router beside them."""

import http.client
import http.server
import json
import pathlib
import sys
import threading
import time
import urllib.request

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from processes import Server, free_ports  # noqa: E402

PATIENCE_SECONDS = 20
CHAT = "/v1/chat/completions"


def chat(**members):
    messages = [{"role": "user", "content": members.pop("content", "hi")}]
    return {"model": "emulated", "messages": messages, "max_tokens": 5, **members}


def send(port, body, path=CHAT, headers=None):
    """The response to a POST on a connection of its own, not read yet, with the connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection.request("POST", path, data, {"content-type": "application/json", **(headers or {})})
    response = connection.getresponse()
    response.connection = connection
    return response


def post(port, body, path=CHAT, headers=None):
    """The status, the headers and the body of a response."""
    response = send(port, body, path, headers)
    return response.status, response.headers, response.read()


def until(condition, what):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"{what}: it never came true"
        time.sleep(0.02)


def get_json(url):
    with urllib.request.urlopen(url, timeout=PATIENCE_SECONDS) as response:
        return json.load(response)


class Router:
    """A router whose HTTP port tells how it stands."""

    def __init__(self, server, port):
        self.server, self.port = server, port
        self.url = f"http://127.0.0.1:{port}"

    def workers(self):
        return get_json(f"{self.url}/workers")["workers"]

    def in_flight(self):
        return sum(worker["load"] for worker in self.workers())

    def outcomes(self):
        """How the attempts of the last requests ended, the newest first."""
        traces = get_json(f"{self.url}/v1/traces?limit=1000")["traces"]
        return [[attempt["end"]["outcome"] for attempt in trace["attempts"] if attempt.get("end")] for trace in traces]

    def is_idle(self):
        return self.in_flight() == 0

    def stop(self):
        self.server.stop()


class Fleet:
    """Emulated engines, each a process of its own so that one can be killed."""

    def __init__(self, folder, count, profile="h200*1"):
        self.first = free_ports(count)
        self.ports = [self.first + i for i in range(count)]
        self.urls = [f"http://127.0.0.1:{port}" for port in self.ports]
        self.servers = [
            Server(folder / f"worker-{port}", "emulate", "--fleet", profile, "--port-base", str(port))
            for port in self.ports
        ]
        for server, url in zip(self.servers, self.urls):
            server.wait_for(f"{url}/health")

    def kill(self, number):
        self.servers[number].process.kill()
        self.servers[number].process.wait()

    def stop(self):
        for server in self.servers:
            server.stop()


class StubWorker:
    """A worker that answers with given bytes, and keeps what it was sent."""

    def __init__(self, answer, content_type="application/json"):
        self.seen = []
        stub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                self.send_response(200 if self.path == "/health" else 404)
                self.send_header("content-length", "0")
                self.end_headers()

            def do_POST(self):
                stub.seen.append((dict(self.headers), self.read_body()))
                self.send_response(200)
                self.send_header("content-type", content_type)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def read_body(self):
                if self.headers.get("transfer-encoding") != "chunked":
                    return self.rfile.read(int(self.headers.get("content-length", 0)))
                body = b""
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return body

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def stack(tmp_path):
    """Stops what is put on it, the last first."""

    class Stack(list):
        def put(self, server):
            self.append(server)
            return server

    servers = Stack()
    servers.folder = tmp_path
    yield servers
    for server in reversed(servers):
        server.stop()
