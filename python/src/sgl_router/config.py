"""The configuration of a router."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Union

from . import _native
from .caller import warn_caller
from .options import Options


@dataclass(repr=False)
class Config(Options):
    """All options of a router, with the defaults of ``sgl-router launch``.

    >>> import sgl_router
    >>> config = sgl_router.Config(worker_urls=["http://127.0.0.1:31000"], policy="round_robin")
    >>> config.port
    30000
    >>> print(config.to_toml(), end="")
    policy = "round_robin"
    worker_urls = ["http://127.0.0.1:31000"]

    Types and ranges are checked at once, and all else, such as the name of the policy, when a ``Router`` is built from
    it. ``repr`` and TOML show the options that are not at their default, and never a key.
    """

    def __post_init__(self) -> None:
        """Check types and ranges.

        Raises ``TypeError`` or ``ValueError``, which names the option.
        """
        _native.check_options(self.given())

    @classmethod
    def from_toml(cls, source: Union[str, os.PathLike[str]]) -> Config:
        """Return the options of a TOML file or text: the file that ``sgl-router launch --config`` takes.

        A ``str`` with a line break or a ``=`` is the text itself; any other is a path.
        Raises ``OSError`` if the file cannot be read, and ``ValueError`` for an unknown key or an invalid value.
        """
        if isinstance(source, str) and ("\n" in source or "=" in source):
            return cls(**_native.options_from_toml(source, "config text"))
        path = os.fspath(source)
        with open(path, encoding="utf-8") as file:
            return cls(**_native.options_from_toml(file.read(), f"config file {path}"))

    @classmethod
    def from_args(cls, args: Sequence[str]) -> Config:
        """Return the options that ``sgl-router launch ARGS`` would run with.

        A flag of another router that has no effect causes a ``UserWarning``. Raises ``ValueError`` with the message of
        the command line.
        """
        given, notes = _native.options_from_flags(list(args))
        warn_caller(notes)
        return cls(**given)

    def to_toml(self) -> str:
        """Return the options that are not at their defaults as TOML, without keys.

        Raises ``TypeError`` or ``ValueError`` for an invalid value.
        """
        return _native.options_to_toml(self.given())

    def __repr__(self) -> str:
        """Return the options that are not at their defaults, without keys."""
        shown = [each.name for each in fields(self) if each.repr]
        defaults = Config()
        changed = [name for name in shown if getattr(self, name) != getattr(defaults, name)]
        return f"Config({', '.join(f'{name}={getattr(self, name)!r}' for name in changed)})"

    def given(self) -> dict[str, Any]:
        """Return all options by name."""
        return {each.name: getattr(self, each.name) for each in fields(self)}
