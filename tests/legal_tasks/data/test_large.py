"""A large file of JSON Lines gives the items that it gives when it is read as a whole."""

import json

import pytest

from legal_tasks.data import encodings, large, readers

FILL = "字" * 400_000


def write(path, lines, encoding="utf-8", end="\n"):
    """More than large.STREAMED bytes with a few lines in front."""
    rows = [json.dumps({"q": f"{n}", "a": FILL}, ensure_ascii=False) for n in range(large.STREAMED // 1_200_000 + 1)]
    path.write_bytes(end.join([*lines, *rows]).encode(encoding))
    return path


@pytest.mark.parametrize(("encoding", "end"), [("utf-8", "\n"), ("utf-8-sig", "\r\n")])
def test_the_items_are_those_of_the_whole_text(tmp_path, encoding, end):
    lines = ['{"q": "甲", "a": "答"}', "", '{"q": ', '{"q": 1, "q": 2}', '{"q": ""}', json.dumps({"q": "乙" * readers.LONGEST})]
    path = write(tmp_path / "a.txt", [*lines, '{"q": "' + "丙" * (2 * readers.LONGEST) + '"}', '{"q": "丁"}'], encoding, end)
    whole = list(readers.pieces(encodings.decode(path.read_bytes())[0], "jsonl"))
    assert list(large.line_pieces(path, None)) == list(large.line_pieces(path, "jsonl")) == whole
    assert {piece.reason for piece in whole if piece.broken} == {"broken", "ambiguous", "empty", "too_long"}


def test_what_is_no_json_lines_in_utf_8_is_left_to_be_read_as_a_whole(tmp_path):
    small = tmp_path / "small.jsonl"
    small.write_text('{"q": 1}\n{"q": 2}\n', "utf-8")
    assert large.line_pieces(small, "jsonl") is None
    assert large.line_pieces(write(tmp_path / "gb", ['{"q": "甲"}'], "gb18030"), None) is None
    assert large.line_pieces(write(tmp_path / "utf16", ['{"q": "甲"}'], "utf-16"), None) is None
    listed = tmp_path / "list.json"
    listed.write_text(json.dumps([{"q": FILL}] * 30, ensure_ascii=False, indent=1), "utf-8")
    assert large.line_pieces(listed, None) is None
    assert large.line_pieces(write(tmp_path / "lines", ['{"q": "甲"}']), "csv") is None
