"""The four steps in order: on the embedded world against what was planted, and on the real data against its manifest."""

import json
import os
from pathlib import Path

import pytest
import yaml

from legal_tasks.data.prepare import command, prepare
from legal_tasks.records import read_records

pytest.importorskip("rensa")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    before = {name: os.environ.get(name) for name in ("LEXLOOP_STORE", "LEXLOOP_VAR")}
    os.environ |= {"LEXLOOP_STORE": str(folder / "store"), "LEXLOOP_VAR": str(folder / "var")}
    yield folder
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})


def balance(items):
    assert items["in"] == items["used"] + items["reference"] + sum(items["set_aside"].values())


def rows(path: Path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


@pytest.fixture(scope="module")
def embedded(home):
    from legal_tasks.embedded import world

    truth = world.write(home / "world", 0)
    return truth, prepare(str(home / "world" / "sources.yaml"), home / "out", "small"), home / "out"


def test_every_item_is_accounted_for(embedded):
    _, report, output = embedded
    balance(report["items"])
    assert len(rows(output / "set_aside.jsonl")) == sum(report["items"]["set_aside"].values())
    assert all(row["in"] == row["used"] + row["reference"] + row["set_aside"] for row in report["sources"])


def test_what_was_planted_is_found(embedded):
    truth, report, _ = embedded
    aside = report["items"]["set_aside"]
    assert aside["near_duplicate"] == truth["near_duplicates"] and aside["repealed_law"] == truth["repealed"]
    assert aside["broken"] + aside["empty"] + aside["no_answer"] == truth["broken"]
    assert aside["duplicate"] >= truth["duplicates"]
    assert aside["exam_leak"] == truth["leaks"] and aside["unknown_article"] == truth["invented_articles"]


def test_instructions_pass_nearly_untouched(embedded):
    truth, report, output = embedded
    [row] = [row for row in report["sources"] if row["name"] == "instruction"]
    assert row["used"] >= 0.97 * truth["instructions"]


def test_relatives_do_not_cross(embedded):
    _, report, output = embedded
    train, held = list(read_records(output / "train.jsonl")), list(read_records(output / "validation.jsonl"))
    assert (len(train), len(held)) == (report["train"], report["validation"]) and held
    for key in ("parent", "id"):
        assert not {r.provenance[key] for r in train} & {r.provenance[key] for r in held}
    assert not {r.instruction + r.input for r in train} & {r.instruction + r.input for r in held}


def test_the_same_sources_give_the_same_bytes(embedded, home, monkeypatch):
    monkeypatch.setenv("LEXLOOP_STORE", str(home / "another"))
    prepare(str(home / "world" / "sources.yaml"), home / "again", "small")
    for name in ("train.jsonl", "validation.jsonl", "set_aside.jsonl", "statutes.jsonl", "card.md"):
        assert (home / "again" / name).read_bytes() == (home / "out" / name).read_bytes()


def test_bounds_stop_the_run_with_a_message(embedded, home, capsys):
    arguments = ["--sources", str(home / "world" / "sources.yaml"), "--output", str(home / "no"), "--profile", "small"]
    assert command([*arguments, "--set", "data.check.least_records=100000"]) == 2
    assert "data.check.least_records asks for 100000" in capsys.readouterr().err
    assert not (home / "no").exists()


STATUTES = [("statute", "statutes_justlaws_md"), ("statute", "statutes_lawrefbook_md")]
OTHERS = [("case", "judgments_txt"), ("contract", "contracts_md_NC")]
FILES = [("case", f"cases/{n}.json") for n in ("disc_qa_short_answer", "lecard_query", "lexeval_3_1", "lexeval_3_2")]
TALKS = ("legal_advice", "legal_counsel_multi_turn_with_article_v2", "legal_counsel_with_article_v2", "zixun_gpt4")
FILES += [("consultation", f"consultation/{n}.json") for n in TALKS]
FILES += [("instruction", f"instruction/{n}.json") for n in ("fakao_gpt4", "judical_examination")]
EXAMS = ("disc_mcq_mult_nje.csv", "disc_mcq_sing_lbk.csv", "disc_mcq_sing_nje.csv", "disc_mcq_sing_pfe.csv")
EXAMS += ("jec-qa_leak_probe_ACADEMIC.jsonl", "lexeval_1_1.json", "lexeval_3_4.json", "cmmlu_NC")


def test_the_real_data(shared_data, home):
    """Items in as the manifest counts them, every one accounted for, leaks found as labelled, well over 1,000 records."""
    sources = [{"kind": k, "path": str(shared_data / p), "licence": "local"} for k, p in [*STATUTES, *OTHERS, *FILES]]
    exams = [{"name": name.split(".")[0], "path": str(shared_data / "exam" / name)} for name in EXAMS]
    path = home / "real.yaml"
    path.write_text(yaml.safe_dump({"sources": sources, "licences": ["local"], "exams": exams}), "utf-8")
    report = prepare(str(path), home / "real", "small")
    balance(report["items"])
    manifest = (shared_data / "MANIFEST.md").read_text("utf-8")
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in manifest.splitlines() if line.startswith("|")]
    counts = {c[0].split("/")[-1].split(".")[0]: int(c[2]) for c in cells if len(c) >= 6 and c[2].isdigit()}
    assert {row["name"]: row["in"] for row in report["sources"]} == {
        row["name"]: counts[row["name"]] for row in report["sources"]
    }
    assert report["train"] >= 1000 and report["seconds"] < 180
    labels = (shared_data / "exam" / "jec-qa_leak_probe.labels.csv").read_text("utf-8-sig").splitlines()[1:]
    probe = {int(c[0]): (c[3], float(c[1])) for c in (line.split(",", 5) for line in labels)}
    found = {pair["line"] for pair in rows(home / "real" / "contamination.jsonl") if pair["exam"].startswith("jec")}
    leaked = {line for line, (label, score) in probe.items() if label == "1" and score >= 0.8}
    clean = {line for line, (label, _) in probe.items() if label == "0"}
    assert len(found & leaked) >= 0.95 * len(leaked) and len(found & clean) <= 0.02 * len(clean)
