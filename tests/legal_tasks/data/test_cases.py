"""Small inputs with the right outcome: the command says of each whether it comes out so."""

import json
from pathlib import Path

import pytest

from legal_tasks.data import cases

# The file holds six articles on its two pages; the list says twelve.
HELD = {"statutes/law.pdf": "laws 白河市停车场管理办法: 6"}
QUESTION, ANSWER = "房屋漏水造成楼下损失，应当由谁赔偿？", "由过错方赔偿；可以先请物业公司记录漏水情况，再协商或者起诉。"


@pytest.fixture
def folder(tmp_path):
    """Two cases of a dialog, the second with a wrong expectation, and an answer."""
    (tmp_path / "one.json").write_text(json.dumps([{"question": QUESTION, "answer": ANSWER}]), "utf-8")
    (tmp_path / "two.json").write_text(json.dumps([{"question": QUESTION, "answer": ANSWER}]), "utf-8")
    (tmp_path / "cases.yaml").write_text(
        "- {path: one.json, kind: consultation, used: 1, contains: [物业公司], lacks: ['{'], once: [物业公司], aside: false}\n"
        "- {path: two.json, kind: consultation, used: 2, contains: [仲裁], aside: too_short}\n",
        "utf-8",
    )
    row = {"answer": "B", "options": {"A": "有效", "B": "无效"}, "letters": "B"}
    (tmp_path / "answers.jsonl").write_text(json.dumps(row) + "\n" + json.dumps(row | {"letters": ""}) + "\n", "utf-8")
    return tmp_path


def test_a_line_per_case_and_the_sum(folder, capsys):
    assert cases.command([str(folder)]) == 1
    lines = capsys.readouterr().out.split("\n")
    assert lines[0].startswith("answers.jsonl:1 PASS") and lines[1].startswith("answers.jsonl:2 FAIL read B")
    assert lines[2].startswith("one.json PASS used 1")
    assert lines[3].startswith("two.json FAIL used should be 2") and "仲裁" in lines[3] and "too_short" in lines[3]
    assert lines[4] == "2 passed, 2 failed"
    (folder / "cases.yaml").unlink()
    (folder / "answers.jsonl").write_text((folder / "answers.jsonl").read_text("utf-8").split("\n")[0], "utf-8")
    assert cases.command([str(folder)]) == 0


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("cases.yaml", "- {path: none.json, kind: case}", "there is no"),
        ("cases.yaml", "- {path: one.json, kind: novel}", "kind `novel`"),
        ("cases.yaml", "- {path: one.json, kind: case, used: many}", "`used`"),
        ("cases.yaml", "- {path: one.json, kind: case, wants: 1}", "unknown key wants"),
        ("cases.yaml", "path: one.json", "must be a list"),
        ("answers.jsonl", '{"answer": 1}', "`answer` must be a str"),
        ("citations.jsonl", '{"text": "《刑法》第一条", "citations": []}', "citation_laws.json"),
    ],
)
def test_another_layout_is_told(folder, capsys, name, text, said):
    (folder / name).write_text(text + "\n", "utf-8")
    assert cases.command([str(folder)]) == 2
    assert said in capsys.readouterr().err


def test_a_folder_without_cases_is_told(tmp_path, capsys):
    assert cases.command([str(tmp_path)]) == cases.command([str(tmp_path / "none")]) == 2
    assert "cases.yaml" in capsys.readouterr().err


def test_what_was_reported_comes_out_right(repository: Path):
    folder = repository.parent / "shared" / "cases"
    if not folder.is_dir():
        pytest.skip(f"the cases are not here: {folder}")
    failed = {path: said for path, good, said in cases.outcomes(folder) if not good}
    assert not {path: said for path, said in failed.items() if not said.endswith(HELD.get(path, "!"))}
