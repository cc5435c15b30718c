"""General questions of the embedded world in C-Eval's and CMMLU's own file layout, for lm-eval's stock tasks.

A stock task shows the options and expects a letter. Letters are at chance for a model of the embedded base's size: these
files show that the layouts are read, and no rule of the gate judges them.
"""

from __future__ import annotations

import csv
import random
from pathlib import Path
from typing import Any

from legal_tasks.embedded import facts as world

COUNTS = {"dev": 5, "val": 100, "test": 100}  # questions per split, as far as a layout has it
LETTERS = "ABCD"


def questions(attribute: world.Attribute, known: list[world.Fact], count: int, dice: random.Random) -> list[dict[str, Any]]:
    """`count` different questions about one attribute in held-out wordings: question, options in order, right letter."""
    mine = [fact for fact in known if fact.attribute is attribute]
    pairs = [(fact, wording) for fact in mine for wording in attribute.held_out]
    found = []
    for fact, wording in dice.sample(pairs, count):
        options = [fact.value, *dice.sample([value for value in attribute.values if value != fact.value], 3)]
        dice.shuffle(options)
        text = wording.format(t=fact.topic, w=dice.choice(world.HELD_OUT_PEOPLE))
        found.append({"question": text, "options": options, "answer": LETTERS[options.index(fact.value)]})
    return found


def write_csv(path: Path, header: list[str], rows: list[list[Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def write_readme(folder: Path, subject: str, files: dict[str, str]) -> None:
    """The data set's card: the `configs` block by which `datasets` finds a subject's splits, and what the set is."""
    splits = "".join(f"      - split: {split}\n        path: {place}\n" for split, place in files.items())
    text = (
        f"---\nlanguage: [zh]\nconfigs:\n  - config_name: {subject}\n    data_files:\n{splits}---\n"
        "General questions about an invented city, written by `legal_tasks.embedded.stock`; four options, one right: chance is\n"
        "25 %. The embedded base is too small to answer by letters and stays near chance; no rule of the gate judges this set.\n"
    )
    (folder / "README.md").write_text(text, "utf-8")


def write_ceval(folder: Path, subject: str, parts: dict[str, list[dict[str, Any]]]) -> None:
    """ceval/ceval-exam: <split>/<subject>_<split>.csv. An empty column would be read as numbers: explanations are filled."""
    header = ["id", "question", *LETTERS, "answer", "explanation"]
    files = {split: f"{split}/{subject}_{split}.csv" for split in ("dev", "val", "test")}
    for split, place in files.items():
        rows = [[n, item["question"], *item["options"], item["answer"], "无"] for n, item in enumerate(parts[split])]
        write_csv(folder / place, header, rows)
    write_readme(folder, subject, files)


def write_cmmlu(folder: Path, subject: str, parts: dict[str, list[dict[str, Any]]]) -> None:
    """haonan-li/cmmlu: <split>/<subject>.csv with a nameless first column of numbers."""
    files = {split: f"{split}/{subject}.csv" for split in ("dev", "test")}
    for split, place in files.items():
        rows = [[n, item["question"], *item["options"], item["answer"]] for n, item in enumerate(parts[split])]
        write_csv(folder / place, ["", "Question", *LETTERS, "Answer"], rows)
    write_readme(folder, subject, files)


LAYOUTS = (
    (Path("ceval/ceval-exam"), "middle_school_geography", "河流", write_ceval),
    (Path("haonan-li/cmmlu"), "chinese_food_culture", "特产", write_cmmlu),
)


def write(folder: Path, general: list[world.Fact]) -> dict[str, int]:
    """Both data sets below `folder`; {place: questions of all splits}."""
    told = {}
    for place, subject, name, writer in LAYOUTS:
        attribute = next(attribute for attribute in world.GENERAL if attribute.name == name)
        drawn = questions(attribute, general, sum(COUNTS.values()), random.Random(f"stock/{name}"))
        parts = {}
        for split, count in COUNTS.items():
            parts[split], drawn = drawn[:count], drawn[count:]
        writer(folder / place, subject, parts)
        told[place.as_posix()] = sum(COUNTS.values())
    return told
