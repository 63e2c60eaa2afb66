"""An emulated fleet, a router in front of it and a small load, all from the binary that SGL_ROUTER_BIN names."""

import json
import pathlib
import sys
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from processes import Server, free_ports  # noqa: E402


def call(method, url, body=None):
    """The JSON that a router or a worker answers."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.loads(response.read() or "null")


class Fleet:
    """A router with emulated workers, some of which have a fault once `break_workers` was called."""

    def __init__(self, folder):
        self.folder = folder
        self.servers = []
        first = free_ports(6)
        *others, self.slow, self.dead = [f"http://127.0.0.1:{first + n}" for n in range(5)]
        self.drained, self.healthy = others[0], others[1:]
        self.emulate("a100*3,a100*1@0.2", first)
        self.mortal = self.emulate("a100*1", first + 4)
        self.url = f"http://127.0.0.1:{first + 5}"
        self.router = self.start(
            "launch", "--worker-urls", *others, self.slow, "--port", str(first + 5), "--policy", "marginal_cost",
            "--shadow-policies", "least_request", "--enable-tracking",
        )
        self.router.wait_for(f"{self.url}/readiness")
        call("POST", f"{self.url}/workers", {"url": self.dead, "labels": {"zone": "west", "rack": "r7"}})
        load = ["--request-rate", "6", "--num-requests", "1000000", "--output-len", "48", "--input-len", "128"]
        self.start("send", "--router-url", self.url, *load, "--output", str(folder / "sent.csv"))

    def start(self, *arguments):
        server = Server(self.folder / f"{arguments[0]}-{len(self.servers)}.log", *arguments)
        self.servers.append(server)
        return server

    def emulate(self, spec, first):
        server = self.start("emulate", "--fleet", spec, "--port-base", str(first))
        server.wait_for(f"http://127.0.0.1:{first}/health")
        return server

    def workers(self):
        """What the router says of each worker, by its URL."""
        return {worker["url"]: worker for worker in call("GET", f"{self.url}/workers")["workers"]}

    def break_workers(self):
        """One drains, one is killed; the slow one is slow from the start."""
        call("PUT", f"{self.url}/workers/{self.workers()[self.drained]['id']}", {"drained": True})
        self.mortal.process.kill()

    def stop(self):
        for server in reversed(self.servers):
            server.stop()
