"""The router in front of servers that run: ``python -m sgl_router.launch_router ARGS``.

The same as ``sgl-router launch ARGS``, in this process: flags, messages and exit codes, Ctrl-C and SIGTERM.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Optional

from . import command_line


def main(args: Optional[Sequence[str]] = None) -> None:
    """Be the program ``sgl-router-launch``, with the flags of this process where none are given."""
    sys.exit(command_line.run(["launch", *(sys.argv[1:] if args is None else args)]))


if __name__ == "__main__":
    main()
