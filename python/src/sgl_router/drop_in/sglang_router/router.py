"""The router, whose ``start`` blocks as that of ``sglang_router`` does."""

import argparse
from collections.abc import Sequence
from typing import Any, Union

import sgl_router.router
from sgl_router.foreground import serve
from sgl_router.router import (
    BackendType,
    HistoryBackendType,
    PolicyType,
    backend_from_str,
    history_backend_from_str,
    policy_from_str,
)
from sgl_router.router_args import RouterArgs

__all__ = [
    "BackendType",
    "HistoryBackendType",
    "PolicyType",
    "Router",
    "RouterArgs",
    "backend_from_str",
    "history_backend_from_str",
    "policy_from_str",
]


class Router:
    """A router that runs in the foreground; ``sgl_router.Router`` runs in the background."""

    def __init__(self, router: Union[sgl_router.router.Router, Sequence[str], None] = None, **options: Any) -> None:
        """Take a router, or the URLs of workers and options as ``sgl_router.Router`` takes them; it may start empty."""
        if not isinstance(router, sgl_router.router.Router):
            router = sgl_router.router.Router(router, **{"start_empty": True, **options})
        self._router = router

    @staticmethod
    def from_args(args: Union[RouterArgs, argparse.Namespace]) -> "Router":
        """Return a router with these arguments. Raises ``ValueError`` if one is refused."""
        return Router(sgl_router.router.Router.from_args(args))

    def start(self) -> None:
        """Run until SIGINT or SIGTERM, or, in a thread that is not the main one, until the process ends."""
        serve(self._router)
