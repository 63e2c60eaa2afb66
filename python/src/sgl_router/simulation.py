"""Policies compared on a modelled fleet in virtual time, as by ``sgl-router simulate``.

>>> import sgl_router
>>> found = sgl_router.simulate(sgl_router.Load(num_requests=500), "sglang_8b*2", ["random", "least_request"])
>>> found["least_request"]["e2e_mean_s"].mean < found["random"]["e2e_mean_s"].mean
True
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Optional, Union

from . import _native, notebook
from .policy import policy_name
from .records import Records

__all__ = ["Load", "Measure", "PolicyResult", "Simulation", "Trace", "simulate"]

#: A policy: by name with options as ``NAME:OPTION=VALUE``, by class or function, or one of these under another name.
PolicyLike = Union[str, Callable[..., Any], "tuple[str, Callable[..., Any]]"]


@dataclass(frozen=True)
class Load:
    """A synthetic load, drawn from each seed.

    Lengths are distributions in tokens: a number, ``"LOW..HIGH"`` or ``"lognormal:MEAN:SIGMA[:MAX]"``. None means the
    default of ``sgl-router simulate``.
    """

    #: Number of requests; 2000 by default.
    num_requests: Optional[int] = None
    #: Mean requests per second, or conversations per second with ``sessions``; 27 by default.
    request_rate: Optional[float] = None
    #: Shape of the gamma-distributed gaps: 1 is Poisson, below 1 is bursty; 1 by default.
    burstiness: Optional[float] = None
    #: Prompt lengths; ``"220..385"`` by default.
    input_len: Union[None, int, str] = None
    #: Response lengths; ``"190..320"`` by default.
    output_len: Union[None, int, str] = None
    #: Clients with requests of their own, as ``--clients`` of ``sgl-router simulate`` describes them; their lengths and streams
    #: take the place of the others.
    clients: Optional[str] = None
    #: Number of shared texts; each prompt begins with one of them.
    prefix_groups: Optional[int] = None
    #: Tokens of each shared text; 2400 by default.
    prefix_len: Optional[int] = None
    #: Number of conversations; each turn repeats the earlier ones.
    sessions: Optional[int] = None
    #: Turns of a conversation, as a distribution; ``"2..8"`` by default.
    turns: Union[None, int, str] = None
    #: Mean pause before the next turn in seconds; 5 by default.
    think_secs: Optional[float] = None
    #: Share of the responses that are streamed; 1 by default.
    stream: Optional[float] = None


@dataclass(frozen=True)
class Trace:
    """A recorded load: JSON Lines with ``arrival_s``, ``input_tokens``, ``output_tokens`` and, if known, ``hash_ids``,
    ``client``, ``max_tokens`` and ``stream``."""

    #: The file.
    trace: Union[str, os.PathLike[str]]
    #: The requests to use, counted from 0, as ``"FROM..TO"``; all by default.
    slice: Optional[str] = None
    #: Factor on the speed; 1 by default.
    speed: Optional[float] = None
    #: Tokens per entry of ``hash_ids``; 512 by default.
    trace_block: Optional[int] = None
    #: Share of the responses that are streamed; 1 by default, or as the trace says.
    stream: Optional[float] = None


@dataclass(frozen=True)
class Measure:
    """One figure of one policy over all seeds."""

    #: The mean over the seeds.
    mean: float
    #: Half the width of the mean's 95 % interval (Student's t); None for one seed.
    half_width: Optional[float]
    #: The mean ratio to the first policy, seed by seed; None where that has 0.
    ratio: Optional[float]
    #: The value for each seed.
    by_seed: list[float] = field(repr=False)


class PolicyResult(Mapping[str, Measure]):
    """The results of one policy: its measures by name, such as ``e2e_p99_s`` or ``goodput_per_s``."""

    def __init__(self, found: Mapping[str, Any], servers: Sequence[str], counts: Mapping[str, Any]) -> None:
        #: The policy's name.
        self.name: str = found["policy"]
        self._measures = {name: _measure(value) for name, value in found["measures"].items()}
        #: The share of the requests that each server completed, by the name of the server.
        self.share: dict[str, float] = dict(zip(servers, found["share"]))
        #: Calls of a Python policy that raised or returned something invalid, so that the least load decided.
        self.errors: int = counts["errors"]
        #: Decisions that a Python policy made.
        self.decisions: int = counts["decisions"]
        #: Seconds of these decisions.
        self.seconds: float = counts["seconds"]

    def __getitem__(self, name: str) -> Measure:
        return self._measures[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._measures)

    def __len__(self) -> int:
        return len(self._measures)

    def __repr__(self) -> str:
        return f"<PolicyResult {self.name}: e2e_mean_s={self['e2e_mean_s'].mean:.3f}>"

    def _repr_html_(self) -> str:
        return notebook.table({self.name: self})


class Simulation(Mapping[str, PolicyResult]):
    """The results of a simulation, by policy. As text it is the table that ``sgl-router simulate`` prints."""

    def __init__(self, simulated: _native.Simulated) -> None:
        self._text = simulated.text
        self._found = json.loads(simulated.json)
        policies = zip(self._found["policies"], simulated.counts)
        results = (PolicyResult(found, self._found["servers"], counts) for found, counts in policies)
        self._policies = {result.name: result for result in results}
        #: A row for each request of each run; None with ``records=False``.
        self.records: Optional[Records] = None if simulated.records is None else Records(simulated.records)

    def __getitem__(self, name: str) -> PolicyResult:
        return self._policies[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._policies)

    def __len__(self) -> int:
        return len(self._policies)

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"<Simulation of {', '.join(self)}>"

    def _repr_html_(self) -> str:
        return notebook.table(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the results as ``sgl-router simulate --json`` writes them."""
        return dict(self._found)

    def to_pandas(self) -> Any:
        """Return a ``pandas.DataFrame`` with a row for each policy and measure; needs pandas."""
        import pandas  # type: ignore[import-not-found, import-untyped, unused-ignore]

        rows = [
            {"policy": policy, "measure": name, "mean": m.mean, "half_width": m.half_width, "ratio": m.ratio}
            for policy, result in self.items()
            for name, m in result.items()
        ]
        return pandas.DataFrame(rows)


def simulate(
    load: Union[None, Load, Trace, str, os.PathLike[str]] = None,
    fleet: str = "sglang_1.5b,sglang_8b*2",
    policies: Union[PolicyLike, Sequence[PolicyLike]] = ("round_robin", "least_request", "marginal_cost", "oracle"),
    *,
    seeds: int = 5,
    seed: int = 1,
    routers: int = 1,
    events: Sequence[str] = (),
    poll_secs: Optional[float] = None,
    slo_ttft: float = 1.0,
    slo_tpot: float = 0.05,
    records: bool = True,
    on_error: str = "fallback",
) -> Simulation:
    """Run each policy with each seed on a modelled fleet, and compare.

    ``load`` is a Load, a Trace, or the path of a trace. Ratios are to the first policy. A Python policy is made
    again for each run. Where it fails, the least load decides, which is logged and counted in ``errors`` of the result;
    ``on_error="raise"`` ends the simulation with its exception. ``records=False`` saves memory. Ctrl-C ends it. The
    other parameters are those of ``sgl-router simulate``. ValueError for invalid arguments.
    """
    given = {
        "fleet": fleet,
        "seeds": seeds,
        "seed": seed,
        "routers": routers,
        "poll_secs": poll_secs,
        "slo_ttft": slo_ttft,
        "slo_tpot": slo_tpot,
    }
    if load is not None and not isinstance(load, (Load, Trace)):
        load = Trace(load)
    flags = _flags(given) + [f"--event={event}" for event in _listed(events)]
    flags += [] if load is None else _flags({f.name: getattr(load, f.name) for f in fields(load)})
    entries = [_entry(policy) for policy in _listed(policies)]
    names = [name for name, _ in entries]
    if not names or len(set(names)) < len(names):
        raise ValueError("policies: name at least one" if not names else f"policies: a name is given twice: {names}")
    try:
        return Simulation(_native.run_simulation(flags, entries, on_error, records))
    except ValueError as error:
        # The message of the command line, with parameters in place of flags.
        message = re.sub(r"'?--([a-z][a-z-]*)(?: [<\[][A-Z_<>\[\]]+)?'?", lambda m: _parameter(m[1]), str(error))
        if message == str(error):
            raise
        raise ValueError(message) from None


def _listed(some: Any) -> list[Any]:
    return list(some) if isinstance(some, Sequence) and not isinstance(some, (str, tuple)) or _is_many(some) else [some]


def _is_many(some: Any) -> bool:
    return isinstance(some, tuple) and not (len(some) == 2 and isinstance(some[0], str) and callable(some[1]))


def _flags(given: Mapping[str, Any]) -> list[str]:
    return [f"--{name.replace('_', '-')}={value}" for name, value in given.items() if value is not None]


def _parameter(flag: str) -> str:
    return f"`{ {'event': 'events'}.get(flag, flag.replace('-', '_')) }`".replace(" ", "")


def _entry(policy: PolicyLike) -> tuple[str, Optional[Callable[..., Any]]]:
    if isinstance(policy, str):
        return policy, None
    if isinstance(policy, tuple):
        return policy
    if not callable(policy):
        raise TypeError(
            f"policies: {policy!r} is an object; give its class or a function that makes one, for each run needs its own"
        )
    return policy_name(getattr(policy, "func", policy)), policy


def _measure(found: Mapping[str, Any]) -> Measure:
    ratio = found["ratio"]
    return Measure(found["mean"], found["half_width"], ratio and ratio["mean"], found["by_seed"])
