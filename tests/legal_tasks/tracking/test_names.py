"""Two names never give one metric, MLflow takes every one of them, and a name leads back to what the report says."""

import itertools
import random

import pytest
import yaml

from legal_tasks.data import privacy, subjects
from legal_tasks.records import CATEGORIES
from legal_tasks.tracking import names

ODD = [
    "合同",
    "物权",
    "行政",
    "",
    " ",
    "  ",
    "a b",
    "a_b",
    "A_b",
    "a-b",
    "a/b",
    "a//b",
    "..",
    "_",
    "__",
    "_u",
    "_u5408_",
    "u5408",
    "合u",
]
ODD += [
    "contract_law",
    "_u63_ontract_law",
    "😀",
    "😀😀",
    "_合",
    "合_",
    "_合_",
    "é",
    "e\u0301",
    "\n",
    "ａ",
    "a:b",
    "Loss",
    "loss",
    "%",
    "0",
]
ODD += [
    "x" * 300,
    "x" * 299 + "y",
    "合" * 80,
    "合" * 79 + "同",
    "_uh" * 90,
    "x" * 207 + "_uh" + "0" * 40,
    "a_uh",
    "_u合",
    "a_ua",
    "_u",
    "_uu_",
]


def spell(chooser, words):
    pieces = ["_", "u", "h", "a", "A", "5408", "p", "合", "同", " ", "/", "😀", "-", ":", "_u", "_u5408_"]
    return tuple("".join(chooser.choices(pieces, k=chooser.randint(0, 6))) for _ in range(words))


def paths():
    chooser = random.Random(0)
    found = {(word,) for word in ODD} | set(itertools.product(ODD[:12], ODD[:12])) | {tuple("ab"), ("a.b",)}
    found |= {spell(chooser, words) for words in (1, 1, 2, 3) for _ in range(4000)}
    return sorted(found)


def test_two_names_never_give_one_metric():
    every = paths()
    metrics = {}
    for path in every:
        assert metrics.setdefault(names.join(path), path) == path
    assert len(metrics) == len(every) > 8000


def test_mlflow_takes_every_name():
    validation = pytest.importorskip("mlflow.utils.validation", reason="mlflow comes with the ml environment")
    for path in paths():
        name = names.join(path)
        assert name.isascii() and 0 < len(name) <= 250
        validation._validate_metric_name(name)


def test_a_name_leads_back_to_what_the_report_says():
    for path in paths():
        name = names.join(path)
        if len(".".join(map(names.word, path))) <= names.LIMIT:
            assert names.original(name) == path
    with pytest.raises(KeyError, match=r"metric_names\.json"):
        names.original(names.join(("合" * 300,)))


def test_subjects_and_kinds_of_personal_data_have_english_identifiers():
    wanted = {*subjects.table().branches, subjects.OTHER, "姓名", *(kind for kind, *_ in privacy.KINDS)}
    assert wanted <= names.table().keys()
    assert {len(set(names.table().values()))} == {len(names.table())}
    assert all(identifier.isidentifier() and identifier.isascii() for identifier in names.table().values())
    assert not set(names.table().values()) & {*CATEGORIES, "answers", "general", "refusal", "over_refusal", "domain"}


def test_the_table_names_nothing_twice():
    text = (names.Path(names.__file__).parent / "names.yaml").read_text("utf-8")
    keys = [key.value for key, _ in yaml.compose(text).value]
    assert len(keys) == len(set(keys))


def test_the_numbers_of_a_report_keep_their_letters():
    report = {"subjects": {"合同": 3, "物权": 2, "行政": 1, "海商": 4}, "written": 6, "done": True, "text": "x"}
    assert names.flatten(report) == {
        "subjects.contract_law": 3.0,
        "subjects.property_law": 2.0,
        "subjects.administrative_law": 1.0,
        "subjects._u6d77u5546_": 4.0,
        "written": 6.0,
    }
    assert names.spelled(report)["subjects._u6d77u5546_"] == "subjects.海商"
    assert names.flatten({"gain_upper": 1, "not_unseen": 2}).keys() == {"gain_upper", "not_unseen"}
    assert names.flatten({"a.b": {"c": 1}, "a": {"b.c": 2}}) == {"a_u2e_b.c": 1.0, "a.b_u2e_c": 2.0}
