"""Warnings about the line of the program that called this package."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable

#: This package, and the one that stands in for ``sglang_router``.
_PACKAGES = ("sgl_router", "sglang_router")


def warn_caller(messages: Iterable[str]) -> None:
    """Issue a ``UserWarning`` for each message, with the place of the first caller outside this package."""
    for message in messages:
        warnings.warn(message, UserWarning, stacklevel=_frames_of_package() + 1)


def _frames_of_package() -> int:
    """Return how many frames there are from ``warn_caller`` to the last one of this package."""
    count, frame = 0, sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _PACKAGES:
        count += 1
        frame = frame.f_back  # type: ignore[assignment]
    return count
