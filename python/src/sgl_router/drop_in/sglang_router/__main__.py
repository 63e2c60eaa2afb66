"""``python -m sglang_router``: the command line ``sglang-router``."""

from .cli import main

main()
