"""An archive's files are read one by one; what is unsafe stays in it, with a reason."""

import zipfile

import pytest

from legal_tasks.data import archives, collect, sources
from legal_tasks.step import StepError


def archive(path, **files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name, text in files.items():
            target.writestr(name, text)
    return path


def reasons(path):
    return {name: getattr(data, "reason", None) for name, data in archives.members(path)}


def test_good_files_come_out_and_others_say_why_not(tmp_path):
    path = archive(tmp_path / "a.zip", **{"法/一.txt": "第一条", "../out.txt": "x", "/etc/x": "x", "bomb.txt": "0" * (1 << 25)})
    assert reasons(path) == {"法/一.txt": None, "../out.txt": "unsafe_path", "/etc/x": "unsafe_path", "bomb.txt": "archive_bomb"}


def test_names_in_gb18030_are_read(tmp_path):
    path = archive(tmp_path / "a.zip", **{"xx.txt": "第一条"})
    path.write_bytes(path.read_bytes().replace(b"xx.txt", "法.txt".encode("gb18030")))
    assert list(reasons(path)) == ["法.txt"]


def test_a_broken_archive_is_refused(tmp_path):
    path = archive(tmp_path / "a.zip", a="甲" * 1000)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(archives.Refused) as caught:
        list(archives.members(path))
    assert caught.value.reason == "unreadable"


def test_collect_takes_an_archive_as_a_folder_and_a_broken_one_as_an_error(tmp_path):
    archive(tmp_path / "a.zip", **{"q.json": '[{"q": "问", "a": "答"}, {"q": "再问", "a": "答"}]', "../x.txt": "x"})
    source = sources.Source("s", "instruction", "MIT", None, ((tmp_path / "a.zip", "a.zip"),), True)
    found = [
        (item["locator"], piece.reason if piece.broken else "") for item, piece in collect.items_of(source, collect.Counter())
    ]
    assert found == [("a.zip/../x.txt", "unsafe_path"), ("a.zip/q.json#[0]", ""), ("a.zip/q.json#[1]", "")]
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(StepError, match="no whole ZIP"):
        list(collect.items_of(source, collect.Counter()))
