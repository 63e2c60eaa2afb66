"""A folder with a package ``sglang_router`` that is this router, for programs that import that name.

Nothing is installed under that name. A program gets it when this folder comes first in its path::

    export PYTHONPATH="$(python -m sgl_router.drop_in)${PYTHONPATH:+:$PYTHONPATH}"
"""

from __future__ import annotations

import os


def folder() -> str:
    """Return the folder that has the package ``sglang_router``."""
    return os.path.dirname(os.path.abspath(__file__))
