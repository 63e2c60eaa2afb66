"""Records of simulations and of recorded files, by column."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any, Optional, Protocol, Union

from . import _native

__all__ = ["RecordError", "Records", "read_records"]


class RecordError(ValueError):
    """A file of records is not valid; the message names the file and the line."""


class _Source(Protocol):
    def names(self) -> list[str]: ...
    def column(self, name: str) -> list[Any]: ...
    def kind(self, name: str) -> Optional[str]: ...
    def __len__(self) -> int: ...


class Records(Mapping[str, "list[Any]"]):
    """Columns of equal length by name, each a list; None is unknown."""

    def __init__(self, source: _Source) -> None:
        self._source = source
        self._lists: dict[str, list[Any]] = {}

    @property
    def rows(self) -> int:
        """The number of rows."""
        return len(self._source)

    def __getitem__(self, name: str) -> list[Any]:
        if name not in self._lists:
            self._lists[name] = self._source.column(name)
        return self._lists[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._source.names())

    def __len__(self) -> int:
        return len(self._source.names())

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.rows} rows of {', '.join(self)}>"

    def where(self, **equal: Any) -> Records:
        """Return the rows whose columns have these values."""
        wanted = list(equal.values())
        keys = zip(*(self[name] for name in equal)) if equal else iter([()] * self.rows)
        kept = [row for row, key in enumerate(keys) if list(key) == wanted]
        lists = {name: [column[row] for row in kept] for name, column in self.items()}
        return Records(_Lists(lists, {name: self._source.kind(name) for name in lists}, len(kept)))

    def to_pandas(self) -> Any:
        """Return a ``pandas.DataFrame``; needs pandas."""
        import pandas  # type: ignore[import-not-found, import-untyped, unused-ignore]

        # Given explicitly, so that a column without any value has its type too.
        full = {"real": "float64", "whole": "int64", "flag": "bool", "text": "object"}
        with_gaps = {**full, "whole": "Int64", "flag": "boolean"}
        columns = {}
        for name, values in self.items():
            types = with_gaps if None in values else full
            columns[name] = pandas.Series(values, dtype=types[self._source.kind(name) or "text"])
        return pandas.DataFrame(columns)

    def to_arrow(self) -> Any:
        """Return a ``pyarrow.Table``; needs pyarrow."""
        import pyarrow  # type: ignore[import-not-found, import-untyped, unused-ignore]

        types = {"real": pyarrow.float64(), "whole": pyarrow.int64(), "flag": pyarrow.bool_(), "text": pyarrow.string()}
        columns = {
            name: pyarrow.array(values, types[self._source.kind(name) or "text"]) for name, values in self.items()
        }
        return pyarrow.table(columns)


class _Lists:
    """Columns as lists."""

    def __init__(self, lists: dict[str, list[Any]], kinds: dict[str, Optional[str]], rows: int) -> None:
        self._lists, self._kinds, self._rows = lists, kinds, rows

    def names(self) -> list[str]:
        return list(self._lists)

    def column(self, name: str) -> list[Any]:
        return self._lists[name]

    def kind(self, name: str) -> Optional[str]:
        return self._kinds[name]

    def __len__(self) -> int:
        return self._rows


class FileRecords(Records):
    """The records of one file."""

    def __init__(self, source: _Source, kind: str, problems: list[str]) -> None:
        super().__init__(source)
        #: ``recorder`` for a file of the router's recorder, ``client`` for one of ``sgl-router send``.
        self.kind = kind
        #: Problems of the file that were skipped, one line each, with their place.
        self.problems = problems


def read_records(path: Union[str, os.PathLike[str]], *, on_error: str = "raise") -> FileRecords:
    """Read a file that the router's recorder (CSV or JSON lines) or ``sgl-router send`` wrote.

    A recorder's file has a row for each decision and for each completion; ``records.where(kind="decision")`` selects
    one kind. A problem in the file is a RecordError that names the file and the line; with ``on_error="skip"`` an
    incomplete row is left out, an invalid value is None, and ``problems`` lists both. OSError if the file cannot be
    opened.
    """
    if on_error not in ("raise", "skip"):
        raise ValueError(f"on_error must be 'raise' or 'skip', not {on_error!r}")
    # Opened first for the specific OSError of Python.
    with open(path, "rb"):
        pass
    try:
        columns, kind, problems = _native.read_columns(path)
    except ValueError as error:
        raise RecordError(str(error)) from None
    if problems and on_error == "raise":
        raise RecordError(problems[0])
    return FileRecords(columns, kind, problems)
