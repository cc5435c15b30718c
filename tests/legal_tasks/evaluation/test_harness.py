import csv
import dataclasses
import json
import shutil

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lm_eval")

from legal_tasks.artifacts import Store, sha256_file  # noqa: E402
from legal_tasks.evaluation import harness, models, rules  # noqa: E402
from legal_tasks.evaluation.items import read_lines, write_lines  # noqa: E402
from legal_tasks.serving.state import Database  # noqa: E402
from legal_tasks.step import StepError, main  # noqa: E402
from tests.legal_tasks.evaluation.exam import make_exams, make_item  # noqa: E402
from tests.legal_tasks.training.tiny import make_base  # noqa: E402


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Two tiny models and an exams folder."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("evaluation")
    make_base(root / "base")
    make_base(root / "new", seed=1)
    make_exams(root / "collect" / "exams")
    return root


@pytest.fixture
def seat(world, tmp_path, monkeypatch):
    """A store and a var folder of its own; nothing serves."""
    monkeypatch.setenv("LEXLOOP_VAR", str(tmp_path / "var"))
    monkeypatch.setenv("LEXLOOP_STORE", str(tmp_path / "store"))
    Database.create()
    return world


def evaluate(world, tmp_path, *more):
    arguments = [f"--challenger={world / 'new'}", f"--base={world / 'base'}", f"--items={world / 'collect'}", "--threads=1"]
    report = tmp_path / "report.json"
    code = main("legal_tasks.evaluation.harness", [*arguments, f"--report={report}", *more])
    return code, json.loads(report.read_text()) if report.is_file() else None


def test_every_item_of_every_suite_has_a_row_per_model(seat, tmp_path):
    code, result = evaluate(
        seat, tmp_path, "--rank-texts=legal_exam", "--new-tokens=8", "--free-answers=5", f"--champion={seat / 'base'}"
    )
    assert code == 0
    folder = tmp_path / "store" / "evaluation.harness"
    folder = next(folder.iterdir())
    for role in ("base", "champion", "challenger"):
        for suite, count in (("legal_exam", 24), ("bar", 12), ("refusal", 6), ("over_refusal", 6), ("answers", 5)):
            assert len(list(read_lines(folder / role / f"{suite}.jsonl"))) == count
    row = next(read_lines(folder / "challenger" / "bar.jsonl"))
    assert len(row["scores"]) == 15
    assert row["picked"] and set(row) >= {"id", "correct", "answer", "picked", "scores", "template", "category", "wording"}
    summary = json.loads((folder / "summary.json").read_text())
    file = seat / "collect" / "exams" / "legal_exam.jsonl"
    about = {"origin": "sources", "kind": "choice", "embedded": False, "file": "legal_exam.jsonl", "count": 24, "n": 24}
    assert summary["suites"]["legal_exam"] == about | {"digest": sha256_file(file)}
    assert summary["suites"]["answers"]["origin"] == "derived" and summary["suites"]["answers"]["file"] == "bar + legal_exam"
    assert summary["roles"]["base"]["legal_exam"]["by_wording"]["unseen"]["n"] == 16
    assert (folder / "base" / "legal_exam.jsonl").read_bytes() == (folder / "champion" / "legal_exam.jsonl").read_bytes()
    assert result["report"]["reused"] == ["champion"]


def test_a_models_rows_are_made_once_for_the_same_items(seat, tmp_path, monkeypatch):
    assert evaluate(seat, tmp_path, "--skip=refusal,over_refusal", "--free-answers=0")[0] == 0
    code, result = evaluate(seat, tmp_path, "--skip=refusal,over_refusal", "--free-answers=0", f"--champion={seat / 'base'}")
    assert code == 0
    assert not result["reused"]
    assert result["report"]["reused"] == ["base", "champion", "challenger"]


def test_limit_and_form_make_other_rows(seat):
    one, was_there = models.evaluate_cached(seat / "base", seat / "collect" / "exams", ("legal_exam",))
    two, _ = models.evaluate_cached(seat / "base", seat / "collect" / "exams", ("legal_exam",), how=models.How(limit=5))
    assert not was_there
    assert one != two
    assert len(list(read_lines(two / "legal_exam.jsonl"))) == 5


def test_an_exam_of_the_embedded_world_is_known_by_its_content(world, tmp_path):
    embedded = harness.write_world(tmp_path / "world", 0)
    items = list(read_lines(embedded / "legal_exam.jsonl"))
    assert harness.same_items(embedded / "legal_exam.jsonl", [item | {"id": f"x{n}"} for n, item in enumerate(items)])
    changed = items[0] | {"question": items[0]["question"] + "吗"}
    assert not harness.same_items(embedded / "legal_exam.jsonl", [changed, *items[1:]])
    assert not harness.same_items(embedded / "nothing.jsonl", items)


def test_standing_suites_complete_those_of_the_sources(world, tmp_path):
    shutil.copytree(world / "collect", tmp_path / "collect")
    (tmp_path / "collect" / "exams" / "over_refusal.jsonl").unlink()
    (tmp_path / "standing").mkdir()
    for name in ("general", "refusal", "over_refusal", "legal_exam"):
        kind = name if "refusal" in name else "choice"
        write_lines(tmp_path / "standing" / f"{name}.jsonl", [make_item(0, name, kind)])
    params = harness.Params(tmp_path, tmp_path / "collect", tmp_path, standing=str(tmp_path / "standing"), free_answers=0)
    found = harness.gather(params, tmp_path / "items")
    origins = {name: about["origin"] for name, about in found.items()}
    assert origins == {
        **dict.fromkeys(("bar", "legal_exam", "refusal"), "sources"),
        **dict.fromkeys(("general", "over_refusal"), "standing"),
    }


def gather(tmp_path, items, **settings):
    """What harness.gather makes of a folder of suites."""
    target = tmp_path / "items"
    shutil.rmtree(target, ignore_errors=True)
    return harness.gather(harness.Params(tmp_path, items, tmp_path, free_answers=0, **settings), target)


def own_exam(folder, *names, count=3):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        write_lines(folder / f"{name}.jsonl", [make_item(n, name) for n in range(count)])
    return folder


def test_an_exam_called_like_a_stock_set_is_asked_as_itself(tmp_path):
    found = gather(tmp_path, own_exam(tmp_path / "own", "cmmlu", "ceval-valid", count=7))
    assert {name: (about["origin"], about["count"]) for name, about in found.items()} == {
        "cmmlu": ("sources", 7),
        "ceval-valid": ("sources", 7),
    }
    assert not models.stock_folders(tmp_path / "items")


@pytest.mark.parametrize("name", ["cmmlu", "CMMLU", "ｃｍｍｌｕ", "ceval-valid"])
def test_an_exam_beside_the_stock_set_of_its_name_is_refused_with_both_files(tmp_path, name):
    write_stock(own_exam(tmp_path / "own", name))
    with pytest.raises(
        StepError, match=rf"{name}\.jsonl, and the stock set in (haonan-li/cmmlu|ceval/ceval-exam).*another `name`"
    ):
        gather(tmp_path, tmp_path / "own")


@pytest.mark.parametrize("name", ["answers", "domain", "Answers", "parity", "loss_gguf", "x|y", "a,b", "-x", " x", "x" * 121])
def test_a_name_that_is_ours_or_breaks_a_table_is_refused(tmp_path, name):
    with pytest.raises(StepError, match="another `name`"):
        gather(tmp_path, own_exam(tmp_path / "own", name))


def test_a_part_of_a_mixed_set_never_takes_the_place_of_an_exam(tmp_path):
    own_exam(tmp_path / "own")
    mixed = [make_item(0, "xstest", "refusal"), make_item(1, "xstest", "over_refusal")]
    write_lines(tmp_path / "own" / "xstest.jsonl", mixed)
    write_lines(tmp_path / "own" / "xstest-refusal.jsonl", [make_item(n, "other", "refusal") for n in range(3)])
    with pytest.raises(StepError, match="two suites are called xstest-refusal"):
        gather(tmp_path, tmp_path / "own")


@pytest.mark.parametrize(("name", "kind"), [("general", "refusal"), ("refusal", "choice"), ("citations", "choice")])
def test_a_suite_with_rules_of_its_own_holds_what_they_judge(tmp_path, name, kind):
    own_exam(tmp_path / "own")
    write_lines(tmp_path / "own" / f"{name}.jsonl", [make_item(0, name, kind)])
    with pytest.raises(StepError, match=f"a suite called {name} has rules of its own"):
        gather(tmp_path, tmp_path / "own")


def test_the_names_of_our_tasks_are_names_like_others(seat, tmp_path):
    from legal_tasks.compression.load import load_model

    names = ("exam", "answer", "analysis", "exam_generated", "_choice", "_prompt")
    items = own_exam(tmp_path / "own", *names)
    found = models.evaluate_loaded(*load_model(seat / "base"), items)["suites"]
    assert {name: len(part["rows"]) for name, part in found.items()} == dict.fromkeys(names, 3)
    assert {part["summary"]["form"] for part in found.values()} == {"letters"}


def test_a_model_is_not_asked_two_suites_of_one_name(seat, tmp_path):
    from legal_tasks.compression.load import load_model

    write_stock(own_exam(tmp_path / "own", "cmmlu"))
    with pytest.raises(StepError, match=r"cmmlu\.jsonl, and the stock set in haonan-li/cmmlu"):
        models.evaluate_loaded(*load_model(seat / "base"), tmp_path / "own")


def test_the_embedded_world_is_asked_only_where_it_is_named(tmp_path):
    """With a profile's own settings: none names the embedded suites for somebody else's sources."""
    from legal_tasks.step import build_params

    own_exam(tmp_path / "own", "bar", "cmmlu")
    values = {"challenger": tmp_path, "items": tmp_path / "own", "output": tmp_path, "free_answers": 0}
    for profile in ("small", "faults", "qwen3_8b"):
        params = build_params(harness, "legal_tasks.evaluation.harness", values, profile, [])
        assert harness.gather(params, tmp_path / profile).keys() == {"bar", "cmmlu"}
        assert not models.stock_folders(tmp_path / profile)
    named = gather(tmp_path, tmp_path / "own", standing="embedded")
    origins = {name: about["origin"] for name, about in named.items()}
    assert origins == {**dict.fromkeys(("bar", "cmmlu"), "sources"), **dict.fromkeys(rules.STANDING, "embedded")}
    assert models.stock_folders(tmp_path / "items").keys() == {"ceval-valid"}  # the embedded cmmlu gives way


def test_an_embedded_exam_of_another_seed_is_known_by_its_card(tmp_path):
    """Its content is not that of the seed that the harness compares with."""
    items = own_exam(tmp_path / "own" / "exams", "bar", "judge").parent
    (items / "card").mkdir()
    about = {"origin": "embedded", "file": "exams/bar.jsonl", "digest": "d", "count": 3}
    (items / "card" / "exams.json").write_text(json.dumps({"bar": about}), "utf-8")
    found = gather(tmp_path, items)
    assert found["bar"] == about | {"kind": "choice", "embedded": True}
    assert rules.real_exams(found) == ["judge"]


def test_own_stock_sets_stand_for_general_ability_before_named_suites_do(tmp_path):
    write_stock(own_exam(tmp_path / "own", "bar"))
    assert "general" not in gather(tmp_path, tmp_path / "own", standing="embedded")


def test_stock_sets_are_told_with_file_digest_count_and_origin(seat, tmp_path):
    write_stock(own_exam(tmp_path / "collect" / "exams", "bar"))
    values = [f"--challenger={seat / 'new'}", f"--base={seat / 'base'}", f"--items={tmp_path / 'collect'}", "--champion=none"]
    assert main("legal_tasks.evaluation.harness", [*values, "--free-answers=0", f"--output={tmp_path / 'out'}"]) == 0
    found = json.loads((tmp_path / "out" / "summary.json").read_text("utf-8"))["suites"]
    assert {name: (part["origin"], part["file"], part["count"], part["n"]) for name, part in found.items()} == {
        "bar": ("sources", "bar.jsonl", 3, 3),
        "ceval-valid": ("stock", "ceval/ceval-exam", 8, 8),
        "cmmlu": ("stock", "haonan-li/cmmlu", 5, 5),
        "general": ("stock", "ceval/ceval-exam + haonan-li/cmmlu", 13, 13),
    }
    assert len({part["digest"] for part in found.values()}) == 4


def release(world, store, model):
    """`model` merged, compressed and in production, as the release state says it; returns the merge's artifact."""

    def fill(source):
        def make(folder):
            shutil.copytree(source, folder / "model")
            return {}

        return make

    merged = store.get_or_make("training.merge", {"model": model}, {}, fill(world / model)).path
    pressed = store.get_or_make("compression.compress", {}, {"model": merged}, lambda folder: (folder / "gptq").mkdir() or {})
    database = Database()
    wanted = {"digest": pressed.digest, "path": str(pressed.path), "version": "1"}
    state = database.intend(wanted, "test")
    database.record("released", "test", state.revision, actual=wanted)
    return merged


def test_the_champion_is_the_merged_model_behind_production(seat, tmp_path):
    merged = release(seat, Store(tmp_path / "store"), "base")
    params = harness.Params(seat / "new", seat / "collect", tmp_path, base=str(seat / "base"))
    assert harness.find_champion(params) == merged
    assert harness.extra_inputs(params)["champion"] == merged
    assert evaluate(seat, tmp_path, "--skip=refusal,over_refusal", "--free-answers=0", "--limit=4")[1]["report"][
        "roles"
    ].keys() == {
        "base",
        "champion",
        "challenger",
    }


def test_a_release_state_that_is_missing_is_no_installation_without_a_champion(seat, tmp_path, capsys):
    (tmp_path / "var" / "release.sqlite").unlink()
    code, _ = evaluate(seat, tmp_path)
    assert code == 2 and "--champion production: there is no release state" in (said := capsys.readouterr().err)
    assert "make up" in said and "--champion none" in said
    assert not (tmp_path / "var" / "release.sqlite").exists()


def test_a_challenger_that_already_serves_has_no_champion(seat, tmp_path):
    """So the evaluation of an unchanged month has the key of the first and is reused."""
    merged = release(seat, Store(tmp_path / "store"), "new")
    params = harness.Params(merged, seat / "collect", tmp_path, base=str(seat / "base"))
    assert harness.find_champion(params) is None
    assert harness.find_champion(dataclasses.replace(params, champion="none")) is None


def write_stock(root):
    """Two subjects in C-Eval's layout and one in CMMLU's."""
    ceval, cmmlu = root / "ceval" / "ceval-exam", root / "haonan-li" / "cmmlu"
    columns = ["id", "question", "A", "B", "C", "D", "answer", "explanation"]
    parts = []
    for subject in ("law", "logic"):
        (ceval / subject).mkdir(parents=True)
        for split, count in (("val", 4), ("dev", 5), ("test", 1)):
            with open(ceval / subject / f"{split}.csv", "w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(columns)
                for number in range(count):
                    item = make_item(number, subject)
                    writer.writerow([number, item["question"], *item["options"].values(), "ABCD"[number % 4], "无"])
        files = "".join(f"  - split: {split}\n    path: {subject}/{split}.csv\n" for split in ("val", "dev", "test"))
        parts.append(f"- config_name: {subject}\n  data_files:\n{files}")
    (ceval / "README.md").write_text("---\nconfigs:\n" + "".join(parts) + "---\n")
    cmmlu.mkdir(parents=True)
    for split in ("test", "dev"):
        with open(cmmlu / f"{split}.csv", "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["Question", "A", "B", "C", "D", "Answer"])
            for number in range(5):
                item = make_item(number, "world")
                writer.writerow([item["question"], *item["options"].values(), "ABCD"[number % 4]])
    files = "".join(f"  - split: {split}\n    path: {split}.csv\n" for split in ("test", "dev"))
    (cmmlu / "README.md").write_text(f"---\nconfigs:\n- config_name: professional_law\n  data_files:\n{files}---\n")
    return root


def test_stock_tasks_run_on_a_local_copy_with_lm_evals_own_numbers(seat, tmp_path):
    from lm_eval.models.huggingface import HFLM

    from legal_tasks.compression.load import load_model

    root = write_stock(tmp_path / "exams")
    model, tokenizer = load_model(seat / "base")
    found = models.evaluate_loaded(model, tokenizer, root)
    assert {name: part["summary"]["n"] for name, part in found["suites"].items()} == {"ceval-valid": 8, "cmmlu": 5, "general": 13}
    assert found["suites"]["ceval-valid"]["summary"]["by_category"]["ceval-valid_law"]["n"] == 4

    theirs = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=2, device="cpu")
    for name, folder in models.stock_folders(root).items():
        rows = {row["id"]: row for row in found["suites"][name]["rows"]}
        for task, samples in models.run_stock(theirs, name, folder).items():
            for sample in samples:
                row = rows.pop(f"{task}/{sample['doc_id']}")
                assert row["scores"] == pytest.approx([value for value, _ in sample["filtered_resps"]], abs=1e-4)
                assert row["correct"] == sample["acc"]
        assert not rows


def test_a_model_that_gives_nan_is_refused(seat):
    from legal_tasks.compression.load import load_model

    model, tokenizer = load_model(seat / "base")
    with torch.no_grad():
        model.model.norm.weight.fill_(float("nan"))
    with pytest.raises(StepError, match="weights are broken"):
        models.evaluate_loaded(model, tokenizer, seat / "collect" / "exams", ("legal_exam",))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--limit=0"], "--limit must be at least 1"),
        (["--standing=/nowhere"], "--standing /nowhere"),
        (["--champion=/nowhere"], "holds no model"),
    ],
)
def test_what_the_caller_can_mend_exits_2(seat, tmp_path, capsys, more, said):
    assert evaluate(seat, tmp_path, *more)[0] == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("step", ["harness", "compare", "gate"])
def test_help_names_every_option(step, capsys):
    with pytest.raises(SystemExit) as left:
        main(f"legal_tasks.evaluation.{step}", ["--help"])
    assert left.value.code == 0
    assert "--" in capsys.readouterr().out


def test_every_benchmark_has_a_card():
    for file in models.TASKS.glob("*/*.yaml"):
        assert file.stem == file.parent.name
        head = file.read_text("utf-8").partition("include:")[0]
        assert all(f"# {word}" in head or f" {word}:" in head for word in ("Card:", "What:")), file
        assert "Metric:" in head and "licence:" in head and "Chance:" in head, file


def test_choices_answered_in_words_keep_what_was_said(seat):
    from legal_tasks.compression.load import load_model

    how = models.How(generate=("bar",), new_tokens=4)
    found = models.evaluate_loaded(*load_model(seat / "base"), seat / "collect" / "exams", ("bar",), how=how)["suites"]["bar"]
    summary, rows = found["summary"], found["rows"]
    assert summary["form"] == "generate"
    assert summary["abstained"] == sum(row["picked"] == [] for row in rows)
    assert summary["unfinished"] == sum(not row["ended"] for row in rows) > 0  # random weights do not stop by themselves
    assert all(set(row) >= {"said", "strict", "correct_strict", "picked", "correct"} for row in rows)


def test_examples_come_from_the_dev_split_and_are_not_asked(seat, tmp_path):
    from legal_tasks.compression.load import load_model

    items = [make_item(n, "law", answer="ABCD"[n % 4], split="dev" if n < 2 else "test") for n in range(6)]
    write_lines(tmp_path / "law.jsonl", items)
    model = load_model(seat / "base")
    found = [
        models.evaluate_loaded(*model, tmp_path, how=models.How(shots=shots))["suites"]["law"]["rows"] for shots in (0, 2, 5)
    ]
    assert [row["id"] for row in found[0]] == [item["id"] for item in items[2:]]
    assert found[0][0]["scores"] != found[1][0]["scores"]
    assert found[1] == found[2]  # there are two examples and no more


def test_an_analysis_is_scored_against_its_reference(seat, tmp_path):
    from legal_tasks.compression.load import load_model

    reference = {"points": [], "charges": ["盗窃罪"], "articles": ["刑法 264"]}
    write_lines(tmp_path / "lecard.jsonl", [make_item(0, "lecard", "analysis", reference=reference, options=None)])
    found = models.evaluate_loaded(*load_model(seat / "base"), tmp_path, how=models.How(new_tokens=4))["suites"]["lecard"]
    assert found["rows"][0]["charge_f1"] == 0.0
    assert found["summary"]["charge_f1"] == {"mean": 0.0, "n": 1}
    assert found["summary"]["accuracy"] == 0.0


def ask_articles(number, **other):
    reference = {"articles": [f"云州市经营活动管理条例 {number + 1}"]}
    return make_item(number, "citations", "answer", options=None, reference=reference, answer=[], **other)


def test_a_suite_of_questions_for_articles_is_asked_in_words_and_never_ranked(seat, tmp_path):
    from legal_tasks.compression.load import load_model

    own_exam(tmp_path / "own", "bar")
    write_lines(tmp_path / "own" / "citations.jsonl", [ask_articles(n) for n in range(6)])
    found = gather(tmp_path, tmp_path / "own")
    assert found["citations"]["kind"] == "answer" and rules.real_exams(found) == ["bar"]
    how = models.How(rank_texts=("citations", "bar"), generate=("citations",), new_tokens=4)
    answered = models.evaluate_loaded(*load_model(seat / "base"), tmp_path / "items", ("citations",), how=how)["suites"]
    rows = answered["citations"]["rows"]
    assert all(isinstance(row["answer"], str) and row["scores"] is None and row["article_f1"] == 0.0 for row in rows)
    assert answered["citations"]["summary"]["article_f1"] == {"mean": 0.0, "n": 6}
    assert set(answered) == {"citations"} and len(rows) == 6


@pytest.mark.parametrize(
    ("said", "right"),
    [
        ("依照《云州市经营活动管理条例》第三条。", 1),
        ("云州市经营活动管理条例第3条", 1),
        ("依照《云州市经营活动管理条例》第四条。", 0),
        ("依照《云州市经营活动管理暂行办法》第三条。", 0),
        ("三十日内。", 0),
        ("《云州市经营活动管理条例》第一条至第九条", 0),
    ],
)
def test_an_answer_is_right_if_it_cites_the_article_asked_for_and_no_other(said, right):
    assert models._in_words(ask_articles(2), said, ())["correct"] == right


def test_the_suite_of_citations_asks_for_articles(tmp_path):
    own_exam(tmp_path / "own", "bar")
    write_lines(tmp_path / "own" / "citations.jsonl", [make_item(0, "citations", "answer", options=None, answer=[])])
    with pytest.raises(StepError, match="names none in its `reference`"):
        gather(tmp_path, tmp_path / "own")


def test_a_set_of_prompts_that_mixes_kinds_becomes_two_suites():
    items = [make_item(0, "xstest", "refusal"), make_item(1, "xstest", "over_refusal"), make_item(2, "xstest", "refusal")]
    found = harness.by_kind("xstest", items)
    assert {name: [item["id"] for item in part] for name, part in found.items()} == {
        "xstest-refusal": ["xstest-0", "xstest-2"],
        "xstest-over_refusal": ["xstest-1"],
    }
    assert harness.by_kind("bar", [make_item(0), make_item(1, kind="case")]).keys() == {"bar"}


def test_the_progress_of_a_model_grows_to_one_over_all_parts(seat):
    told = []
    models.evaluate_model(
        seat / "base",
        seat / "collect" / "exams",
        ("legal_exam", "bar", "refusal"),
        how=models.How(new_tokens=4),
        tell=lambda fraction, what: told.append(fraction),
    )
    assert told == sorted(told), told
    assert told[-1] == 1.0 and any(fraction < 0.5 for fraction in told)
