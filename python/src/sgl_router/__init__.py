"""An LLM inference router that knows what its servers really deliver."""

from ._native import __version__
from .policy import Event, Policy, PolicyCost, PolicyStats, Request, WorkerView, measure_policy, policy_stats, register_policy
from .records import RecordError, Records, read_records
from .simulation import Load, Simulation, Trace, simulate

__all__ = [
    "Event",
    "Load",
    "Policy",
    "PolicyCost",
    "PolicyStats",
    "RecordError",
    "Records",
    "Request",
    "Simulation",
    "Trace",
    "WorkerView",
    "__version__",
    "measure_policy",
    "policy_stats",
    "read_records",
    "register_policy",
    "simulate",
]
