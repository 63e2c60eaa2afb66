"""The router in front of running servers: ``python -m sgl_router.launch_router ARGS``.

Runs ``sgl-router launch ARGS`` in this process, with the same flags, messages, exit codes and signals.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Optional

from . import command_line


def main(args: Optional[Sequence[str]] = None) -> None:
    """Run as the program ``sgl-router-launch``, by default with the flags of this process."""
    sys.exit(command_line.run(["launch", *(sys.argv[1:] if args is None else args)]))


if __name__ == "__main__":
    main()
