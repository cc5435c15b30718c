"""The split records in the forms that others read: Parquet for datasets and pandas, Alpaca JSON for LLaMA-Factory."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path

from legal_tasks.records import read_records

COLUMNS = {"prompt": "instruction", "query": "input", "response": "output", "history": "history"}


ROW_GROUP = 50_000  # rows; so many are in memory at once


def write_parquet(folder: Path, splits: Mapping[str, Path]) -> None:
    """<folder>/<split>.parquet: instruction, input, output, source, category, history (pairs), provenance (JSON).

    `splits`: {name: JSON Lines of its records}.
    """
    import pyarrow
    from pyarrow import parquet

    text = pyarrow.string()
    names = ("instruction", "input", "output", "source", "category")
    schema = pyarrow.schema([*((name, text) for name in names), ("history", pyarrow.list_(pyarrow.list_(text)))])
    schema = schema.append(pyarrow.field("provenance", text))
    folder.mkdir(parents=True, exist_ok=True)
    for split, path in splits.items():
        records = read_records(path)
        with parquet.ParquetWriter(folder / f"{split}.parquet", schema, compression="zstd") as writer:
            while part := list(itertools.islice(records, ROW_GROUP)):
                columns: dict[str, list] = {name: [getattr(record, name) for record in part] for name in (*names, "history")}
                columns["provenance"] = [json.dumps(one.provenance, ensure_ascii=False, sort_keys=True) for one in part]
                writer.write_table(pyarrow.table(columns, schema=schema))


def write_alpaca(folder: Path, splits: Mapping[str, Path]) -> None:
    """<folder>/<split>.json and dataset_info.json, which names them legal_<split>."""
    folder.mkdir(parents=True, exist_ok=True)
    info = {}
    for split, path in splits.items():
        with open(folder / f"{split}.json", "w", encoding="utf-8") as file:
            before = "[\n "
            for record in read_records(path):
                row = {name: getattr(record, name) for name in COLUMNS.values()}
                file.write(before + json.dumps(row, ensure_ascii=False, indent=1).replace("\n", "\n "))
                before = ",\n "
            file.write("[]\n" if before == "[\n " else "\n]\n")
        info[f"legal_{split}"] = {"file_name": f"{split}.json", "formatting": "alpaca", "columns": COLUMNS}
    (folder / "dataset_info.json").write_text(json.dumps(info, ensure_ascii=False, indent=1) + "\n", "utf-8")
