"""An LLM inference router that knows what its servers really deliver.

>>> import sgl_router
>>> router = sgl_router.Router(worker_urls=["http://127.0.0.1:31000"], policy=sgl_router.PolicyType.MarginalUtility, port=0)
>>> with router:
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
