"""``python -m sgl_router``: the command line ``sgl-router``."""

from .command_line import main

main()
