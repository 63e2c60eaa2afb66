"""SGLang servers and the router in front of them: ``python -m sgl_router.launch_server --dp-size N ARGS``.

``ARGS`` are those of ``python -m sglang.launch_server``. Each server gets them with its own port and GPUs; when one
ends, the others and the router are stopped. Flags with the prefix ``--router-`` are passed to the router without it;
``--host`` and ``--port`` are those of the router, and the servers listen on this machine only.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Optional

from .config import Config
from .router import Router

#: The flags for the number of servers, the GPUs of each, and the first GPU.
SERVERS = ("--dp-size", "--data-parallel-size", "--dp")
GPUS = ("--tp-size", "--tensor-parallel-size", "--tp")
STAGES = ("--pp-size", "--pipeline-parallel-size")
FIRST_GPU = ("--base-gpu-id",)

#: Flags of the servers that are passed to the router instead.
LISTENING = ("--host", "--port")

#: Flags of the servers that are passed to the router too, unless it has its own with ``--router-``.
SHARED = ("--api-key", "--log-level")

#: Seconds from SIGTERM to SIGKILL for the servers.
STOP_TIMEOUT = 30.0

HELP = """\
usage: python -m sgl_router.launch_server --dp-size N [SGLANG FLAG ...] [--router-FLAG ...]

  --dp-size N                      how many SGLang servers [default: 1]
  --host HOST, --port PORT         where the router listens
  --router-FLAG                    a flag of the router; python -m sgl_router.launch_router --help lists them
  --router-dp-worker-base-port P   the first port that is tried for a server [default: 31000]

All other flags go to each server: python -m sglang.launch_server --help lists them."""


class Plan(NamedTuple):
    """The servers and the router to start."""

    #: The arguments of each server, without port and GPU.
    server: list[str]
    #: The flags of the router, without its workers.
    router: list[str]
    #: The number of servers.
    servers: int
    #: GPUs per server.
    gpus: int
    #: The first GPU of the first server.
    first_gpu: int
    #: The first port that is tried for a server.
    first_port: int


class WrongFlags(ValueError):
    """The command line is not valid; the message is one line."""


def plan(args: Sequence[str]) -> Plan:
    """Parse a command line. Raises ``WrongFlags``."""
    counts = {SERVERS: 1, GPUS: 1, STAGES: 1, FIRST_GPU: 0}
    server: list[str] = []
    router: list[str] = []
    shared: list[tuple[str, list[str]]] = []
    first_port = 31000
    for flag, values in _flags(args):
        counted = next((names for names in counts if flag in names), None)
        if flag in ("--worker-urls", "--router-worker-urls"):
            raise WrongFlags(f"{flag}: the workers are those that are started; sgl_router.launch_router takes others")
        if flag == "--router-dp-worker-base-port":
            first_port = _count(flag, values)
        elif flag.startswith("--router-"):
            router += ["--" + flag[len("--router-") :], *values]
        elif flag in LISTENING:
            router += [flag, *values]
        elif counted is not None:
            counts[counted] = _count(flag, values)
        else:
            server += [flag, *values]
            if flag in SHARED:
                shared.append((flag, values))
    for names in (GPUS, STAGES):
        if counts[names] != 1:
            server += [names[0], str(counts[names])]
    if counts[SERVERS] < 1:
        raise WrongFlags("--dp-size: must be at least 1")
    gpus = counts[GPUS] * counts[STAGES]
    return Plan(server, _with_shared(router, shared), counts[SERVERS], gpus, counts[FIRST_GPU], first_port)


def _with_shared(router: list[str], shared: list[tuple[str, list[str]]]) -> list[str]:
    """Return the flags of the router with those that it shares with the servers."""
    words = list(router)
    for flag, values in shared:
        # The router requires the key of the servers, and sends it to them.
        for name in (flag, "--worker-api-key") if flag == "--api-key" else (flag,):
            if name not in router:
                words += [name, *values]
    return words


def _flags(args: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield each flag with its values."""
    flag: Optional[str] = None
    values: list[str] = []
    for word in args:
        if word.startswith("--") and len(word) > 2:
            if flag is not None:
                yield flag, values
            flag, equals, value = word.partition("=")
            values = [value] if equals else []
        elif flag is None:
            raise WrongFlags(f"unexpected argument '{word}'; flags begin with --")
        else:
            values.append(word)
    if flag is not None:
        yield flag, values


def _count(flag: str, values: list[str]) -> int:
    if len(values) != 1 or not values[0].isdigit():
        raise WrongFlags(f"{flag}: needs one whole number, not '{' '.join(values)}'")
    return int(values[0])


def _free_ports(first: int, count: int) -> list[int]:
    """Return the lowest free ports from ``first`` up."""
    ports: list[int] = []
    for port in range(first, 65536):
        if len(ports) == count:
            break
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        ports.append(port)
    if len(ports) < count:
        raise WrongFlags(f"--router-dp-worker-base-port: fewer than {count} free ports from {first} up")
    return ports


class Fleet:
    """The servers, each in its own process group: a server starts processes itself."""

    def __init__(self) -> None:
        """Create it without servers."""
        self._servers: list[tuple[str, subprocess.Popen[bytes]]] = []

    def start(self, todo: Plan, ports: Sequence[int]) -> list[str]:
        """Start a server for each port and return their URLs."""
        for rank, port in enumerate(ports):
            command = [sys.executable, "-m", "sglang.launch_server", *todo.server]
            command += ["--host", "127.0.0.1", "--port", str(port)]
            command += ["--base-gpu-id", str(todo.first_gpu + rank * todo.gpus)]
            environment = {**os.environ, "SGLANG_DP_RANK": str(rank)}
            process = subprocess.Popen(command, env=environment, start_new_session=True)
            self._servers.append((f"http://127.0.0.1:{port}", process))
        return [url for url, _ in self._servers]

    def ended(self) -> Optional[str]:
        """Return a message about the first server that has ended, if any."""
        for url, process in self._servers:
            code = process.poll()
            if code is not None:
                how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
                return f"the server at {url} {how}; the others are stopped"
        return None

    def stop(self) -> None:
        """Stop all servers, with SIGKILL after ``STOP_TIMEOUT``."""
        self._signal(signal.SIGTERM)
        timer = threading.Timer(STOP_TIMEOUT, self._signal, [signal.SIGKILL])
        timer.start()
        try:
            for _, process in self._servers:
                process.wait()
        finally:
            timer.cancel()
            # Kills processes that a server left behind in its group.
            self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        for _, process in self._servers:
            try:
                os.killpg(process.pid, number)
            except ProcessLookupError:
                continue


class Stop:
    """Whether SIGINT or SIGTERM was received; a second one raises ``KeyboardInterrupt``."""

    def __init__(self) -> None:
        """Install the signal handlers."""
        self._asked = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)

    def _note(self, *_: object) -> None:
        if self._asked.is_set():
            raise KeyboardInterrupt
        self._asked.set()

    def within(self, seconds: float) -> bool:
        """Wait for a signal, up to this long."""
        return self._asked.wait(seconds)


def serve(todo: Plan, config: Config, ports: Sequence[int]) -> Optional[str]:
    """Run the servers and the router until a signal or the end of a server; return the failure, if any."""
    stop = Stop()
    fleet = Fleet()
    failure: Optional[str] = None
    try:
        config.worker_urls = fleet.start(todo, ports)
        with Router(config):
            while failure is None and not stop.within(0.2):
                failure = fleet.ended()
    except (OSError, RuntimeError, ValueError) as error:
        failure = str(error)
    except KeyboardInterrupt:
        failure = "stopped at once"
    finally:
        fleet.stop()
    return failure


def run(args: Sequence[str]) -> int:
    """Start the servers and the router, wait for the end, and return the exit code: 0, 1 for a failure, 2 for wrong flags."""
    if "--help" in args or "-h" in args:
        print(HELP)
        return 0
    try:
        todo = plan(args)
        # The flags of the router are checked before any server loads a model.
        config = Config.from_args(todo.router)
        if importlib.util.find_spec("sglang") is None:
            raise WrongFlags("SGLang is not installed for this Python; install it with: pip install sglang")
        ports = _free_ports(todo.first_port, todo.servers)
    except ValueError as error:
        print(f"sgl-router: {error}", file=sys.stderr)
        return 2
    failure = serve(todo, config, ports)
    if failure is not None:
        print(f"sgl-router: {failure}", file=sys.stderr)
        return 1
    return 0


def main() -> None:
    """Run as ``python -m sgl_router.launch_server``."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
