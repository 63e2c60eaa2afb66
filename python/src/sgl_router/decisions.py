"""Decisions of a running router, as they are made."""

from __future__ import annotations

from typing import NamedTuple, Optional

from . import _native


class DecisionRecord(NamedTuple):
    """One decision, with the names and units of the columns of recorded files. What is unknown is ``None``.

    A list of them is what ``pandas.DataFrame`` takes.
    """

    #: When it was made, in seconds since the Unix epoch.
    time: float
    #: The request's id.
    request_id: str
    #: The number of the request's attempt, from 0.
    attempt: int
    #: What part of the request it is for: ``whole``, ``prefill`` or ``decode``.
    leg: str
    #: The policy's name.
    policy: str
    #: The path that was asked for, such as ``/generate``; ``other`` for one that is not known.
    route: str
    #: Whether the answer is to be streamed.
    stream: bool
    #: The chosen worker.
    worker_url: str
    #: Why it was chosen.
    selection_reason: str
    #: Its cost, where the policy compares costs; lower is better.
    cost: Optional[float]
    #: The best worker that was not chosen.
    runner_up: Optional[str]
    #: What that one would have cost.
    runner_up_cost: Optional[float]
    #: How many candidates shared the lowest cost.
    ties: int
    #: How many workers could be chosen.
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
    #: Most tokens that the answer may have.
    max_output_tokens: Optional[int]
    #: How long the decision took, in milliseconds.
    decision_time_ms: float
    #: What the cost was made of, by name.
    terms: dict[str, float]
    #: What each shadow policy would have chosen.
    shadow_choices: dict[str, str]


class Decisions:
    """An iterator over decisions from the moment it was made; it ends when the router stops."""

    def __init__(self, native: _native.Decisions) -> None:
        """Iterate over what the native module tells."""
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
        """How many decisions were left out because as many as may wait did."""
        return self._native.dropped
