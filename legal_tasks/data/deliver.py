"""The split records in the forms that others read: Parquet for datasets and pandas, Alpaca JSON for LLaMA-Factory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from legal_tasks.records import Record

COLUMNS = {"prompt": "instruction", "query": "input", "response": "output", "history": "history"}


def write_parquet(folder: Path, splits: Mapping[str, list[Record]]) -> None:
    """<folder>/<split>.parquet: instruction, input, output, source, category, history (pairs), provenance (JSON)."""
    import pyarrow
    from pyarrow import parquet

    text = pyarrow.string()
    names = ("instruction", "input", "output", "source", "category")
    schema = pyarrow.schema([*((name, text) for name in names), ("history", pyarrow.list_(pyarrow.list_(text)))])
    schema = schema.append(pyarrow.field("provenance", text))
    folder.mkdir(parents=True, exist_ok=True)
    for split, records in splits.items():
        columns: dict[str, list] = {name: [getattr(record, name) for record in records] for name in (*names, "history")}
        columns["provenance"] = [json.dumps(record.provenance, ensure_ascii=False, sort_keys=True) for record in records]
        parquet.write_table(pyarrow.table(columns, schema=schema), folder / f"{split}.parquet", compression="zstd")


def write_alpaca(folder: Path, splits: Mapping[str, list[Record]]) -> None:
    """<folder>/<split>.json and dataset_info.json, which names them legal_<split>."""
    folder.mkdir(parents=True, exist_ok=True)
    info = {}
    for split, records in splits.items():
        rows = [{name: getattr(record, name) for name in COLUMNS.values()} for record in records]
        (folder / f"{split}.json").write_text(json.dumps(rows, ensure_ascii=False, indent=1) + "\n", "utf-8")
        info[f"legal_{split}"] = {"file_name": f"{split}.json", "formatting": "alpaca", "columns": COLUMNS}
    (folder / "dataset_info.json").write_text(json.dumps(info, ensure_ascii=False, indent=1) + "\n", "utf-8")
