"""Routing policies written in Python.

A policy is a class with ``select``. Once registered it works like any other policy: in a router, as a shadow, and in
simulations.

>>> import sgl_router
>>> @sgl_router.register_policy
... class FewestWaiting(sgl_router.Policy):
...     def select(self, request, workers):
...         return min(workers, key=lambda w: (w.queue_length or 0, w.in_flight))
"""

from __future__ import annotations

import atexit
import inspect
import json
import logging
import re
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Optional, TypeVar, Union, overload

from . import _native
from ._native import Event, Request, WorkerView

__all__ = [
    "Event",
    "Policy",
    "PolicyCost",
    "PolicyStats",
    "Request",
    "WorkerView",
    "measure_policy",
    "policy_stats",
    "register_policy",
]

_log = logging.getLogger("sgl_router.policy")

Choice = Union[int, WorkerView]
Answer = Union[Choice, "tuple[Choice, Optional[Iterable[float]]]"]
_F = TypeVar("_F", bound=Callable[..., Any])

#: What a policy can request from the router.
NEEDS = (
    "forecast",
    "load_reports",
    "prefix_hashes",
    "progress",
    "routing_key",
    "script",
    "target_worker",
    "text",
)


class Policy:
    """Chooses a worker for each request.

    Deriving from this class is optional: any object with a ``select`` works. An object belongs to one router, or to one
    run of a simulation, and is called by one thread at a time.
    """

    #: What the router supplies beyond the basics: ``load_reports`` (workers are polled for their load),
    #: ``routing_key``, ``text``, ``prefix_hashes``, ``script``, ``target_worker``, ``forecast``,
    #: ``progress`` (events of that kind).
    needs: Sequence[str] = ("load_reports", "routing_key")

    #: Time limit in seconds for one decision in a live router; the least load decides after that.
    timeout_secs: float = 0.05

    def select(self, request: Request, workers: Sequence[WorkerView]) -> Answer:
        """Return the worker for ``request``: its index, or itself.

        Or return a pair of that and a cost for each worker, in their order; lower is better. Costs are recorded and shown
        but decide nothing. There are at least two ``workers``. The choice is not always used, so state that depends on it
        belongs in ``observe``.
        """
        raise NotImplementedError("a policy needs a select(self, request, workers)")

    def observe(self, event: Event) -> None:
        """Learn from an event. Where this is not overridden, no events are collected."""


@dataclass(frozen=True)
class PolicyStats:
    """Counters of a policy, over all routers of this process."""

    #: Decisions that it made.
    decisions: int
    #: Seconds of these decisions, with the time to reach its thread.
    seconds: float
    #: Calls that raised or returned something invalid.
    errors: int
    #: Decisions that took too long.
    late: int
    #: Decisions for which it was not asked, because it was busy or had used up its share of the time.
    busy: int
    #: Events that it received.
    events: int
    #: Events that were dropped because too many were queued.
    events_dropped: int
    #: The last traceback that was logged.
    last_error: Optional[str]


def policy_stats(name: str) -> PolicyStats:
    """Return the counters of a policy that was registered from Python; KeyError for any other."""
    return PolicyStats(**_native.policy_counts(name))


@dataclass(frozen=True)
class PolicyCost:
    """The time of a decision in seconds, from the request of the router to the decision."""

    mean: float
    p50: float
    p99: float
    #: Decisions for which the policy returned nothing in time, or something invalid.
    missed: int


def measure_policy(name: str, *, workers: int = 8, decisions: int = 10_000, gap_secs: float = 0.0) -> PolicyCost:
    """Measure the time of a decision of the policy ``name`` in a live router that does nothing else.

    ``gap_secs`` is the pause between decisions: after a long pause the policy's thread sleeps and has to be woken.
    """
    if decisions < 1:
        raise ValueError(f"decisions must be at least 1, not {decisions}")
    seconds, missed = _native.time_decisions(name, workers, decisions, gap_secs)
    if not seconds:
        raise RuntimeError(f"policy {name} made none of {decisions} decisions; policy_stats() says why")
    seconds.sort()
    rank = [seconds[min(len(seconds) - 1, int(share * len(seconds)))] for share in (0.5, 0.99)]
    return PolicyCost(sum(seconds) / len(seconds), rank[0], rank[1], missed)


@overload
def register_policy(factory: _F, name: Optional[str] = None) -> _F: ...
@overload
def register_policy(factory: None = None, name: Optional[str] = None) -> Callable[[_F], _F]: ...
def register_policy(factory: Any = None, name: Optional[str] = None) -> Any:
    """Register a policy class, or a function that makes policies, under a name; also as a decorator.

    Parameters of ``factory`` are the options of the policy. The default name is the attribute ``name`` of the class, or the
    class name in lower case with underscores. An earlier Python policy of that name is replaced, for routers and
    simulations that start later. ValueError if the name is not valid or belongs to a built-in policy.
    """
    if factory is None:
        return lambda factory: register_policy(factory, name)
    if not callable(factory) or isinstance(factory, type) and not callable(getattr(factory, "select", None)):
        raise TypeError(f"{factory!r} is not a policy: expected a class with a select(), or a function that makes a policy")
    summary = (inspect.getdoc(factory) or "written in Python").splitlines()[0]
    knobs = {p.name: p.default for p in _parameters(factory).values() if _is_json(p.default)}
    name = name or policy_name(factory)
    _native.register_policy(name, summary, json.dumps(knobs), factory)
    # The errors of a new policy are logged again.
    _reported.difference_update([key for key in _reported if key[0] == name])
    return factory


def policy_name(factory: Callable[..., Any]) -> str:
    """Return the default name of a policy."""
    name = str(getattr(factory, "name", None) or getattr(factory, "__name__", ""))
    return name if name.islower() else re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _parameters(factory: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {p.name: p for p in inspect.signature(factory).parameters.values() if p.kind in kinds}


def _is_json(value: object) -> bool:
    return value is None or isinstance(value, (bool, int, float, str, list, dict))


def _make(name: str, factory: Callable[..., Any], knobs: str) -> tuple[Any, Any, list[str], float]:
    """Make one policy object; called by the native module."""
    given = json.loads(knobs)
    known = _parameters(factory)
    if not any(p.kind is p.VAR_KEYWORD for p in inspect.signature(factory).parameters.values()):
        for knob in given:
            if knob not in known:
                raise ValueError(f"unknown knob `{knob}`, expected " + (", ".join(known) or "none at all"))
    policy = factory(**given)
    if not callable(getattr(policy, "select", None)):
        raise TypeError(f"{policy!r} has no select(request, workers)")
    observe = getattr(policy, "observe", None)
    if getattr(type(policy), "observe", None) is Policy.observe:
        observe = None
    needs = list(getattr(policy, "needs", Policy.needs))
    for need in needs:
        if need not in NEEDS:
            raise ValueError(f"unknown need `{need}`, expected " + ", ".join(NEEDS))
    timeout = float(getattr(policy, "timeout_secs", Policy.timeout_secs))
    if not 0 < timeout <= 10:
        raise ValueError(f"timeout_secs must be above 0 and at most 10, not {timeout}")
    return policy.select, observe, needs, timeout


_threads: dict[threading.Thread, _native.PolicyThread] = {}


def _start(name: str, select: Any, observe: Any, native: _native.PolicyThread) -> None:
    """Start the thread of one policy; called by the native module."""
    # A daemon thread, so that the program can exit while the policy sleeps.
    thread = threading.Thread(
        target=_serve, args=(name, select, observe, native), name=f"sgl-router-policy-{name}", daemon=True
    )
    _threads[thread] = native
    thread.start()


def _serve(name: str, select: Any, observe: Any, native: _native.PolicyThread) -> None:
    late = False
    try:
        while True:
            work = native.wait()
            if work is None:
                return
            events, decision = work
            for event in events:
                try:
                    observe(event)
                except BaseException as error:
                    native.count(_report(name, "observe", error))
            if decision is None:
                continue
            try:
                late_after = native.submit(select(*decision))
            except BaseException as error:
                # The router comes first: it is waiting.
                native.fail()
                native.count(_report(name, "select", error))
                continue
            if late_after is not None and not late:
                late = True
                _log.warning(
                    "policy %s chose %.1f ms after it was asked, too late; the least load decided meanwhile",
                    name,
                    1000 * late_after,
                )
    finally:
        _threads.pop(threading.current_thread(), None)


_reported: set[tuple[str, str, type]] = set()


def _report(name: str, call: str, error: BaseException) -> Optional[str]:
    """Log an error with its traceback, once for each policy and type of error."""
    key = (name, call, type(error))
    if key in _reported:
        return None
    _reported.add(key)
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    _log.error("policy %s failed in %s(); further errors of this type are only counted\n%s", name, call, text)
    return text


def _close() -> None:
    """End the threads before the interpreter exits."""
    running = list(_threads.items())
    for _, native in running:
        native.close()
    # A thread inside the policy's own code is waited for only briefly.
    until = time.monotonic() + 0.2
    for thread, _ in running:
        thread.join(max(0.0, until - time.monotonic()))


atexit.register(_close)
