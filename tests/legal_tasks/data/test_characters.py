"""No character ends a month: whatever a file holds, every item comes out, read or set aside with a reason."""

import ast
import datetime
import io
import json
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from legal_tasks.data import clean, collect, dialogs, encodings, fields, formats, readers, sources
from legal_tasks.records import Record, read_records, to_line, write_records
from legal_tasks.step import build_params

LINE_ENDS = "\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e"
QUICK = settings(max_examples=150, deadline=None, database=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
ANY = some.text(some.characters(), max_size=60)  # surrogates too
ODD = some.text(
    some.sampled_from('\ud83d\ude00\0\ufeff\u2028\x85\r\n\t",;:{}[]<>&\\《第一条甲\u200b\ufffd\U0001f600'), max_size=30
)
TEXT = some.one_of(ANY, ODD)


def test_no_json_lines_are_split_at_other_line_ends(repository):
    found = []
    for top in ("legal_tasks", "plugins", "dags", "benchmarks", "tests"):
        for path in sorted((repository / top).rglob("*.py")):
            source = path.read_text("utf-8")
            if "splitlines" in source:
                found += [f"{path.relative_to(repository)}:{line}" for line in splitting(source)]
    assert not found


def splitting(source: str) -> list[int]:
    """The lines of the statements that use JSON and str.splitlines, which ends a line at U+2028 and at seven others."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.stmt) or isinstance(
            node, ast.FunctionDef | ast.ClassDef | ast.With | ast.If | ast.Try | ast.While
        ):
            continue
        part = node.iter if isinstance(node, ast.For) else node
        if any(isinstance(one, ast.Attribute) and one.attr == "splitlines" for one in ast.walk(part)):
            text = ast.get_source_segment(source, node) or ""
            if "json" in text.lower() and "__doc__" not in text:
                lines.append(node.lineno)
    return lines


def test_the_search_finds_what_it_is_for():
    assert splitting("rows = [json.loads(line) for line in text.splitlines()]\n") == [1]
    assert splitting("for line in path.read_text().splitlines():\n    rows.append(json.loads(line))\n") == [1]
    assert splitting("last = said.splitlines()[-1]\n") == []


def test_records_survive_every_line_end(tmp_path):
    record = Record(f"问{LINE_ENDS}题", "", f"答{LINE_ENDS}案", "s", "consultation")
    write_records(tmp_path / "r.jsonl", [record, record])
    assert list(read_records(tmp_path / "r.jsonl")) == [record, record]


@pytest.mark.parametrize("char", [*LINE_ENDS, "\0", "\ufeff", "\u200b", "\u202e", "\ufffe", "\U000e0001"])
@pytest.mark.parametrize("form", ["jsonl", "json", "csv", "txt"])
def test_a_character_costs_no_other_item(char, form):
    asked, answered = f"甲{char}方未付款怎么办？", "可以起诉。"
    text = {
        "jsonl": "".join(json.dumps({"question": asked, "answer": answered}, ensure_ascii=False) + "\n" for _ in range(3)),
        "json": json.dumps([{"question": asked, "answer": answered}] * 3, ensure_ascii=False),
        "csv": "question,answer\n" + f"{asked},{answered}\n" * 3,
        "txt": f"客户：{asked}\n律师：{answered}\n",
    }[form]
    decoded, _ = encodings.decode(text.encode())
    found = list(readers.pieces(decoded, readers.sniff(decoded)))
    assert len(found) == (1 if form == "txt" else 3) and not any(piece.broken for piece in found)


def test_a_raw_zero_byte_costs_its_own_line(tmp_path):
    line = json.dumps({"question": "甲方未付款怎么办？", "answer": "可以起诉。" * 20}, ensure_ascii=False)
    text = f"{line}\n{line.replace('甲方', '甲' + chr(0) + '方')}\n{line}\n"
    [first, second, third] = readers.pieces(encodings.decode(text.encode())[0], "jsonl")
    assert first.fields and third.fields and second.broken and second.reason == "broken"


def test_a_law_with_a_zero_byte_is_read():
    law = "第一条　为了管理公园，制定本办法。\n第二条　本办法自公布\0之日起施行。\n" * 3
    assert encodings.decode(law.encode())[0] == law and "\0" not in formats.clean_text(law)
    assert encodings.decode(law.encode("gb18030"))[0] == law


@QUICK
@given(TEXT)
def test_any_text_is_cleaned_once_for_all(text):
    once = formats.clean_text(text)
    assert not set(once) & set("\0\ufeff\u200b\u2028\u2029\x85\x0b\x0c\r\u202e")
    formats.from_dialog(text, {"source": "s", "kind": "consultation"})
    formats.from_case(text, {"source": "s", "kind": "case"})


@QUICK
@given(some.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data):
    source = sources.Source("s", "consultation", "MIT", None, (), False)
    _, found = collect.read_data(source, "x", "x", data)
    pieces = list(found)
    assert pieces and all(
        (piece.text is not None) + (piece.fields is not None) + (piece.broken is not None) == 1 for piece in pieces
    )


@QUICK
@given(TEXT, some.sampled_from(["x.txt", "x.csv", "x.md", "x.html", "x.json"]))
def test_any_text_gives_items(text, name):
    data = text.encode("utf-8", "surrogatepass")
    source = sources.Source("s", "consultation", "MIT", None, (), False)
    _, found = collect.read_data(source, name, name, data)
    pieces = list(found)
    assert pieces
    for piece in pieces:
        collect._digest("consultation", piece)
        json.dumps([piece.text, piece.fields, piece.broken], ensure_ascii=False).encode()


JSON_VALUES = some.recursive(
    some.one_of(some.none(), some.booleans(), some.integers(), some.floats(), TEXT),
    lambda inner: some.one_of(some.lists(inner, max_size=3), some.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=8,
)
NAMES = some.sampled_from(
    ["question", "answer", "instruction", "input", "output", "history", "messages", "options", "system", "问题", "x"]
)


@QUICK
@given(some.lists(some.dictionaries(NAMES, JSON_VALUES, max_size=4), min_size=1, max_size=4), some.booleans())
def test_any_rows_are_all_accounted_for(rows, is_list):
    """As many items as rows; each is a record that can be written, or says why it is none."""
    text = json.dumps(rows) if is_list else "".join(json.dumps(row) + "\n" for row in rows)
    form = "json" if is_list else "jsonl"
    found = list(readers.pieces(text, form))
    assert len(found) == len(rows)
    for piece in found:
        if piece.fields is None:
            assert piece.broken and piece.reason
            continue
        try:
            record = fields.from_fields({"fields": piece.fields, "source": "s", "kind": "instruction"})
        except dialogs.Unfit as unfit:
            assert unfit.reason and unfit.detail
        else:
            assert json.loads(to_line(record).encode())["output"] == record.output


def run(folder, **files: bytes) -> Counter:
    """What collect and clean make of consultations in these files: fate -> items."""
    (folder / "in").mkdir()
    for name, data in files.items():
        (folder / "in" / name.replace("_", ".")).write_bytes(data)
    listed = {"licences": ["MIT"], "sources": [{"kind": "consultation", "path": "in", "licence": "MIT"}]}
    (folder / "sources.yaml").write_text(json.dumps(listed), "utf-8")
    day = datetime.date(2026, 11, 1)
    values = {"sources": str(folder / "sources.yaml"), "as_of": day}
    for module, name in ((collect, "items"), (clean, "cleaned")):
        (folder / name).mkdir()
        params = build_params(
            module, module.__name__, values, None, [f"{module.__name__.removeprefix('legal_tasks.')}.as_of={day}"]
        )
        from dataclasses import replace

        module.run(replace(params, output=folder / name))
        values = {"items": folder / "items", "as_of": day, "remember": False}
    counts = json.loads((folder / "cleaned" / "accounts.json").read_text("utf-8"))
    assert counts["in"] == counts["used"] + counts["reference"] + sum(counts["set_aside"].values())
    return Counter(counts["set_aside"]) + Counter(used=counts["used"])


def test_a_month_with_all_of_them_ends_well_and_every_item_is_counted(tmp_path):
    good = '{"question": "房东不退押金怎么办？%s", "answer": "可以先发律师函，再向人民法院起诉请求返还押金。"}'
    lines = [
        good % "甲",
        good % "\\ud83d",
        good % "\u2028乙楼的房子",
        good % "\\u0000丙栋的房子啊",
        "[1, 2",
        good % "\\ud83d\\ude00丁号的房间呢",
    ]
    table = "question,answer\n\u2028住在戊处\x85的人能否解除合同？,可以与出租人协商解除合同；协商不成的，可以起诉。\n"
    fates = run(
        tmp_path,
        a_jsonl="\n".join(lines).encode(),
        b_csv=table.encode(),
        c_txt=b"\xff\xfe\x00\xd8",
        d_html="<p>\ud83d".encode("utf-8", "surrogatepass"),
    )
    assert fates.total() == 9 and fates["used"] >= 4 and fates["ambiguous"] == 1 and fates["broken"] == 1


def test_a_table_with_every_kind_of_value_is_read():
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    import decimal

    far = pyarrow.array([10**15, None, 1], pyarrow.timestamp("s"))
    columns = {
        "question": pyarrow.array(["甲", "乙", "丙"]),
        "far": far,
        "ns": pyarrow.array([1, 2, None], pyarrow.timestamp("ns")),
        "zone": pyarrow.array([1, 2, None], pyarrow.timestamp("us", "Asia/Shanghai")),
        "day": pyarrow.array([datetime.date(2026, 1, 2)] * 3),
        "span": pyarrow.array([datetime.timedelta(days=1)] * 3),
        "fee": pyarrow.array([decimal.Decimal("1.50")] * 3),
        "big": pyarrow.array([decimal.Decimal(10) ** 50] * 3, pyarrow.decimal256(60, 2)),
        "raw": pyarrow.array([b"\xff\xfe", "文".encode(), None]),
        "nan": pyarrow.array([float("nan"), float("inf"), 1.5]),
        "turns": pyarrow.array([[{"role": "user", "content": "问"}]] * 3),
        "map": pyarrow.array([[("a", 1)]] * 3, pyarrow.map_(pyarrow.string(), pyarrow.int32())),
        "kind": pyarrow.array(["x", "y", "x"]).dictionary_encode(),
        "none": pyarrow.nulls(3),
    }
    out = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), out)
    found = list(readers.binary_pieces(out.getvalue(), "parquet"))
    assert [piece.fields["question"] for piece in found] == ["甲", "乙", "丙"]
    row = found[0].fields
    assert row["fee"] == "1.50" and row["nan"] is None and row["raw"] == "2 bytes" and row["day"] == "2026-01-02"
    assert found[1].fields["far"] is None and found[1].fields["raw"] == "文" and "out of range" in row["far"]
    json.dumps([piece.fields for piece in found], allow_nan=False)


def test_a_broken_text_in_a_table_costs_its_own_row():
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    raw = pyarrow.array(["房东不退押金".encode(), "房东".encode() + b"\xff" + "不退押金".encode(), "丙".encode()])
    out = io.BytesIO()
    parquet.write_table(pyarrow.table({"question": raw.view(pyarrow.string()), "answer": ["甲", "乙", "丙"]}), out)
    found = list(readers.binary_pieces(out.getvalue(), "parquet"))
    assert [piece.fields["answer"] for piece in found] == ["甲", "乙", "丙"]
    assert found[0].fields["question"] == "房东不退押金" and "\ufffd" in found[1].fields["question"]
