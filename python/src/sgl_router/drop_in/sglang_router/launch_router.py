"""The launcher of a router: this name and ``sgl_router.launch_router`` are one module, so that a patch reaches both."""

import sys

import sgl_router.launch_router

if __name__ == "__main__":
    from .cli import launch

    sys.exit(launch(sys.argv[1:]))
else:
    sys.modules[__name__] = sgl_router.launch_router
