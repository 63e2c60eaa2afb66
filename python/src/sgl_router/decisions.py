"""Decisions of a running router, as they are made."""

from __future__ import annotations

from typing import NamedTuple, Optional

from . import _native


class DecisionRecord(NamedTuple):
    """One decision, with the names and units of the columns of recorded files. ``None`` is unknown.

    ``pandas.DataFrame`` takes a list of them.
    """

    #: When it was made, in seconds since the Unix epoch.
    time: float
    #: The request's id.
    request_id: str
    #: The number of the request's attempt, from 0.
    attempt: int
    #: The part of the request that it is for: ``whole``, ``prefill`` or ``decode``.
    leg: str
    #: The policy's name.
    policy: str
    #: The path of the request, such as ``/generate``; ``other`` for an unknown one.
    route: str
    #: Whether the response is streamed.
    stream: bool
    #: The chosen worker.
    worker_url: str
    #: Why it was chosen.
    selection_reason: str
    #: Its cost, where the policy compares costs; lower is better.
    cost: Optional[float]
    #: The best worker that was not chosen.
    runner_up: Optional[str]
    #: The cost of that worker.
    runner_up_cost: Optional[float]
    #: How many candidates shared the lowest cost.
    ties: int
    #: The number of workers that could be chosen.
    candidates: int
    #: Requests in flight on the chosen worker before this one, from this router.
    outstanding_requests: int
    #: Requests waiting on the chosen worker.
    queue_length: Optional[int]
    #: Requests running on the chosen worker.
    running: Optional[int]
    #: Length of the prompt in bytes.
    prompt_bytes: int
    #: Length of the prompt in tokens.
    prompt_tokens: Optional[int]
    #: Limit of generated tokens.
    max_output_tokens: Optional[int]
    #: How long the decision took, in milliseconds.
    decision_time_ms: float
    #: The terms of the cost, by name.
    terms: dict[str, float]
    #: The choice of each shadow policy.
    shadow_choices: dict[str, str]


class Decisions:
    """An iterator over decisions from the moment it was created; it ends when the router stops."""

    def __init__(self, native: _native.Decisions) -> None:
        """Wrap the iterator of the native module."""
        self._native = native

    def __iter__(self) -> Decisions:
        """Return itself."""
        return self

    def __next__(self) -> DecisionRecord:
        """Wait for the next decision."""
        decision = self._native.next()
        if decision is None:
            raise StopIteration
        return DecisionRecord(**decision)

    @property
    def dropped(self) -> int:
        """How many decisions were dropped because the queue was full."""
        return self._native.dropped
