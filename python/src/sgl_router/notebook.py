"""Results of simulations as HTML, for notebooks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .simulation import Measure, PolicyResult


def table(results: Mapping[str, PolicyResult]) -> str:
    """Return a table with a row for each measure and a column for each policy."""
    from html import escape

    head = "".join(f"<th>{escape(policy)}</th>" for policy in results)
    rows = [f"<thead><tr><th></th>{head}</tr></thead>"]
    names = list(next(iter(results.values()), ()))
    for name in names:
        cells = "".join(f"<td>{_cell(result[name])}</td>" for result in results.values())
        rows.append(f"<tr><th>{escape(name)}</th>{cells}</tr>")
    return f"<table>{''.join(rows)}</table>"


def _cell(measure: Measure) -> str:
    """Return the mean, half the width of its interval, and its ratio to the first policy."""
    text = f"{measure.mean:.4g}"
    if measure.half_width is not None:
        text += f" ± {measure.half_width:.2g}"
    if measure.ratio is not None and measure.ratio != 1.0:
        text += f" <small>({measure.ratio:.2f}×)</small>"
    return text
