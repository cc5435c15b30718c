"""What is needed stays, what is old goes, merged weights first; a dry run says the same and touches nothing."""

import json
import os
import subprocess
import sys
import time

import pytest

from legal_tasks import artifacts, gc
from legal_tasks.lease import Lease
from legal_tasks.serving.state import Database
from legal_tasks.step import StepError

DAY = 86400.0


class Seat:
    """A var folder with a store; artifacts of 100 bytes beside their manifest and report, made so many days ago."""

    def __init__(self, folder):
        self.var, self.store = folder, artifacts.Store(folder / "store")
        self.now = time.time()

    def make(self, step, name, days, parents=(), size=100):
        key = artifacts.sha256_text(f"{step} {name}")
        output = self.store.root / ".work" / step / f"{key[:16]}.output"
        output.mkdir(parents=True)
        (output / "data.bin").write_bytes(f"{step} {name}".encode().ljust(size))
        inputs = {f"input{number}": parent.digest for number, parent in enumerate(parents)}
        made = self.store.finish(step, key, output, {}, describe={"inputs": inputs})
        self.age(made.path, days)
        return made

    def age(self, path, days):
        for each in [path / "manifest.json", path]:
            os.utime(each, (self.now - days * DAY, self.now - days * DAY))

    def model(self, name, days):
        """A whole chain, from data to what serves."""
        split = self.make("data.split", name, days)
        lora = self.make("training.lora", name, days, [split])
        merge = self.make("training.merge", name, days, [lora])
        compress = self.make("compression.compress", name, days, [merge, split])
        gate = self.make("evaluation.gate", name, days, [compress])
        return {"split": split, "lora": lora, "merge": merge, "compress": compress, "gate": gate}

    def release(self, chain):
        model = {"digest": chain["compress"].digest, "path": str(chain["compress"].path), "decision": str(chain["gate"].path)}
        database = Database(self.var / "release.sqlite")
        state = database.intend(model, "test")
        database.record("released", "releaser", state.revision, actual=model)

    def left(self):
        return {path.parent.name for path in self.store.root.glob("*/*/manifest.json") if path.parts[-3][0] != "."}


@pytest.fixture
def seat(tmp_path, monkeypatch):
    monkeypatch.setenv("LEXLOOP_VAR", str(tmp_path))
    monkeypatch.setenv("LEXLOOP_STORE", str(tmp_path / "store"))
    Database.create()
    return Seat(tmp_path)


def names(chain, *parts):
    return {chain[part].path.name for part in parts or chain}


def test_the_champion_and_the_one_before_stay_with_their_lineage_however_old_but_for_merged_weights(seat):
    first, second = seat.model("first", 900), seat.model("second", 800)
    stranger, newest = seat.model("stranger", 700), seat.model("newest", 500)
    seat.release(first)
    seat.release(second)
    result = gc.collect_store(gc.Policy(ledger_months=0), dry_run=False)
    kept = ("split", "lora", "compress", "gate")
    # The newest candidate is kept with its lineage; its own gate, which nothing points at, is not.
    assert seat.left() == names(first, *kept) | names(second, *kept) | names(newest, "split", "lora", "compress")
    assert result["removed"] == len(stranger) + 3 + 1


def test_a_model_of_the_ledgers_months_stays_and_an_older_one_goes(seat):
    chains = {}
    for days, name in enumerate("dcba", 400):
        chains[name] = seat.model(name, days)
    for name in "abcd":
        seat.release(chains[name])
    everything = seat.left()
    gc.collect_store(gc.Policy(ledger_months=12, merged_days=1e6), dry_run=False)
    assert seat.left() == everything
    # 13 months later the ledger no longer names a and b; d serves, c served before.
    gc.collect_store(gc.Policy(ledger_months=12, merged_days=1e6), dry_run=False, now=seat.now + 400 * DAY)
    assert seat.left() == names(chains["c"]) | names(chains["d"])


def test_what_was_used_lately_stays_by_its_manifest_and_by_the_notes_of_runs(seat):
    reused, noted = seat.make("data.clean", "reused", 300), seat.make("data.clean", "noted", 300)
    candidates = seat.make("data.clean", "candidate", 300)
    old = seat.make("data.clean", "old", 300)
    manifest = artifacts.read_manifest(reused.path)
    assert seat.store.make("data.clean", manifest["key"], lambda folder: {}, describe={}).reused
    note = seat.var / "runs" / "r1" / "clean.json"
    note.parent.mkdir(parents=True)
    note.write_text(json.dumps({"artifact": str(noted.path)}))
    (note.parent / "0").mkdir()
    (note.parent / "0" / "train.json").write_text(json.dumps({"artifact": str(candidates.path)}))
    gc.collect_store(gc.Policy(), dry_run=False)
    assert seat.left() == {reused.path.name, noted.path.name, candidates.path.name}
    assert old.path.name not in seat.left()


def test_what_a_lease_or_a_live_process_names_stays(seat):
    held, named = seat.make("data.clean", "held", 300), seat.make("data.clean", "named", 300)
    process = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()", str(named.path)], stdin=subprocess.PIPE)
    try:
        with Lease(seat.store.root / ".leases" / f"data.clean-{held.path.name}.json", {"step": "data.clean"}):
            result = gc.collect_store(gc.Policy(), dry_run=False)
            assert result["removed"] == 0 and set(result["stay_bytes"]) == {"a lease holds it", "a process names it"}
    finally:
        process.communicate()
    assert gc.collect_store(gc.Policy(), dry_run=False)["removed"] == 2


def test_above_the_bound_the_longest_unused_goes_and_no_more_than_needed(seat):
    sizes = {name: seat.make("data.clean", name, days, size=10000) for name, days in (("a", 50), ("b", 40), ("c", 30), ("d", 1))}
    merged = seat.make("training.merge", "m", 5, size=10000)
    total = sum(each.bytes for each in gc.scan(seat.store))
    # Room for three: merged weights first although they are young, then the longest unused.
    gc.collect_store(gc.Policy(keep_bytes=total - 15000), dry_run=False)
    assert seat.left() == names(sizes, "b", "c", "d") and merged.path.name not in seat.left()
    # What was used within the grace hours stays even where the bound cannot be held.
    gc.collect_store(gc.Policy(keep_bytes=0), dry_run=False)
    assert seat.left() == names(sizes, "d")


def test_a_dry_run_says_the_same_bytes_and_touches_nothing(seat, capsys):
    seat.make("data.clean", "old", 300, size=5000)
    before = seat.left()
    dry = gc.collect_store(gc.Policy(), dry_run=True)
    assert seat.left() == before and "would remove data.clean/" in capsys.readouterr().out
    assert dry["freed_bytes"] > 5000
    wet = gc.collect_store(gc.Policy(), dry_run=False)
    assert wet == dry and seat.left() == set()


def test_the_manifest_of_what_went_stays_as_lineage(seat):
    made = seat.make("data.clean", "old", 300)
    gc.collect_store(gc.Policy(), dry_run=False)
    kept = json.loads((seat.store.root / ".removed" / "data.clean" / f"{made.path.name}.json").read_text())
    assert kept["digest"] == made.digest
    assert not list((seat.store.root / ".work").rglob("*.removed"))


def test_abandoned_checkpoints_go_and_young_ones_stay(seat):
    for name, days in (("old", 200), ("young", 2)):
        folder = seat.store.work("training.lora", name.ljust(16, "0"))
        folder.mkdir(parents=True)
        (folder / "checkpoint.bin").write_bytes(b"x" * 10)
        for path in (folder / "checkpoint.bin", folder):
            os.utime(path, (seat.now - days * DAY,) * 2)
    assert gc.collect_store(gc.Policy(), dry_run=False)["freed_bytes"] == 10
    assert [path.name for path in (seat.store.root / ".work" / "training.lora").iterdir()] == ["young".ljust(16, "0")]


def test_without_a_release_state_that_can_be_read_nothing_goes(seat, capsys):
    seat.release(seat.model("champion", 900))
    seat.make("data.clean", "stranger", 300)
    everything, state = seat.left(), seat.var / "release.sqlite"
    kept = state.read_bytes()
    for spoil in (state.unlink, lambda: state.write_bytes(b""), lambda: state.write_bytes(kept[:100])):
        spoil()
        for more in ([], ["--dry-run"]):
            assert gc.main(["--parts", "store,documents", "--ledger-months", "0", *more]) == 2
            said = capsys.readouterr()
            assert "nothing is removed from the store" in said.err and "release state" in said.err
            assert json.loads(said.out.strip().split("\n")[-1])["documents"]["removed"] == 0  # the other parts are done
        assert seat.left() == everything
    state.write_bytes(kept)
    assert gc.main(["--parts", "store", "--ledger-months", "0", "--merged-days", "1e6"]) == 0 and seat.left() < everything


def test_a_second_var_folder_of_the_store_keeps_what_the_first_has_in_production(seat, tmp_path, monkeypatch, capsys):
    champion = seat.model("champion", 900)
    seat.release(champion)
    seat.model("newest", 100)
    monkeypatch.setenv("LEXLOOP_VAR", str(tmp_path / "second"))
    assert gc.main(["--parts", "store"]) == 2  # it has no state of its own
    Database.create()
    everything = seat.left()
    assert gc.main(["--parts", "store", "--ledger-months", "0", "--merged-days", "1e6"]) == 0
    assert names(champion) <= seat.left() < everything
    (tmp_path / "release.sqlite").rename(tmp_path / "away.sqlite")
    assert gc.main(["--parts", "store"]) == 2
    assert "is forgotten by removing" in capsys.readouterr().err and names(champion) <= seat.left()


def test_bad_values_are_named(capsys):
    with pytest.raises(StepError, match="--older-than-days must be 0 or more, got -1"):
        gc.Policy(older_than_days=-1)
    assert gc.main(["--parts", "store,attic"]) == 2
    assert "--parts attic: allowed are store, documents, logs, airflow, mlflow" in capsys.readouterr().err


def test_what_is_remembered_of_documents_goes_by_age_and_size(seat, capsys):
    from legal_tasks.data.memory import Memory

    path = seat.store.root / ".documents" / "clean.sqlite"
    assert gc.main(["--parts", "documents"]) == 0 and not path.exists()
    for document in ("a", "b"):
        memory = Memory(path)
        memory.recall(document, "context", "text", lambda: "x" * 500)
        memory.close()
    dry = gc.collect_documents(gc.Policy(), dry_run=True, now=time.time() + 100 * DAY)
    assert dry["removed"] == 1 and 500 < dry["freed_bytes"] < dry["total_bytes"]
    assert gc.main(["--parts", "documents", "--grace-hours", "0", "--documents-gib", "0.0000001"]) == 0
    assert json.loads(capsys.readouterr().out.strip().split("\n")[-1])["documents"] == dry
