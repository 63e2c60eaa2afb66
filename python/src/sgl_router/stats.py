"""Statistics of a router at one moment."""

from __future__ import annotations

from typing import Any, NamedTuple, Optional


class WorkerStats(NamedTuple):
    """Statistics of one worker. Counts are since the router started; ``None`` is unknown."""

    #: Its base URL.
    url: str
    #: Its type: ``regular``, ``prefill`` or ``decode``.
    worker_type: str
    #: Its state: ``pending``, ``healthy``, ``unhealthy``, ``draining`` or ``gone``.
    state: str
    #: Its circuit breaker: ``closed``, ``open`` or ``half_open``.
    breaker: str
    #: Requests in flight on it, from this router.
    in_flight: int
    #: Requests queued on it, by its last report and what was sent since.
    queue_length: Optional[int]
    #: Requests that were sent to it.
    requests: int
    #: Complete responses.
    successes: int
    #: Failed attempts.
    failures: int
    #: Mean time from the arrival of a request at the router to the last byte of its response, in seconds, of complete responses.
    mean_latency: Optional[float]
    #: Why its health checks or connections fail; ``None`` while they succeed.
    last_error: Optional[str]


class RouterStats(NamedTuple):
    """Statistics of a router. Counts are since it started."""

    #: The policy's name.
    policy: str
    #: Requests with a response, from a worker or from the router itself.
    requests: int
    #: Requests in flight on all workers.
    in_flight: int
    #: Requests queued in the router.
    queued: int
    #: All workers.
    workers: list[WorkerStats]

    @classmethod
    def of(cls, figures: dict[str, Any]) -> RouterStats:
        """Return the statistics that the native module returned."""
        workers = [WorkerStats(**worker) for worker in figures.pop("workers")]
        return cls(workers=workers, **figures)
