"""A request for deletion: sources drop the record, sets with it are purged, models trained on it are listed."""

import datetime
import json
import stat

import pytest
import yaml

from legal_tasks import artifacts, gc
from legal_tasks.data import clean, collect, forget, tombstones
from legal_tasks.lease import Lease
from legal_tasks.serving.state import Database
from legal_tasks.step import StepError, execute

DAY = datetime.date(2026, 11, 1)
PERSON, NUMBER = "欧阳青竹", "13800138000"
ANSWER = "劳动者可以在一年内向劳动争议仲裁委员会申请仲裁，时效从知道权利被侵害之日起算。"
ROWS = [
    {"instruction": f"我叫{PERSON}，电话 138 0013 8000，公司拖欠工资怎么办？", "output": ANSWER + "请保存工资条。"},
    {"instruction": f"{PERSON}是小说里的人物吗？", "output": "是的，这是一个虚构的名字，与任何案件都没有关系。"},
    {"instruction": "租房合同到期后押金不退怎么办？", "output": "可以要求出租人返还押金，协商不成的可以向人民法院起诉。"},
]


@pytest.fixture
def seat(tmp_path, monkeypatch):
    """A seat with sources of three records, collected and cleaned."""
    monkeypatch.setenv("LEXLOOP_VAR", str(tmp_path / "var"))
    monkeypatch.setenv("LEXLOOP_STORE", str(tmp_path / "var" / "store"))
    for name in ("MLFLOW_TRACKING_URI", "LEXLOOP_DAG_RUN"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "qa.json").write_text(json.dumps(ROWS, ensure_ascii=False), "utf-8")
    content = {"sources": [{"kind": "consultation", "path": "qa.json", "licence": "MIT"}]}
    (tmp_path / "sources.yaml").write_text(yaml.safe_dump(content), "utf-8")
    return tmp_path


def prepare(seat):
    """(result of collect, result of clean)"""
    first = execute("legal_tasks.data.collect", collect.Params(seat / "output", DAY, sources=str(seat / "sources.yaml")))
    second = execute("legal_tasks.data.clean", clean.Params(items=seat / first["artifact"], output=seat / "output", as_of=DAY))
    return first, second


def train(seat, cleaned, name="lora"):
    """An artifact as training leaves it, made from the cleaned set, and one that was made from it."""
    target = artifacts.Store(seat / "var" / "store")
    made = []
    digest = cleaned["digest"]
    for step in ("training.lora", "compression.compress"):
        output = target.root / ".work" / step / "x.output"
        output.mkdir(parents=True)
        (output / "model.safetensors").write_bytes(f"{name} {step}".encode())
        key = artifacts.sha256_text(f"{name} {step}")
        made.append(target.finish(step, key, output, {}, describe={"inputs": {"data": digest}}))
        digest = made[-1].digest
    return made


def command(*options, capsys):
    code = forget.main(list(options))
    said = capsys.readouterr()
    lines = said.out.strip().splitlines()
    return code, json.loads(lines[-1]) if lines and lines[-1].startswith("{") else None, said


def test_the_record_leaves_sources_and_sets_and_the_models_trained_on_it_are_listed(seat, capsys):
    collected, cleaned = prepare(seat)
    assert collected["report"]["items"]["collected"] == 3
    lora, compress = train(seat, cleaned)
    model = {"digest": compress.digest, "path": str(compress.path)}
    database = Database.create()
    database.record("released", "releaser", database.intend(model, "test").revision, actual=model)
    code, result, _ = command("--subject", PERSON, "--subject", "１３８００１３８０００", capsys=capsys)
    assert code == 0 and len(result["items"]) == 1
    purged = {row["artifact"].split("/")[0] for row in result["purged"]}
    assert purged == {"data.collect", "data.clean"}
    states = {row["step"]: row["state"] for row in result["models"]}
    assert states == {"compression.compress": "in production", "training.lora": "in the store"}
    assert lora.path.is_dir() and compress.path.is_dir()
    text = "".join(path.read_text("utf-8", "replace") for path in (seat / "var" / "store").rglob("*.json*"))
    assert NUMBER not in text and PERSON not in text
    again, _ = prepare(seat)
    assert not again["reused"] and again["key"] != collected["key"]
    assert again["report"]["items"] == {"in": 3, "collected": 2, "set_aside": {"forgotten": 1}}
    kept = (seat / again["artifact"] / "items.jsonl").read_text("utf-8")
    assert "押金" in kept and PERSON in kept and "拖欠工资" not in kept


def test_a_dry_run_says_the_same_and_touches_nothing(seat, capsys):
    prepare(seat)
    before = [each.path for each in gc.scan(artifacts.Store(seat / "var" / "store"))]
    code, dry, said = command("--subject", PERSON, "--dry-run", capsys=capsys)
    assert code == 0 and len(dry["items"]) == 2 and "would purge data.collect/" in said.out
    assert [each.path for each in gc.scan(artifacts.Store(seat / "var" / "store"))] == before
    assert tombstones.read() == []
    _, wet, _ = command("--subject", PERSON, capsys=capsys)
    assert wet["purged"] == dry["purged"]


def test_an_item_is_forgotten_by_its_id_and_comes_back_in_no_other_file(seat, capsys):
    collected, _ = prepare(seat)
    rows = [json.loads(line) for line in (seat / collected["artifact"] / "items.jsonl").read_text("utf-8").strip().split("\n")]
    item = next(row["id"] for row in rows if "押金" in str(row["fields"]))
    assert command("--item", item, capsys=capsys)[0] == 0
    (seat / "qa.json").write_text(json.dumps([*ROWS, ROWS[2]], ensure_ascii=False), "utf-8")
    again, _ = prepare(seat)
    assert again["report"]["items"] == {"in": 4, "collected": 2, "set_aside": {"forgotten": 2}}


def test_models_are_listed_again_after_the_sets_are_gone(seat, capsys):
    _, cleaned = prepare(seat)
    train(seat, cleaned)
    first = command("--subject", PERSON, capsys=capsys)[1]
    second = command("--subject", PERSON, capsys=capsys)[1]
    assert second["purged"] == [] and second["models"] == first["models"] and len(first["models"]) == 2
    assert len(tombstones.read()) == 1 and second["tombstone"] == first["tombstone"]


def test_a_set_in_use_is_named_and_purged_by_the_next_call(seat, capsys):
    _, cleaned = prepare(seat)
    key = cleaned["key"][:16]
    with Lease(seat / "var" / "store" / ".leases" / f"data.clean-{key}.json", {"step": "data.clean", "key": cleaned["key"]}):
        code, result, said = command("--subject", PERSON, capsys=capsys)
    assert code == 2 and result["waiting"] == [f"data.clean/{key}"] and "when the run has ended" in said.err
    assert (seat / cleaned["artifact"]).is_dir()
    code, result, _ = command("--subject", PERSON, capsys=capsys)
    assert code == 0 and not (seat / cleaned["artifact"]).exists()


def test_the_list_of_tombstones_is_private_and_a_broken_line_is_named(seat, capsys):
    prepare(seat)
    command("--subject", PERSON, "--reason", "letter", capsys=capsys)
    path = tombstones.path_of()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert tombstones.read()[0].subject == (PERSON,) and tombstones.read()[0].reason == "letter"
    with open(path, "a") as file:
        file.write("{]\n")
    with pytest.raises(StepError, match="line 2, is no tombstone"):
        collect.extra_inputs(collect.Params(seat, DAY, sources=str(seat / "sources.yaml")))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "--subject or --item is needed"),
        (["--subject", " 张 "], "shorter than 2 characters"),
        (["--subject", PERSON, "--most", "1"], "means 2 items, more than --most 1"),
    ],
)
def test_what_would_mean_too_much_is_refused(seat, capsys, options, words):
    prepare(seat)
    code, result, said = command(*options, capsys=capsys)
    assert code == 2 and result is None and words in said.err and tombstones.read() == []


@pytest.mark.parametrize("mark", ["\u2028", "\u0085", "\x1c"])
def test_a_subject_with_a_line_separator_is_read_back(seat, mark):
    word = f"张三{mark}李四"
    tombstones.write(tombstones.Tombstone("t1", "2026-11-01T00:00:00Z", subject=(word,), reason=f"letter{mark}"))
    assert [(stone.subject, stone.reason) for stone in tombstones.read()] == [((word,), f"letter{mark}")]


def test_a_seat_without_tombstones_keeps_its_keys(seat):
    named = collect.extra_inputs(collect.Params(seat, DAY, sources=str(seat / "sources.yaml")))
    assert set(named) == {"sources", "source/qa/qa.json"}


def test_a_sentence_of_a_real_file_is_forgotten_wherever_it_stands(seat, shared_data, capsys):
    path = shared_data / "consultation" / "zixun_gpt4.json"
    content = {"sources": [{"kind": "consultation", "path": str(path), "licence": "MIT", "name": "real"}]}
    (seat / "sources.yaml").write_text(yaml.safe_dump(content), "utf-8")
    first, _ = prepare(seat)
    rows = [json.loads(line) for line in (seat / first["artifact"] / "items.jsonl").read_text("utf-8").strip().split("\n")]
    texts = [tombstones.squeeze(tombstones.words_of(row["fields"])) for row in rows]
    sentence = texts[len(texts) // 2][20:60]
    meant = sum(sentence in text for text in texts)
    code, result, _ = command("--subject", sentence, capsys=capsys)
    assert code == 0 and meant >= 1 and len(result["items"]) <= meant
    again, _ = prepare(seat)
    assert again["report"]["items"]["collected"] == first["report"]["items"]["collected"] - meant
    assert again["report"]["items"]["set_aside"]["forgotten"] == meant


def test_what_cleaning_remembers_of_documents_is_gone_too(seat, capsys):
    prepare(seat)
    memory = seat / "var" / "store" / ".documents"
    kept = b"".join(path.read_bytes() for path in memory.iterdir())
    assert "请保存工资条".encode() in kept
    assert command("--subject", PERSON, "--subject", NUMBER, capsys=capsys)[0] == 0
    assert not memory.exists()
