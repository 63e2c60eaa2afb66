"""A router that runs in the background of a Python process."""

from __future__ import annotations

import atexit
import json
import time
import weakref
from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Optional, Union

from . import _native
from .config import Config
from .decisions import Decisions
from .keywords import options_of
from .options import PolicyType
from .sglang_names import (
    BackendType,
    HistoryBackendType,
    backend_from_str,
    history_backend_from_str,
    policy_from_str,
)
from .stats import RouterStats

if TYPE_CHECKING:
    import argparse

    from typing_extensions import Unpack

    from .option_keywords import OptionKeywords
    from .router_args import RouterArgs

__all__ = [
    "BackendType",
    "HistoryBackendType",
    "PolicyType",
    "Router",
    "backend_from_str",
    "history_backend_from_str",
    "policy_from_str",
]

#: How many workers an error names.
_SHOWN = 5

#: Seconds between two looks at a worker that drains.
_DRAIN_POLL = 0.05

_RUNNING: weakref.WeakSet[_native.RunningRouter] = weakref.WeakSet()


@atexit.register
def _cut_all() -> None:
    """Stop all routers before the interpreter exits."""
    for native in list(_RUNNING):
        native.cut()


class Router:
    """A router in front of inference servers, on its own threads.

    >>> import sgl_router
    >>> with sgl_router.Router(worker_urls=["http://127.0.0.1:31000"], port=0) as router:
    ...     router.url.startswith("http://127.0.0.1:")
    True

    Takes a ``Config``, or its options by name, or a ``Config`` and the options that differ from it. The option names of
    ``sglang_router.Router`` are accepted too. A process may have several routers.
    """

    def __init__(
        self, config: Union[Config, Sequence[str], None] = None, **options: Unpack[OptionKeywords]
    ) -> None:
        """Take the options of the router, and check them; a list stands for ``worker_urls``.

        Raises ``TypeError`` or ``ValueError``, which names the option. That there is no worker is an error of ``start``.
        """
        if isinstance(config, (list, tuple)):
            options.setdefault("worker_urls", list(config))
            config = None
        if config is not None and not isinstance(config, Config):
            raise TypeError(f"config: must be a Config or a list of URLs, not {type(config).__name__}")
        self._config = replace(config or Config(), **options_of(options))
        self._native: Optional[_native.RunningRouter] = None
        _native.check_router(self._config.given())

    @classmethod
    def from_args(cls, args: Union[RouterArgs, argparse.Namespace]) -> Router:
        """Return a router with the arguments of ``sglang_router``; ``start`` returns here, and blocks there.

        An argument without effect causes a ``UserWarning``. Raises ``ValueError`` for one that is refused.
        """
        # Not imported by programs that do not need it: it takes a fifth of the time of the whole package.
        from .router_args import RouterArgs

        if not isinstance(args, RouterArgs):
            args = RouterArgs.from_cli_args(args)
        return cls(Config.from_args(args.launch_flags()))

    @property
    def config(self) -> Config:
        """The options of the router."""
        return self._config

    def start(self) -> Router:
        """Bind the ports, serve in the background, and return the router itself. Does not wait for workers.

        Raises ``ValueError`` if an option is refused, ``OSError`` if a port cannot be bound, and ``RuntimeError`` if
        the router is running already.
        """
        if self.running:
            raise RuntimeError("the router runs already")
        self._native = _native.start_router(self._config.given())
        _RUNNING.add(self._native)
        return self

    def wait_until_ready(self, timeout: float = 60.0) -> Router:
        """Return the router itself once a worker is ready; until then requests get status 503.

        Raises ``TimeoutError`` if none is ready after ``timeout`` seconds; its message names the state of the workers.
        """
        if not self._running().wait_until_ready(timeout):
            raise TimeoutError(f"no worker was ready after {timeout} s: {self._why_not_ready()}")
        return self

    def stop(self) -> int:
        """Stop accepting, drain requests for ``shutdown_grace_period_secs``, then abort the rest.

        Returns how many were aborted; 0 for a router that is not running. Ctrl-C during the drain aborts them at once.
        """
        return 0 if self._native is None else self._native.stop()

    def wait(self) -> None:
        """Wait until another thread has stopped the router. Ctrl-C raises ``KeyboardInterrupt`` and stops nothing."""
        if self._native is not None:
            self._native.wait()

    @property
    def running(self) -> bool:
        """Whether it is running."""
        return self._native is not None and self._native.running

    @property
    def url(self) -> str:
        """The base URL, with the actual port where ``port`` is 0."""
        return self._running().url

    def stats(self) -> RouterStats:
        """Return the statistics of the router and its workers."""
        return RouterStats.of(self._running().stats())

    def decisions(self, capacity: int = 10_000) -> Decisions:
        """Return an iterator over decisions from now on, which ends when the router stops.

        It queues up to ``capacity`` decisions; more are dropped and counted in ``dropped``.
        """
        return Decisions(self._running().decisions(capacity))

    def workers(self) -> list[dict[str, Any]]:
        """Return the workers, each with the members that ``GET /workers`` has.

        >>> [worker["url"] for worker in router.workers()]  # doctest: +SKIP
        ['http://127.0.0.1:30001']
        """
        workers: list[dict[str, Any]] = json.loads(self._running().workers())["workers"]
        return workers

    def add_worker(self, url: str, **members: Any) -> str:
        """Add a worker, and return its id. It gets requests once its health check has passed.

        ``members`` are those of ``POST /workers``, such as ``weight``, ``api_key`` or ``worker_type``. Raises
        ``TypeError`` for one that is unknown, and ``ValueError`` for an invalid one or a worker that is there already.
        """
        worker_id: str = json.loads(self._running().add_worker({"url": url, **members}))["worker_id"]
        return worker_id

    def remove_worker(self, worker: str) -> None:
        """Remove the worker with this id or URL: it gets no new requests, and is gone when those that it has are done.

        Raises ``KeyError`` if there is none.
        """
        self._running().remove_worker(worker)

    def drain_worker(self, worker: str, timeout: Optional[float] = None) -> None:
        """Remove the worker with this id or URL, and wait until the requests that it has are done.

        Raises ``KeyError`` if there is none, and ``TimeoutError`` after ``timeout`` seconds; the worker drains on.
        """
        worker_id = json.loads(self._running().remove_worker(worker))["worker_id"]
        end = None if timeout is None else time.monotonic() + timeout
        while any(each["id"] == worker_id for each in self.workers()):
            if end is not None and time.monotonic() >= end:
                raise TimeoutError(f"worker {worker_id} still has requests after {timeout} s; it drains on")
            time.sleep(_DRAIN_POLL)

    def explain(self, request_id: str) -> str:
        """Return in words how a request was routed: the worker, why, the runner-up, retries, what was learned.

        ``request_id`` is the ``x-request-id`` of its response. Needs ``enable_tracking``, and raises ``RuntimeError``
        without; raises ``KeyError`` if there is no trace of the request.
        """
        return self._running().explain(request_id)

    def __enter__(self) -> Router:
        """Start, unless it is running."""
        return self if self.running else self.start()

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        """Stop."""
        self.stop()

    def __repr__(self) -> str:
        """Return its URL and policy."""
        place = self.url if self.running else "not running"
        return f"<sgl_router.Router {place} policy={self._config.policy}>"

    def _why_not_ready(self) -> str:
        workers = self.stats().workers
        if not workers:
            return "the router has no workers; add them with worker_urls or POST /workers"
        shown = [f"{each.url} is {each.state}" + (f" ({each.last_error})" if each.last_error else "") for each in workers]
        more = [f"and {len(shown) - _SHOWN} more"] if len(shown) > _SHOWN else []
        return "; ".join(shown[:_SHOWN] + more)

    def _running(self) -> _native.RunningRouter:
        if self._native is None or not self._native.running:
            raise RuntimeError("the router does not run; call start()")
        return self._native
