"""SGLang servers and the router in front of them: ``python -m sgl_router.launch_server --dp-size N ARGS``.

``ARGS`` are those of ``python -m sglang.launch_server``. Each server gets them with a port and GPUs of its own; one
that ends takes the others and the router along. Flags that begin with ``--router-`` are the router's, without that
beginning; ``--host`` and ``--port`` say where the router listens, and the servers are reached by this machine alone.
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

#: The flags of the servers that say how many there are, how many GPUs each has, and which is its first.
SERVERS = ("--dp-size", "--data-parallel-size", "--dp")
GPUS = ("--tp-size", "--tensor-parallel-size", "--tp")
STAGES = ("--pp-size", "--pipeline-parallel-size")
FIRST_GPU = ("--base-gpu-id",)

#: Where the router listens, and what else goes by the same name in front of the servers.
LISTENING = ("--host", "--port")

#: Flags of the servers that the router heeds as well, unless it has its own with ``--router-``.
SHARED = ("--api-key", "--log-level")

#: A server that was asked to end is killed after this long, in seconds.
PATIENCE = 30.0

HELP = """\
usage: python -m sgl_router.launch_server --dp-size N [SGLANG FLAG ...] [--router-FLAG ...]

  --dp-size N                      how many SGLang servers [default: 1]
  --host HOST, --port PORT         where the router listens
  --router-FLAG                    a flag of the router; python -m sgl_router.launch_router --help lists them
  --router-dp-worker-base-port P   the first port that is tried for a server [default: 31000]

All other flags go to each server: python -m sglang.launch_server --help lists them."""


class Plan(NamedTuple):
    """What is to be started."""

    #: What each server gets, without port and GPU.
    server: list[str]
    #: The router's flags, without its workers.
    router: list[str]
    #: How many servers.
    servers: int
    #: How many GPUs each of them has.
    gpus: int
    #: The first GPU of the first one.
    first_gpu: int
    #: The first port that is tried for a server.
    first_port: int


class WrongFlags(ValueError):
    """The command line cannot be carried out; one line says why."""


def plan(args: Sequence[str]) -> Plan:
    """Sort the words of a command line. Raises ``WrongFlags``."""
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
    return Plan(server, _heed(router, shared), counts[SERVERS], gpus, counts[FIRST_GPU], first_port)


def _heed(router: list[str], shared: list[tuple[str, list[str]]]) -> list[str]:
    """Return the router's flags with those of the servers that it heeds as well."""
    words = list(router)
    for flag, values in shared:
        # The router asks for the key that the servers ask for, and shows it to them.
        for name in (flag, "--worker-api-key") if flag == "--api-key" else (flag,):
            if name not in router:
                words += [name, *values]
    return words


def _flags(args: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield each flag with the words that follow it."""
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
    """Return the lowest ports from ``first`` up that nobody listens on now."""
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
    """The servers, each in a process group of its own: a server starts processes, too."""

    def __init__(self) -> None:
        """Have none yet."""
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
        """Return what to say about a server that ended by itself, if one did."""
        for url, process in self._servers:
            code = process.poll()
            if code is not None:
                how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
                return f"the server at {url} {how}; the others are stopped"
        return None

    def stop(self) -> None:
        """Ask all to end, and kill what has not after a while."""
        self._signal(signal.SIGTERM)
        patience = threading.Timer(PATIENCE, self._signal, [signal.SIGKILL])
        patience.start()
        try:
            for _, process in self._servers:
                process.wait()
        finally:
            patience.cancel()
            # What a server left behind in its group goes with it.
            self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        for _, process in self._servers:
            try:
                os.killpg(process.pid, number)
            except ProcessLookupError:
                continue


class Stop:
    """Whether SIGINT or SIGTERM has come; a second one is a ``KeyboardInterrupt`` and does not wait."""

    def __init__(self) -> None:
        """Listen."""
        self._asked = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)

    def _note(self, *_: object) -> None:
        if self._asked.is_set():
            raise KeyboardInterrupt
        self._asked.set()

    def within(self, seconds: float) -> bool:
        """Wait for it no longer than this."""
        return self._asked.wait(seconds)


def serve(todo: Plan, config: Config, ports: Sequence[int]) -> Optional[str]:
    """Run the servers and the router until a signal comes or one of them ends; return what went wrong, if anything."""
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
    """Start what ``args`` say, wait for its end, and return the exit code: 0, 1 for a failure, 2 for wrong flags."""
    if "--help" in args or "-h" in args:
        print(HELP)
        return 0
    try:
        todo = plan(args)
        # Before any server loads a model, the router's flags are checked.
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
    """Be ``python -m sgl_router.launch_server``."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
