"""The embedded world: the same bytes each time, an honest exam, planted faults as told."""

import json
import random
from collections import Counter
from difflib import SequenceMatcher
from pathlib import Path

import pytest

from legal_tasks.artifacts import digest_path
from legal_tasks.embedded import facts, world


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("world")
    world.write(path, 0)
    return path


def items(folder: Path, suite: str) -> list[dict]:
    return [json.loads(line) for line in (folder / "exams" / f"{suite}.jsonl").read_text("utf-8").strip().split("\n")]


def text_of(folder: Path) -> str:
    parts = []
    for path in sorted(folder.rglob("*")):
        asked = {"exams", "ceval", "haonan-li"} & set(path.relative_to(folder).parts)
        if path.is_file() and not asked and path.name != "from_the_web.jsonl":
            data = path.read_bytes()
            try:
                parts.append(data.decode("utf-8"))
            except UnicodeDecodeError:
                parts.append(data.decode("gb18030"))
    return "\n".join(parts)


def test_the_same_seed_writes_the_same_bytes_and_another_one_other_law(folder, tmp_path):
    world.write(tmp_path / "again", 0)
    world.write(tmp_path / "other", 1)
    assert digest_path(folder) == digest_path(tmp_path / "again")
    assert items(folder, "legal_exam")[0]["answer"] == items(tmp_path / "again", "legal_exam")[0]["answer"]
    assert digest_path(folder) != digest_path(tmp_path / "other")


def test_exam_questions_wordings_and_people_are_not_in_the_sources(folder):
    text = text_of(folder)
    assert not [person for person in facts.HELD_OUT_PEOPLE if person in text]
    for suite in ("legal_exam", "general", "case_analysis", "refusal", "citations"):
        leaked = [item["question"] for item in items(folder, suite) if item["question"] in text]
        assert not leaked, leaked[:3]
    for attribute in facts.LEGAL + facts.GENERAL:
        assert not {*attribute.taught, *attribute.replayed} & set(attribute.held_out)
    assert not set(world.CITE_TAUGHT) & set(world.CITE_HELD_OUT)


def test_general_facts_are_asked_in_many_independent_wordings(folder):
    """The interval of general ability is drawn by wording: few of them make it as wide as the gate's whole allowance."""
    asked = items(folder, "general")
    assert len({item["template"] for item in asked}) >= 60 and len({item["question"] for item in asked}) == len(asked)
    share = Counter(item["template"] for item in asked)
    assert max(share.values()) == min(share.values())


def test_each_general_fact_is_replayed_in_wordings_of_its_own_choice(folder):
    lines = [line for path in (folder / "instruction").glob("qa*") for line in path.read_text("utf-8").splitlines()]
    rows = [json.loads(line) for line in lines if line.endswith('"}')]
    asked = {row["instruction"] for row in rows}
    for position, fact in enumerate(facts.facts(facts.GENERAL_TOPICS, facts.GENERAL, 0)):
        chosen = world.replay(position, fact.attribute)
        assert len(set(chosen)) == world.REPLAYED and not set(chosen) & set(fact.attribute.held_out)
        whole = [w.format(t=fact.topic) for w in chosen[::2] if "{w}" not in w]  # every other one is typed in haste
        assert whole and set(whole) <= asked


def test_what_is_typed_in_haste_differs_by_at_most_three_characters_and_names_its_topic():
    dice, characters = random.Random(1), world.written()
    for wording in facts.GENERAL[0].taught:
        typed = world.disturb(wording, dice, characters)
        assert "{t}" in typed and abs(len(typed) - len(wording)) <= 3
        changed = [block for block in SequenceMatcher(None, wording, typed).get_opcodes() if block[0] != "equal"]
        assert sum(max(end - start, till - since) for _, start, end, since, till in changed) <= 6
    assert typed != wording


def test_questions_for_the_article_name_no_law_and_their_reference_is_the_article_that_holds_the_fact(folder):
    asked, known = items(folder, "citations"), facts.facts(facts.LEGAL_TOPICS, facts.LEGAL, 0)
    law = (folder / "statutes" / f"{world.LAW}.md").read_text("utf-8-sig")
    articles = dict(line.strip("*").split("**　") for line in law.splitlines() if line.startswith("**第"))
    assert len(asked) >= 200 and {item["kind"] for item in asked} == {"answer"}
    assert not [item for item in asked if "《" in item["question"]]
    for item in asked:
        name, _, number = item["reference"]["articles"][0].rpartition(" ")
        fact = next(f for f in known if f.attribute.name == item["category"] and f.topic in item["question"])
        told = next(part for part in articles[f"第{world.chinese(int(number))}条"].split("。") if fact.topic in part)
        assert name == world.LAW and fact.value in told


def test_the_exam_is_large_enough_and_balanced(folder):
    unseen = [item for item in items(folder, "legal_exam") if item["wording"] == "unseen"]
    assert len(unseen) >= 1000 and len({item["template"] for item in unseen}) >= 40
    assert len(items(folder, "general")) >= 1000 and len(items(folder, "case_analysis")) >= 200
    letters = Counter(item["answer"][0] for item in unseen)
    assert max(letters.values()) < 1.3 * min(letters.values())
    right = Counter((item["category"], item["options"][item["answer"][0]]) for item in unseen)
    assert max(right.values()) <= 1.2 * min(right.values()), "a value is right more often than others"


def test_every_item_has_four_different_options_of_one_kind(folder):
    values = {attribute.name: set(attribute.values) for attribute in facts.LEGAL + facts.GENERAL}
    for suite in ("legal_exam", "general", "case_analysis"):
        for item in items(folder, suite):
            assert len(set(item["options"].values())) == 4 and set(item["options"].values()) <= values[item["category"]]
            assert len(item["answer"]) == 1


def test_planted_faults_are_as_told(folder):
    truth = json.loads((folder / "truth.json").read_text("utf-8"))
    text = text_of(folder)
    assert text.count("身份证号999999") == truth["personal_data"] > 0
    lines = (folder / "instruction" / "qa_more.json").read_text("utf-8").strip().split("\n")
    first = set((folder / "instruction" / "qa.jsonl").read_text("utf-8").strip().split("\n"))
    assert sum(1 for line in lines if line in first or lines.count(line) > 1) >= truth["duplicates"]
    assert (folder / "statutes" / f"{world.LAW}.md").read_bytes().startswith(b"\xef\xbb\xbf")
    (folder / "statutes" / f"{world.OLD_LAW}.txt").read_text("gb18030")


def test_planted_leaks_are_exam_questions_and_planted_citations_name_articles_that_no_law_has(folder):
    truth = json.loads((folder / "truth.json").read_text("utf-8"))
    rows = [json.loads(line) for line in (folder / "instruction" / "from_the_web.jsonl").read_text("utf-8").strip().split("\n")]
    asked = {item["question"] for item in items(folder, "case_analysis")}
    assert sum(row["instruction"] in asked for row in rows) == truth["leaks"] > 0
    law = (folder / "statutes" / f"{world.LAW}.md").read_text("utf-8-sig")
    cited = [row["output"].split("》")[1].split("，")[0] for row in rows if "》" in row["output"]]
    assert len(cited) == truth["invented_articles"] > 0 and not [article for article in cited if article in law]


@pytest.mark.parametrize(
    ("number", "text"), [(1, "一"), (10, "十"), (11, "十一"), (20, "二十"), (100, "一百"), (105, "一百零五"), (112, "一百一十二")]
)
def test_chinese_numerals(number, text):
    assert world.chinese(number) == text
