"""What is still personal after masking takes its item out of the training set, with the reason."""

import datetime
import json

import pytest

from legal_tasks.data import clean, evidence, lawpages, lawtext, statutes
from legal_tasks.data.privacy import valid_card
from legal_tasks.data.scan import scan
from legal_tasks.data.works import Items, Work
from legal_tasks.records import Record, read_records

pytest.importorskip("rensa")


def test_an_item_whose_personal_data_the_masker_misses_is_set_aside(tmp_path, monkeypatch):
    monkeypatch.setenv("LEXLOOP_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("LEXLOOP_VAR", str(tmp_path / "var"))
    # A card in a spelling that only the scan knows: six digits, a space, ten.
    card = next(f"622202 123456789{last}" for last in range(10) if valid_card(f"622202123456789{last}"))
    assert scan(f"卡{card}") == ["bank card"]
    folder, output = tmp_path / "items", tmp_path / "out"
    for path in (folder, folder / "exams", output):
        path.mkdir()
    rows = []
    for number, said in enumerate((f"把钱打到{card}，他不还。", "手机13812345678，他不还。")):
        fields = {
            "query": said + "甲乙"[number] * 30 + "我应该怎么办？",
            "response": f"可以向法院起诉，保留证据。情形{number}。" * 3,
        }
        row = {"id": f"q{number}", "kind": "consultation", "source": "s", "licence": "MIT", "locator": "q", "format": "json"}
        rows.append(row | {"fields": fields})
    (folder / "items.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    for name in ("set_aside.jsonl", "exam_questions.jsonl"):
        (folder / name).write_text("", "utf-8")
    report = clean.run(clean.Params(items=folder, output=output, as_of=datetime.date(2026, 11, 1)))
    assert report.records == {"in": 2, "used": 1, "reference": 0, "set_aside": {"personal_data": 1}, "derived": 0}
    assert report.hits["personal_data"] == 1 and report.personal_data == {"手机号": 1}
    assert [record.provenance["id"] for record in read_records(output / "records.jsonl")] == ["q1"]
    aside = json.loads((output / "set_aside.jsonl").read_text("utf-8"))
    assert (aside["id"], aside["reason"], aside["detail"]) == ("q0", "personal_data", "left after masking: bank card")
    assert aside["excerpt"] == ""


LAW = "第一章 总则\n第一条　为了规范{0}的管理，制定本法。\n第二条　本法自{1}年3月1日起施行。\n"


def laws_of(tmp_path, files):
    """(laws, {file: (fate, detail)}) of files of a statute source."""
    source = {"kind": "statute", "source": "s", "licence": "own", "format": "txt"}
    rows = [{"id": f"i{n}", "locator": name, "text": text} | source for n, (name, text) in enumerate(files.items())]
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    items = Items(tmp_path)
    laws = lawpages.read_laws(items)
    return laws, {items.read(work)["locator"]: (work.fate, work.detail) for work in items.works}


def test_laws_without_a_title_are_named_after_their_files_and_stay_apart(tmp_path):
    files = {"停车场法.txt": LAW.format("停车场", 2025), "公园法.txt": LAW.format("公园", 2025)}
    files |= {"a/law.txt": LAW.format("灯会", 2024), "b/law.txt": LAW.format("庙会", 2025), "law.txt": LAW.format("集市", 2023)}
    laws, fates = laws_of(tmp_path, files)
    assert sorted(law.name for law in laws) == sorted(["停车场法", "公园法", "a·law", "b·law", "law"])
    assert {fate for fate, _ in fates.values()} == {"reference"}


def test_a_statute_without_articles_is_set_aside_with_what_it_holds(tmp_path):
    files = {
        "灯会条例.txt": "灯会条例\n" + "为了规范灯会，依照本条例第三条的规定，制定本条例。灯会应当备案。\n" * 9,
        "目录.txt": "灯会条例\n目录\n第一条　目的\n第二条　定义\n第三条　施行\n",
        "灯会解答.txt": "关于灯会若干问题的解答\n2024年5月1日\n一、问：灯会要备案吗？\n答：要备案，向主管部门提出，"
        "并附举办的时间、地点和规模。\n二、问：何时备案？\n答：三日以前。\n",
    }
    laws, fates = laws_of(tmp_path, files)
    assert [(law.name, law.articles) for law in laws] == [("关于灯会若干问题的解答", {})] and "三日以前" in laws[0].whole
    assert fates["灯会解答.txt"] == ("reference", "")
    assert fates["灯会条例.txt"][0] == "no_articles" and "9 times inside sentences" in fates["灯会条例.txt"][1]
    assert fates["目录.txt"][0] == "no_articles" and "table of contents" in fates["目录.txt"][1]


def test_two_laws_of_one_file_have_their_own_articles_and_ids(tmp_path):
    text = "灯会条例\n" + LAW.format("灯会", 2024) + "\n集市办法\n" + LAW.format("集市", 2025)
    laws, _ = laws_of(tmp_path, {"x.txt": text})
    assert [(law.name, law.part, law.effective) for law in laws] == [("灯会条例", 0, "2024-03-01"), ("集市办法", 1, "2025-03-01")]
    items = Items(tmp_path)
    for work in items.works:
        work.fate = "reference"
    made = list(clean.article_records(statutes.Store(laws), items, datetime.date(2026, 1, 1), 100))
    assert len({record.provenance["id"] for record in made}) == len(made) == 4


OLD = "放灯办法\n2001年5月1日公布\n第一条　为了规范放灯，制定本办法。\n第二条　放灯须经许可。\n"
OLD += "第三条　本办法自2001年6月1日起施行。\n"
NEW = "灯会条例\n2019年5月1日通过\n第一条　为了规范灯会，制定本条例。\n第二条　举办灯会的，应当在三日以前向公安机关备案。\n"
NEW += "第三条　本条例自2020年1月1日起施行，《放灯办法》同时废止。\n"
CASE = "云州市人民法院\n民事判决书\n原告与被告因放灯发生纠纷，原告请求被告赔偿损失三千元，被告辩称已经取得许可，不同意赔偿。\n"
CASE += "本院认为，根据《放灯办法》第二条，放灯须经许可，被告未经许可放灯造成损失，应当承担赔偿责任，判决赔偿三千元。\n{}\n"
ASKS = [
    ("放灯要许可吗？", "根据《放灯办法》第二条，放灯应当经过许可，未经许可不得放灯，违者应当承担法律责任。"),
    ("灯会要备案吗？", "根据《灯会条例》第二十条，举办灯会应当备案，未备案的应当承担相应的法律责任。"),
    ("灯会何时备案？", "《灯会条例》第二条规定：“举办灯会的，应当在三十日以后向人民法院起诉。”因此要尽早备案，以免承担责任。"),
    ("灯会怎么备案？", "根据第X条的规定，举办灯会应当备案，未备案的应当承担相应的法律责任，张三丰的电话13812345678。"),
]


@pytest.fixture(scope="module")
def cleaned(tmp_path_factory):
    """(records by their parent, rows set aside by id) of statutes, two judgments and some questions."""
    home = tmp_path_factory.mktemp("cleaned")
    folder, output = home / "items", home / "out"
    for path in (folder, folder / "exams", output):
        path.mkdir()
    rows = [("statute", "old", {"text": OLD}), ("statute", "new", {"text": NEW})]
    rows += [
        ("case", "then", {"text": CASE.format("二〇一五年五月六日")}),
        ("case", "now", {"text": CASE.format("二〇二一年五月六日")}),
    ]
    rows += [("consultation", f"q{n}", {"fields": {"query": q * 3, "response": a}}) for n, (q, a) in enumerate(ASKS)]
    frame = {"source": "s", "licence": "MIT", "format": "txt"}
    lines = [{"id": name, "kind": kind, "locator": f"{name}.txt"} | frame | content for kind, name, content in rows]
    (folder / "items.jsonl").write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), "utf-8")
    for name in ("set_aside.jsonl", "exam_questions.jsonl"):
        (folder / name).write_text("", "utf-8")
    clean.run(clean.Params(items=folder, output=output, as_of=datetime.date(2026, 11, 1), remember=False))
    aside = [json.loads(line) for line in (output / "set_aside.jsonl").read_text("utf-8").split("\n") if line]
    return {record.provenance["parent"]: record for record in read_records(output / "records.jsonl")}, {r["id"]: r for r in aside}


def test_a_judgment_is_held_to_the_law_of_its_own_day_and_its_record_says_so(cleaned):
    records, aside = cleaned
    assert records["then"].provenance["law_day"] == "2015-05-06" and "2015年5月6日有效的法律" in records["then"].instruction
    assert (aside["now"]["reason"], "since 2020-01-01; now 灯会条例" in aside["now"]["detail"]) == ("repealed_law", True)


@pytest.mark.parametrize(
    ("name", "reason", "words"),
    [
        ("q0", "repealed_law", ["《放灯办法》第二条", "since 2020-01-01", "灯会条例"]),
        ("q1", "unknown_article", ["《灯会条例》第二十条", "the law has 3 articles"]),
        ("q2", "misquoted", ["《灯会条例》第二条", "应当在三日以前向公安机关备案"]),
        ("q3", "placeholder", ["第X条"]),
    ],
)
def test_a_reason_carries_its_evidence(cleaned, name, reason, words):
    row = cleaned[1][name]
    assert row["reason"] == reason and all(word in row["detail"] for word in words)
    assert "13812345678" not in row["detail"]


def test_the_evidence_of_a_text_rule_is_its_place():
    record = Record("问" * 9, "", "首先应当搜集证据，" + "然后向人民法院起诉，" * 20 + "并且按照有关的规定", "s", "consultation")
    shown = {rule: evidence.of_text(rule, record) for rule in ("truncated", "too_short", "too_long", "off_domain", "misquoted")}
    assert (
        shown["truncated"].endswith("并且按照有关的规定") and shown["too_short"] == "218 characters" and shown["misquoted"] == ""
    )
    assert "问问" in shown["off_domain"] and shown["too_long"] == "229 characters"
    record.output = "应当依法处理此事。" * 9
    assert evidence.of_text("repeated", record) == "“应当依法处理此事” stands 9 times"


def test_a_law_in_a_mapping_or_one_article_a_row(tmp_path):
    rows = [{"title": "灯会条例", "content": "第一条　为了规范灯会。\n第二条　本条例自2024年3月1日起施行。"}]
    rows += [{"法律名称": "集市办法", "条号": f"第{n}条", "内容": "集市应当备案。"} for n in "一二三"] + [{"备注": "无"}]
    frame = {"kind": "statute", "source": "s", "licence": "own", "format": "json"}
    lines = [{"id": f"i{n}", "locator": f"a.json#[{n}]", "fields": row} | frame for n, row in enumerate(rows)]
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), "utf-8")
    items = Items(tmp_path)
    laws = lawpages.read_laws(items)
    assert [(law.name, list(law.articles)) for law in laws] == [("灯会条例", ["1", "2"]), ("集市办法", ["1", "2", "3"])]
    assert [work.fate for work in items.works] == ["reference"] * 4 + [""]


@pytest.mark.parametrize(
    "fields",
    [
        {"law": "集市办法", "articles": ["第一条 集市应当备案。", "第二条 集市应当整洁。"]},
        {
            "title": "集市办法",
            "articles": [{"number": "第一条", "text": "集市应当备案。"}, {"number": 2, "text": "集市应当整洁。"}],
        },
        {
            "title": "集市办法",
            "articles": [{"article": 1, "条文内容": "集市应当备案。"}, {"article": 2, "content": "集市应当整洁。"}],
        },
    ],
)
def test_a_law_in_a_mapping_may_be_a_list_of_articles(fields):
    [part] = lawtext.read(lawpages.text_of(fields))
    assert part.title == "集市办法" and list(part.articles.values()) == ["集市应当备案。", "集市应当整洁。"]


def test_the_title_before_a_page_names_its_law(tmp_path):
    page = f"---\ntitle: '河灯条例'\ndate: 2024-01-01\n---\n\n{NEW.partition(chr(10))[2]}"
    line = {"id": "i", "kind": "statute", "source": "s", "licence": "own", "format": "md", "locator": "a.md", "text": page}
    (tmp_path / "items.jsonl").write_text(json.dumps(line) + "\n", "utf-8")
    assert [law.name for law in lawpages.read_laws(Items(tmp_path))] == ["河灯条例"]


@pytest.mark.parametrize("kind", ["case", "contract", "document"])
def test_a_row_may_hold_a_document_and_nothing_else(kind):
    text = CASE.format("二〇二一年五月六日")

    def made(**row):
        item = {"id": "i", "kind": kind, "source": "s", "locator": "a.jsonl#line 1", "fields": row}
        work = Work("i", kind, "s", len(text))
        return clean.make_records(work, item), work.fate

    for row in ({"text": text}, {"title": "放灯案", "正文": text, "date": "2021年"}):
        records, _ = made(**row)
        assert len(records) == 1 and "应当承担赔偿责任" in records[0].output and records[0].category == kind
    assert made(text=text, question="放灯要许可吗？") == ([], "no_answer")
    assert made(text=text, remark=text) == ([], "unknown_field")


def test_an_article_with_broken_bytes_is_not_taught(tmp_path):
    text = NEW.replace("备案", "备\ufffd")
    line = {"id": "i", "kind": "statute", "source": "s", "licence": "own", "format": "txt", "locator": "a.txt", "text": text}
    (tmp_path / "items.jsonl").write_text(json.dumps(line) + "\n", "utf-8")
    items = Items(tmp_path)
    store = statutes.Store(lawpages.read_laws(items))
    taught = list(clean.article_records(store, items, datetime.date(2026, 11, 1), 9))
    assert [record.instruction[-10:] for record in taught] == ["第一条是怎样规定的？", "第三条是怎样规定的？"]
