"""Processes that tests start: the binary that SGL_ROUTER_BIN names, and other programs."""

import os
import pathlib
import socket
import subprocess
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("SGL_ROUTER_BIN", str(ROOT / "target" / "debug" / "sgl-router"))
START_SECONDS = 30


def free_ports(count):
    """The first of `count` consecutive free ports."""
    for first in range(21000 + os.getpid() % 9000, 60000, count):
        sockets = []
        try:
            for port in range(first, first + count):
                sockets.append(socket.create_server(("127.0.0.1", port)))
            return first
        except OSError:
            continue
        finally:
            for s in sockets:
                s.close()
    raise RuntimeError("no free ports")


def status_of(url):
    """The status of a GET, or None while the connection fails."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


class Server:
    """A process that serves: of the binary, unless another program is named."""

    def __init__(self, log, *arguments, program=BINARY):
        self.log = log
        with open(log, "wb") as out:
            self.process = subprocess.Popen(
                [program, *arguments], stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
            )

    def wait_for(self, url, status=200):
        deadline = time.monotonic() + START_SECONDS
        while status_of(url) != status:
            alive = self.process.poll() is None
            if not alive or time.monotonic() > deadline:
                why = "gave up waiting" if alive else f"ended with {self.process.returncode}"
                self.stop()
                raise RuntimeError(f"{url}: {why}\n{pathlib.Path(self.log).read_text(errors='replace')}")
            time.sleep(0.05)

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
