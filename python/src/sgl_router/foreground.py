"""A router that a process runs until it is told to stop."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Optional

from .router import Router


class _StopRequested(BaseException):
    """The first signal; no ``Exception``, so that nothing on the way takes it for an error."""


def serve(router: Router) -> None:
    """Start the router, and return when it has stopped: on SIGINT, SIGTERM, or ``stop()`` in another thread.

    The first signal lets requests in flight finish, a second one raises ``KeyboardInterrupt``. Signals are those of the
    process, so they are handled only in its main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        router.start()
        router.wait()
        return
    stopping = False

    def stop(number: int, frame: Optional[FrameType]) -> None:
        nonlocal stopping
        if stopping:
            raise KeyboardInterrupt
        stopping = True
        raise _StopRequested

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        try:
            router.start()
            router.wait()
        except _StopRequested:
            pass
        router.stop()
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
