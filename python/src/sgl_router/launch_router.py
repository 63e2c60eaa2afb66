"""``python -m sgl_router.launch_router ARGS``: the router in front of servers that run, as ``sgl-router launch ARGS``."""

import sys

from . import command_line


def main() -> None:
    """Be the program ``sgl-router-launch``."""
    sys.exit(command_line.run(["launch", *sys.argv[1:]]))


if __name__ == "__main__":
    main()
