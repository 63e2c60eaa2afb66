"""An LLM inference router that knows what its servers really deliver.

>>> import sgl_router
>>> policy = sgl_router.PolicyType.MarginalUtility
>>> with sgl_router.Router(worker_urls=["http://127.0.0.1:31000"], policy=policy, port=0) as router:
...     router.stats().workers[0].url
'http://127.0.0.1:31000'
"""

from ._native import __version__
from .config import Config
from .decisions import DecisionRecord, Decisions
from .options import PolicyType
from .policy import (
    Event,
    Policy,
    PolicyCost,
    PolicyStats,
    Request,
    WorkerView,
    measure_policy,
    policy_stats,
    register_policy,
)
from .records import FileRecords, RecordError, Records, read_records
from .router import Router
from .simulation import Load, Measure, PolicyResult, Simulation, Trace, simulate
from .stats import RouterStats, WorkerStats

__all__ = [
    "Config",
    "DecisionRecord",
    "Decisions",
    "Event",
    "FileRecords",
    "Load",
    "Measure",
    "Policy",
    "PolicyCost",
    "PolicyResult",
    "PolicyStats",
    "PolicyType",
    "RecordError",
    "Records",
    "Request",
    "Router",
    "RouterStats",
    "Simulation",
    "Trace",
    "WorkerStats",
    "WorkerView",
    "__version__",
    "measure_policy",
    "policy_stats",
    "read_records",
    "register_policy",
    "simulate",
]
