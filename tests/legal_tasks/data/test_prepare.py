"""The four steps in order: on the embedded world against what was planted, and on the real data against its manifest."""

import datetime
import json
import os
import random
import re
from pathlib import Path

import pytest
import yaml

from legal_tasks.data import statutes
from legal_tasks.data.numerals import numeral, to_number
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
    return [json.loads(line) for line in path.read_text("utf-8").strip().split("\n")]


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
    for path in sorted((home / "out").rglob("*.*")):
        if path.name != "report.json":  # it holds seconds
            assert (home / "again" / path.relative_to(home / "out")).read_bytes() == path.read_bytes(), path.name


def test_datasets_and_pandas_read_the_delivered_set(embedded):
    datasets, pandas = pytest.importorskip("datasets"), pytest.importorskip("pandas")
    _, report, output = embedded
    loaded = datasets.load_dataset("parquet", data_dir=str(output / "dataset"), cache_dir=str(output.parent / "cache"))
    assert {name: len(part) for name, part in loaded.items()} == {n: report[n] for n in ("train", "validation")}
    first = next(read_records(output / "train.jsonl"))
    assert loaded["train"][0]["instruction"] == first.instruction and loaded["train"][0]["history"] == first.history
    assert len(pandas.read_parquet(output / "dataset")) == report["train"] + report["validation"]


def test_llama_factory_finds_its_files(embedded):
    _, report, output = embedded
    info = json.loads((output / "alpaca" / "dataset_info.json").read_text("utf-8"))
    rows_ = json.loads((output / "alpaca" / info["legal_train"]["file_name"]).read_text("utf-8"))
    assert len(rows_) == report["train"] and set(info["legal_train"]["columns"].values()) == rows_[0].keys()


def test_the_report_has_the_agreed_keys(embedded):
    _, report, _ = embedded
    top = "items hits derived personal_data contaminated train validation seconds items_per_second sources"
    assert set(report) == set(top.split()) and set(report["items"]) == {"in", "used", "reference", "set_aside"}
    assert all(set(row) == {"name", "in", "used", "reference", "set_aside"} for row in report["sources"])


def test_the_card_tells_the_funnel_and_names_the_splits(embedded):
    _, report, output = embedded
    card = (output / "README.md").read_text("utf-8")
    head = yaml.safe_load(card.split("---")[1])
    assert {part["path"] for part in head["configs"][0]["data_files"]} == {"dataset/train.parquet", "dataset/validation.parquet"}
    assert f"| in | {report['items']['in']} |" in card and "![Funnel](funnel.svg)" in card
    assert f">{report['items']['used']:,}<" in (output / "funnel.svg").read_text("utf-8")
    page = (output / "card.html").read_text("utf-8")
    assert page.count("<svg") == 2 and "src=" not in page and len(page) < 2_000_000


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
SAFETY = ("JailBench_seed.csv", "cvalues_responsibility_prompts.jsonl", "xstest_prompts_en.csv")
ROLES = "再审申请人|被申请人|原告|被告|上诉人|被上诉人|第三人|申诉人|法定代表人|负责人|委托代理人|被告人|申请执行人"
HEADER = re.compile(rf"(?m)^(?:{ROLES})(?:（[^）]*）)*[：:]([\u4e00-\u9fff·]{{2,12}}?)(?=[，。（]|$)")
NO_PERSON = re.compile("公司|银行|法院|政府|委员会|律师|医院|学校|中心|集团|某|[局厂部社所院村会行站店场]$")
QUOTED = re.compile(r"《民法典》第([零一二三四五六七八九十百千]+)条[^“。\n]{0,20}“([^”]{12,})”")


@pytest.fixture(scope="module")
def real(home):
    """(report, folder, the shared data) of the whole real data with its exams."""
    shared = Path(__file__).resolve().parents[4] / "shared" / "data"
    if not (shared / "MANIFEST.md").is_file():
        pytest.skip(f"the real data is not here: {shared}")
    sources = [{"kind": k, "path": str(shared / p), "licence": "local"} for k, p in [*STATUTES, *OTHERS, *FILES]]
    exams = [{"name": name.split(".")[0], "path": str(shared / "exam" / name)} for name in EXAMS]
    exams += [{"name": name.split("_")[0].lower(), "path": str(shared / "safety" / name)} for name in SAFETY]
    path = home / "real.yaml"
    path.write_text(yaml.safe_dump({"sources": sources, "licences": ["local"], "exams": exams}), "utf-8")
    return prepare(str(path), home / "real", "small"), home / "real", shared


def test_real_items_are_as_many_as_the_manifest_counts_and_all_accounted_for(real):
    report, _, shared = real
    balance(report["items"])
    manifest = (shared / "MANIFEST.md").read_text("utf-8")
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in manifest.splitlines() if line.startswith("|")]
    counts = {c[0].split("/")[-1].split(".")[0]: int(c[2]) for c in cells if len(c) >= 6 and c[2].isdigit()}
    assert {row["name"]: row["in"] for row in report["sources"]} == {
        row["name"]: counts[row["name"]] for row in report["sources"]
    }
    assert report["train"] >= 5000
    used = {row["name"]: row["used"] / row["in"] for row in report["sources"]}
    assert all(used[name] >= 0.55 for name in TALKS)
    assert report["items"]["set_aside"]["placeholder"] >= 1031  # facts.md: so many of judical_examination


def test_real_leaks_are_found_as_labelled(real):
    _, output, shared = real
    labels = (shared / "exam" / "jec-qa_leak_probe.labels.csv").read_text("utf-8-sig").splitlines()[1:]
    probe = {int(c[0]): (c[3], float(c[1])) for c in (line.split(",", 5) for line in labels)}
    found = {pair["line"] for pair in rows(output / "contamination.jsonl") if pair["exam"].startswith("jec")}
    leaked = {line for line, (label, score) in probe.items() if label == "1" and score >= 0.8}
    clean = {line for line, (label, _) in probe.items() if label == "0"}
    assert len(found & leaked) >= 0.95 * len(leaked) and len(found & clean) <= 0.02 * len(clean)


def test_real_quotations_are_judged(real):
    """Right ones pass, the same under the next article's number are accused, and so are invented ones."""
    _, output, shared = real
    store, day = statutes.read_store(output / "statutes.jsonl"), datetime.date(2026, 11, 1)
    answers = [item["response"] for item in json.loads((shared / "consultation" / "zixun_gpt4.json").read_text("utf-8"))]
    found = [(one[0], one[1]) for text in answers for one in QUOTED.finditer(text)]
    wrong = [cite for cite, _ in found if accused(store, cite, day)]
    moved = [cite.replace(f"第{n}条", f"第{numeral(to_number(n) + 1)}条", 1) for cite, n in found]
    assert len(found) >= 29 and len(wrong) <= 1
    assert sum(accused(store, cite, day) for cite in moved) >= len(moved) - 2
    invented = json.loads((shared / "instruction" / "fakao_gpt4.json").read_text("utf-8"))
    pattern = re.compile(QUOTED.pattern.replace("《民法典》", "《(?:中华人民共和国)?民法典》"))
    cites = [one[0] for item in invented for one in pattern.finditer(item["output"])]
    assert sum(accused(store, cite, day) for cite in cites) >= len(cites) - 1


def accused(store, cite, day):
    return any(verdict.state in ("misquoted", "no such article") for verdict in store.judge(cite, day))


def test_real_parties_are_not_named(real):
    _, output, shared = real
    texts = {}
    for name in ("train", "validation"):
        for record in read_records(output / f"{name}.jsonl"):
            if record.source == "judgments_txt":
                texts.setdefault(record.provenance["locator"], []).append(record.input + record.output)
    names = [
        (locator, name)
        for locator in texts
        for name in set(HEADER.findall((shared / "judgments_txt" / locator).read_text("utf-8")))
        if not NO_PERSON.search(name)
    ]
    left = [(locator, name) for locator, name in names if any(name in text for text in texts[locator])]
    assert len(names) > 150 and len(left) <= 0.02 * len(names), left
    assert report_of(output)["personal_data"]["姓名"] > 1000


def test_real_files_renamed_and_shuffled_give_the_same_result(real, home):
    report, _, shared = real
    dice = random.Random(5)
    config = yaml.safe_load((home / "real.yaml").read_text("utf-8"))
    for number, entry in enumerate(config["sources"]):
        entry["path"], entry["name"] = str(shuffled(Path(entry["path"]), home / f"s{number}", dice)), Path(entry["path"]).stem
    dice.shuffle(config["sources"])
    (home / "shuffled.yaml").write_text(yaml.safe_dump(config), "utf-8")
    again = prepare(str(home / "shuffled.yaml"), home / "shuffled", "small")
    for name in ("seconds", "items_per_second"):
        del again[name]
    assert again == {name: report[name] for name in again}


def shuffled(path: Path, target: Path, dice: random.Random) -> Path:
    """A copy with other names; the elements of a list in another order."""
    target.mkdir()
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    for file in files:
        folder = target / file.relative_to(path).parent if path.is_dir() else target
        folder.mkdir(parents=True, exist_ok=True)
        text = file.read_text("utf-8")
        if file.suffix == ".json":
            lines = text.strip().split("\n") if text.lstrip().startswith("{") else json.loads(text)
            dice.shuffle(lines)
            text = "\n".join(lines) if text.lstrip().startswith("{") else json.dumps(lines, ensure_ascii=False)
        (folder / f"{dice.randrange(10**9)}{'.txt' if file.suffix == '.json' else file.suffix}").write_text(text, "utf-8")
    return target


def report_of(output):
    return json.loads((output / "report.json").read_text("utf-8"))
