"""What lies on disk is read back by its place."""

import pytest

from legal_tasks.data.spool import Lines, Spool, View


def test_texts_are_read_back_in_any_order_while_more_are_written(tmp_path):
    spool = Spool(tmp_path)
    assert [spool.append(text) for text in ("甲", "", "broken \ud800\n行")] == [0, 1, 2]
    assert (spool[2], spool[0]) == ("broken \ud800\n行", "甲")
    spool.append("丁")
    assert list(spool) == ["甲", "", "broken \ud800\n行", "丁"] and spool[1:3] == ["", "broken \ud800\n行"]
    with pytest.raises(IndexError):
        spool[4]
    spool.close()


def test_nothing_is_left_in_the_folder(tmp_path):
    spool = Spool(tmp_path)
    spool.append("甲" * 2_000_000)
    assert spool[0] and not list(tmp_path.iterdir())
    spool.close()


def test_lines_are_numbered_without_the_empty_ones(tmp_path):
    (tmp_path / "a.jsonl").write_text("甲\n\n乙\u2028丙\n丁", "utf-8")
    lines = Lines(tmp_path / "a.jsonl")
    assert (len(lines), lines[2], lines[0], lines[1]) == (3, "丁", "甲", "乙\u2028丙")
    lines.close()


def test_a_view_reads_when_asked():
    asked = []
    view = View(lambda place: asked.append(place) or f"text {place}", [7, 3, 5])
    assert len(view) == 3 and asked == []
    assert view[1] == "text 3" and view[:2] == ["text 7", "text 3"] and asked == [3, 7, 3]
