"""How a router stands at one moment."""

from __future__ import annotations

from typing import Any, NamedTuple, Optional


class WorkerStats(NamedTuple):
    """How one worker stands. Counts are since the router started; what is unknown is ``None``."""

    #: Its base URL.
    url: str
    #: What it does: ``regular``, ``prefill`` or ``decode``.
    worker_type: str
    #: What the router believes of it: ``pending``, ``healthy``, ``unhealthy``, ``draining`` or ``gone``.
    state: str
    #: Its circuit breaker: ``closed``, ``open`` or ``half_open``.
    breaker: str
    #: Requests in flight on it, from this router.
    in_flight: int
    #: Requests that wait on it, by its last report and what was sent since.
    queue_length: Optional[int]
    #: Requests that were sent to it.
    requests: int
    #: Answers that arrived whole.
    successes: int
    #: Attempts that it failed.
    failures: int
    #: Mean time from a request's arrival at the router to its answer's last byte, in seconds, of whole answers.
    mean_latency: Optional[float]


class RouterStats(NamedTuple):
    """How a router stands. Counts are since it started."""

    #: The policy's name.
    policy: str
    #: Requests that were answered, by a worker or by the router itself.
    requests: int
    #: Requests in flight on all workers.
    in_flight: int
    #: Requests that wait in the router for their turn.
    queued: int
    #: Every worker.
    workers: list[WorkerStats]

    @classmethod
    def of(cls, figures: dict[str, Any]) -> RouterStats:
        """Return what the native module told."""
        workers = [WorkerStats(**worker) for worker in figures.pop("workers")]
        return cls(workers=workers, **figures)
