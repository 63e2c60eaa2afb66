"""An LLM inference router that knows what its servers really deliver."""

from ._native import __version__

__all__ = ["__version__"]
