"""The version of ``sglang_router`` whose names and flags are served; programs choose endpoints by it."""

__version__ = "0.3.2"
