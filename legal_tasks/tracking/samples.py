"""A table of what the models answered, a few items of every suite, as MLflow's pages show tables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

ROWS = 20
LONGEST = 2000  # characters of a cell
COLUMNS = ("suite", "id", "question", "right", "base", "champion", "challenger", "verdicts")


def choose(lines: Mapping[str, Sequence[Any]], most: int = ROWS) -> list[tuple[str, Any]]:
    """Up to `most` pairs of suite and line, the suites in turn, evenly spread in each."""
    share = -(-most // max(len(lines), 1))
    spread = {suite: _spread(found, min(share, len(found))) for suite, found in lines.items()}
    turns = [(suite, found[turn]) for turn in range(share) for suite, found in spread.items() if turn < len(found)]
    return turns[:most]


def _spread(found: Sequence[Any], count: int) -> list[Any]:
    return [found[(2 * place + 1) * len(found) // (2 * count)] for place in range(count)]


def table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """JSON as `mlflow.log_table` writes it: {columns, data}; every cell a text of at most LONGEST characters."""
    cells = [[_cell(row.get(name)) for name in columns] for row in rows]
    return json.dumps({"columns": list(columns), "data": cells}, ensure_ascii=False)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST else text[:LONGEST] + " …"
