"""The launcher of servers and the router in front of them: one module with ``sgl_router.launch_server``."""

import sys

import sgl_router.launch_server

if __name__ == "__main__":
    sgl_router.launch_server.main()
else:
    sys.modules[__name__] = sgl_router.launch_server
