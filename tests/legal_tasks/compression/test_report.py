"""The compression table's numbers, worked by hand."""

import json

import pytest

from legal_tasks.compression.report import HEADINGS, Line, cache_bytes, cells, compare, show_bytes, write_table


def line(**values):
    return Line(
        **(
            {
                "name": "GGUF",
                "format": "gguf",
                "path": "m.gguf",
                "size_bytes": 2048,
                "memory_bytes": 3 << 20,
                "load_s": 0.5,
                "perplexity": 4.0,
            }
            | values
        )
    )


def rows(text):
    return [{"id": f"e{number}", "correct": int(mark)} for number, mark in enumerate(text)]


def test_the_loss_is_relative_to_the_merged_model_and_paired():
    found = line()
    compare(found, rows("11110"), rows("10111"))
    assert (found.n, found.accuracy, found.loss, found.worse, found.better) == (5, 0.8, 0.0, 1, 1)
    compare(found, rows("11110"), rows("11000"))
    assert (found.accuracy, found.loss, found.worse, found.better) == (0.4, 0.5, 2, 0)
    compare(found, rows("10000"), rows("11000"))
    assert found.loss == -1.0  # twice as many right


def test_a_loss_without_a_right_answer_or_without_items_is_not_measured():
    found = line()
    compare(found, rows("00"), rows("01"))
    assert found.loss is None
    compare(found, [], [])
    assert found.loss is None and found.accuracy is None
    assert cells(found) == ["GGUF", "2.0 KiB", "3.0 MiB", "未测量", "0.50 s", "4.000", "未测量", "未测量"]


def test_other_items_are_no_comparison():
    with pytest.raises(ValueError, match="other items"):
        compare(line(), rows("11"), rows("1"))


def test_the_cache_is_counted_for_one_full_context():
    config = {
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "hidden_size": 64,
        "num_hidden_layers": 3,
        "max_position_embeddings": 10,
    }
    assert cache_bytes(config) == 2 * 3 * 2 * 8 * 10 * 2  # key and value, layers, heads, head size, context, bytes


def test_sizes_are_shown_in_units():
    assert [show_bytes(number) for number in (5, 1536, 5 << 20, 3 << 30)] == ["5 B", "1.5 KiB", "5.0 MiB", "3.00 GiB"]


def test_the_table_has_the_specifications_headings(tmp_path):
    found = line()
    compare(found, rows("11"), rows("10"))
    write_table(tmp_path, [line(name="合并模型", format="merged", path=None), found])
    content = json.loads((tmp_path / "table.json").read_text("utf-8"))
    assert tuple(content["headings"][:4]) == ("模型", "大小", "显存需求", "效果损失") == HEADINGS[:4]
    assert content["rows"][1]["loss"] == 0.5 and content["rows"][1]["cells"][3] == "+50.00 %"
    lines = (tmp_path / "table.md").read_text("utf-8").splitlines()
    assert lines[0].startswith("| 模型 | 大小 | 显存需求 | 效果损失 |") and lines[2].startswith("| 合并模型 |")
