"""The router in front of running servers: ``python -m sgl_router.launch_router ARGS``.

Runs ``sgl-router launch ARGS`` in this process, with the same flags, messages, exit codes and signals. For programs,
``RouterArgs``, ``parse_router_args`` and ``launch_router`` are those of ``sglang_router``.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Sequence
from typing import Optional, Union

from . import command_line
from .foreground import serve
from .router import Router
from .router_args import RouterArgs

__all__ = ["Router", "RouterArgs", "launch_router", "main", "parse_router_args"]


def parse_router_args(args: Sequence[str]) -> RouterArgs:
    """Return the arguments that these flags of ``sglang_router`` give.

    A wrong flag ends the program with exit code 2, as argparse does. Raises ``ValueError`` for a malformed port, key or
    role.
    """
    parser = argparse.ArgumentParser(
        description="Start a router in front of running servers, with the flags of sglang_router.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    RouterArgs.add_cli_args(parser)
    return RouterArgs.from_cli_args(parser.parse_args(list(args)))


def launch_router(args: Union[RouterArgs, argparse.Namespace]) -> Router:
    """Run a router with these arguments until SIGINT or SIGTERM, and return it, stopped.

    The first signal lets requests in flight finish, a second one raises ``KeyboardInterrupt``. In a thread that is not
    the main one it runs until the process ends. Raises ``ValueError`` if an argument is refused, and ``OSError`` if a
    port cannot be bound.
    """
    if not isinstance(args, RouterArgs):
        args = RouterArgs.from_cli_args(args)
    _name_process()
    router = Router.from_args(args)
    serve(router)
    return router


def _name_process() -> None:
    """Take the process name that ``sglang_router`` takes, by which scripts find it: ``pkill sglang``."""
    with contextlib.suppress(OSError), open("/proc/self/comm", "w", encoding="ascii") as name:
        name.write("sglang::router")


def main(args: Optional[Sequence[str]] = None) -> None:
    """Run as the program ``sgl-router-launch``, by default with the flags of this process."""
    sys.exit(command_line.run(["launch", *(sys.argv[1:] if args is None else args)]))


if __name__ == "__main__":
    main()
