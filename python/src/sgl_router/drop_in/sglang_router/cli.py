"""The command line ``sglang-router``: ``launch`` for a router, ``server`` for servers and a router."""

import sys
from collections.abc import Sequence
from typing import Optional

from sgl_router import command_line, launch_server


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Run the command line, by default that of this process."""
    words = list(sys.argv[1:] if argv is None else argv)
    sys.exit(launch_server.run(words[1:]) if words[:1] == ["server"] else command_line.run(words))
