"""``python -m sgl_router.drop_in`` prints the folder for ``PYTHONPATH``."""

from . import folder

print(folder())
