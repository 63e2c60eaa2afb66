"""An emulated fleet and the router in front of it, both from the binary that SGL_ROUTER_BIN names."""

import json
import pathlib
import socket
import sys
import urllib.request

import openai
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from processes import Server, free_ports  # noqa: E402


@pytest.fixture(scope="session")
def workers(tmp_path_factory):
    """The URLs of two emulated engines."""
    first = free_ports(4)
    log = tmp_path_factory.mktemp("fleet") / "log"
    ports = ["--port-base", str(first), "--grpc", "--grpc-port-base", str(first + 2)]
    fleet = Server(log, "emulate", "--fleet", "sglang_1.5b*2", "--meta", "stock", *ports)
    urls = [f"http://127.0.0.1:{first + i}" for i in range(2)]
    for url in urls:
        fleet.wait_for(f"{url}/health")
    yield WorkerUrls(urls, [f"grpc://127.0.0.1:{first + 2 + i}" for i in range(2)])
    fleet.stop()


class WorkerUrls(list):
    """The URLs of workers, and those of their gRPC ports beside them."""

    def __init__(self, urls, grpc):
        super().__init__(urls)
        self.grpc = grpc


def launch(log, worker_urls, *arguments, ready=200):
    port = free_ports(1)
    where = ["--host", "127.0.0.1", "--port", str(port)]
    router = Server(log, "launch", "--worker-urls", *worker_urls, *where, *arguments)
    router.url = f"http://127.0.0.1:{port}"
    router.wait_for(f"{router.url}/readiness", status=ready)
    return router


@pytest.fixture(scope="session")
def router(workers, tmp_path_factory):
    """The URL of a router in front of the fleet."""
    server = launch(tmp_path_factory.mktemp("router") / "log", workers)
    yield server.url
    server.stop()


@pytest.fixture(scope="session")
def grpc_router(workers, tmp_path_factory):
    """The URL of a router that reaches the same fleet by gRPC."""
    server = launch(tmp_path_factory.mktemp("grpc") / "log", workers.grpc)
    yield server.url
    server.stop()


@pytest.fixture(scope="session")
def keyed_router(workers, tmp_path_factory):
    """The URL of a router whose clients need the key "secret"."""
    server = launch(tmp_path_factory.mktemp("keyed") / "log", workers, "--api-key", "secret")
    yield server.url
    server.stop()


@pytest.fixture(scope="session")
def lonely_router(tmp_path_factory):
    """The URL of a router whose only worker does not listen."""
    with socket.socket() as taken:  # bound, so that no other process gets the port, and not listening
        taken.bind(("127.0.0.1", 0))
        worker = f"http://127.0.0.1:{taken.getsockname()[1]}"
        server = launch(tmp_path_factory.mktemp("lonely") / "log", [worker], ready=503)
        yield server.url
        server.stop()


def client_of(url):
    return openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=30)


@pytest.fixture(params=["router", "grpc_router"])
def client(request):
    """A client of a router that reaches its workers by HTTP, and of one that does so by gRPC."""
    return client_of(request.getfixturevalue(request.param))


@pytest.fixture
def lonely_client(lonely_router):
    return client_of(lonely_router)


@pytest.fixture(scope="session")
def model(workers):
    """The name of the model that the fleet serves."""
    with urllib.request.urlopen(f"{workers[0]}/v1/models", timeout=5) as response:
        return json.load(response)["data"][0]["id"]
