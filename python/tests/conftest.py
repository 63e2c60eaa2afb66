"""Emulated servers and other fixtures."""

import json
import os
import pathlib
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

#: Time limit for everything, far above what anything takes.
TIMEOUT = 60

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Program:
    """A process whose output is read line by line. The fixture kills it in the end."""

    def __init__(self, *command, env=None, stdin=subprocess.DEVNULL):
        """Start it."""
        self.process = subprocess.Popen(
            [sys.executable, *command],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
            text=True,
        )
        self.lines = []

    def line_with(self, text):
        """The next line that has ``text``."""
        for line in self.process.stdout:
            self.lines.append(line)
            if text in line:
                return line
        raise AssertionError(f"{text!r} was never printed; these were: {self.lines}")

    def url(self, text="http://"):
        """The first URL in the next line that has ``text``."""
        line = self.line_with(text)
        return line[line.index("http://") :].split('"')[0].split()[0]

    def end(self):
        """Wait for its end; its exit code and output."""
        rest, _ = self.process.communicate(timeout=TIMEOUT)
        return self.process.returncode, "".join(self.lines) + rest

    def kill(self):
        """Kill it."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


@pytest.fixture
def program():
    """Start Python programs that are killed when the test ends."""
    started = []

    def start(*command, **how):
        started.append(Program(*command, **how))
        return started[-1]

    yield start
    for each in started:
        each.kill()


@pytest.fixture(scope="session")
def workers():
    """The URLs of two emulated servers."""
    emulator = Program("-m", "sgl_router", "emulate", "--fleet", "a100@20*2", "--port-base", "0")
    try:
        yield [emulator.url(), emulator.url()]
    finally:
        emulator.kill()


def started(router):
    """The started router, once all of its workers are healthy."""
    if not router.running:
        router.start()
    deadline = time.monotonic() + TIMEOUT
    while any(worker.state != "healthy" for worker in router.stats().workers):
        assert time.monotonic() < deadline, f"not ready: {router.stats()}"
        time.sleep(0.002)
    return router


def ask(url, path="/generate", headers=None, **body):
    """The status and the JSON of a response; a GET where there is no body."""
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(url + path, data=data, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            status, text = response.status, response.read()
    except urllib.error.HTTPError as error:
        status, text = error.code, error.read()
    return status, json.loads(text) if text else None


def generate(url, **more):
    """The status of a request for two tokens."""
    return ask(url, text="a b c", sampling_params={"max_new_tokens": 2}, **more)[0]
