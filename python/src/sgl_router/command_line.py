"""The command line ``sgl-router``, run in this process."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Sequence

from ._native import run_command_line


def run(args: Sequence[str]) -> int:
    """Run ``sgl-router ARGS`` and return its exit code: 0, 1 for a failure, 2 for a wrong command line."""
    if threading.current_thread() is threading.main_thread():
        # The router handles Ctrl-C itself; Python would raise KeyboardInterrupt in addition after the command.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    return run_command_line(["sgl-router", *args])


def main() -> None:
    """Run as the program ``sgl-router``."""
    sys.exit(run(sys.argv[1:]))
