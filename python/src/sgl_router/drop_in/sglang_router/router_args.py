"""The arguments of a router."""

from sgl_router.router_args import RouterArgs

__all__ = ["RouterArgs"]
