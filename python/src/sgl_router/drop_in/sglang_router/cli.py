"""The command line ``sglang-router``: ``launch`` for a router, ``server`` for servers and a router."""

import sys
from collections.abc import Sequence
from typing import Optional

from sgl_router import command_line, launch_server
from sgl_router.launch_router import parse_router_args


def launch(args: Sequence[str]) -> int:
    """Run ``sgl-router launch ARGS`` and return its exit code; a flag that is not given has ``sglang_router``'s default."""
    # If a flag is repeated, the last value counts.
    return command_line.run(["launch", *parse_router_args([]).launch_flags(), *args])


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Run the command line, by default that of this process."""
    words = list(sys.argv[1:] if argv is None else argv)
    command, rest = words[:1], words[1:]
    if command == ["server"]:
        sys.exit(launch_server.run(rest))
    sys.exit(launch(rest) if command in (["launch"], ["start"]) else command_line.run(words))
