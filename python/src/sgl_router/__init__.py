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
from .router import Router
from .stats import RouterStats, WorkerStats

__all__ = [
    "Config",
    "DecisionRecord",
    "Decisions",
    "PolicyType",
    "Router",
    "RouterStats",
    "WorkerStats",
    "__version__",
]
