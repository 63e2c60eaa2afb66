"""``sglang_router`` 0.3.2 as ``sgl_router`` serves it: the names that programs import, in the modules where they expect them."""

from .router import PolicyType, Router
from .version import __version__

__all__ = ["PolicyType", "Router", "__version__"]
