"""The store: content digests, verification, no half-made artifacts."""

import pytest

from legal_tasks.artifacts import ArtifactError, Store, digest_path, verify


def test_digest_follows_content_not_place(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "sub" / "x.txt").write_text("法律")
    assert digest_path(tmp_path / "a") == digest_path(tmp_path / "b")
    (tmp_path / "b" / "sub" / "x.txt").write_text("法 律")
    assert digest_path(tmp_path / "a") != digest_path(tmp_path / "b")


def make(folder):
    (folder / "x.txt").write_text("one")
    return {"lines": 1}


def test_a_sub_result_is_made_once(tmp_path):
    store, calls = Store(tmp_path), []

    def run(folder):
        calls.append(folder)
        return make(folder)

    first = store.get_or_make("part", {"n": 1}, {}, run)
    second = store.get_or_make("part", {"n": 1}, {}, run)
    assert len(calls) == 1 and second.reused and first.digest == second.digest and second.report == {"lines": 1}
    assert not store.get_or_make("part", {"n": 2}, {}, run).reused


def test_an_artifact_is_found_by_the_digest_of_its_content(tmp_path):
    artifact = Store(tmp_path).get_or_make("part", {}, {}, make)
    assert Store(tmp_path).with_digest("part", artifact.digest) == artifact.path
    assert Store(tmp_path).with_digest("part", "0" * 64) is None
    assert Store(tmp_path).with_digest("other", artifact.digest) is None


def test_verify_finds_changed_missing_and_added_files(tmp_path):
    artifact = Store(tmp_path).get_or_make("part", {}, {}, make)
    verify(artifact.path)
    (artifact.path / "y.txt").write_text("")
    with pytest.raises(ArtifactError, match="y.txt is not in the manifest"):
        verify(artifact.path)
    (artifact.path / "y.txt").unlink()
    (artifact.path / "x.txt").write_text("two")
    with pytest.raises(ArtifactError, match="x.txt was changed"):
        verify(artifact.path)
    (artifact.path / "x.txt").unlink()
    with pytest.raises(ArtifactError, match="x.txt is missing"):
        verify(artifact.path)


def test_a_failed_attempt_leaves_nothing_that_looks_finished(tmp_path):
    def fail(folder):
        make(folder)
        raise RuntimeError("planted")

    store = Store(tmp_path)
    with pytest.raises(RuntimeError):
        store.get_or_make("part", {}, {}, fail)
    assert not store.get_or_make("part", {}, {}, make).reused


def test_links_are_refused(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "link").symlink_to("/etc/hostname")
    with pytest.raises(ArtifactError, match="is a link"):
        digest_path(tmp_path / "d")
