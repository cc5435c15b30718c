"""How well are near-duplicates told from other texts? Copies planted in real texts and in fillings of real contract forms.

    make bench NAME=near_duplicates                        # real texts beside the checkout, else made ones
    ML -m benchmarks.near_duplicates SEED [DATA_FOLDER]

Planted: 1 % and 3 % of the characters changed, all sentences shuffled, and 1 % with all sentences shuffled. Recall is the
share of the planted copies that are linked to their text. Precision is that of all linked pairs, and of those where two
texts of one form could be taken for each other. Both are told apart for short records (below 120 characters). Linked pairs
without any planted text are counted too: within one form they are errors, elsewhere the real texts may repeat themselves.
The linking is that of data.clean: `dedupe.near_pairs` with `clean.is_copy`. Only numbers are kept, no text.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import random
import re
import sys
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.dedupe import make_texts

REPOSITORY = Path(__file__).resolve().parents[1]
RESULT = REPOSITORY / "benchmarks" / "results" / "near_duplicates.json"
SHORT, LEAST, MOST = 120, 60, 4000  # characters: a short record, the shortest that is looked at, the longest used here
TEXTS, FORMS, FILLINGS = 2500, 40, 12  # of each length class; fillings per form
WAYS = ((0.01, False), (0.03, False), (0.0, True), (0.01, True))  # share of the characters, sentences shuffled
NAMES = "陆海灯 孙明 周若兰 何志远 欧阳静 林小满 罗建国 唐果 韩雪梅 邓一帆 冯立 蒋文博".split()
PLACES = "云州市河东区灯市路 昌平县东关镇 临海市滨江大道 青山县白石乡 南屏区学府街 北川镇老街".split()
CLAUSES = (
    "逾期付款的，每日按未付金额的万分之五支付违约金。",
    "因不可抗力不能履行的，根据影响部分或者全部免除责任。",
    "一方需要提前解除的，应当提前三十日书面通知对方并结清费用。",
    "双方对本协议内容负有保密义务，未经同意不得向第三人披露。",
    "标的物毁损、灭失的风险自交付时起转移，交付前由出卖方承担。",
    "任何一方变更联系方式的，应当在变更后三日内告知另一方。",
)


@dataclass(frozen=True)
class Text:
    """`origin`: number of what it was copied from, or its own; `form`: which form it fills, -1 for none."""

    text: str
    origin: int
    form: int = -1
    share: float = 0.0
    reordered: bool = False

    @property
    def planted(self) -> bool:
        return self.share > 0 or self.reordered


def real_texts(folder: Path) -> tuple[list[str], list[str]]:
    """(answers of consultations and instructions, sections of contracts)."""
    answers = []
    for path in sorted([*(folder / "consultation").glob("*.json"), *(folder / "instruction").glob("*.json")]):
        text = path.read_text("utf-8")
        rows = json.loads(text) if text.lstrip().startswith("[") else map(json.loads, filter(None, text.split("\n")))
        for row in rows:
            while isinstance(row, list) and row:
                row = row[0]
            fields = {key: value for key, value in dict(row).items() if isinstance(value, str)}
            answers.append(max(fields.values(), key=len, default=""))
    contracts = "\n".join(path.read_text("utf-8") for path in sorted((folder / "contracts_md_NC").glob("*.md")))
    return answers, [part.strip() for part in re.split(r"(?m)^#+ .*$", contracts)]


def fill(form: str, dice: random.Random) -> str:
    """A filling of a form: the form's own words between parties, place, amount, day and one clause of several."""
    day = f"{dice.randint(2015, 2025)}年{dice.randint(1, 12)}月{dice.randint(1, 28)}日"
    first, second = dice.sample(NAMES, 2)
    head = f"甲方{first}与乙方{second}于{day}在{dice.choice(PLACES)}签订本合同，价款为人民币{dice.randint(3, 990) * 100}元。"
    return f"{head}{form}{dice.choice(CLAUSES)}"


def copy(text: str, share: float, reordered: bool, dice: random.Random) -> str:
    """The text with its sentences shuffled, with a share of its characters replaced (at least one), or with both."""
    if reordered:
        parts = re.findall(r"[^。！？\n]+[。！？\n]*", text)
        dice.shuffle(parts)
        text = "".join(parts)
    chars = list(text)
    for place in dice.sample(range(len(chars)), max(1, round(share * len(chars)))) if share else ():
        chars[place] = chr(dice.randrange(0x4E00, 0x9FA5))
    return "".join(chars)


def plant(answers: list[str], sections: list[str], seed: int) -> list[Text]:
    """Originals, fillings of forms, and a copy of every third of them, each in one of the four ways."""
    dice = random.Random(seed)
    distinct = sorted({text.strip() for text in answers if LEAST <= len(text.strip()) <= MOST})
    dice.shuffle(distinct)
    longer = [text for text in distinct if len(text) >= SHORT][:TEXTS]
    short = [text for text in distinct if len(text) < SHORT][:TEXTS]
    forms = sorted({text[: dice.choice((40, 400, 800))] for text in sections if len(text) >= 200})
    forms = dice.sample(forms, min(FORMS, len(forms)))
    texts = [Text(text, number) for number, text in enumerate([*longer, *short])]
    for number, form in enumerate(forms):
        for _ in range(FILLINGS):
            texts.append(Text(fill(form, dice), len(texts), number))
    for number, one in enumerate(texts[::3]):
        share, reordered = WAYS[number % len(WAYS)]
        texts.append(Text(copy(one.text, share, reordered, dice), one.origin, one.form, share, reordered))
    dice.shuffle(texts)
    return sorted(texts, key=lambda one: -len(one.text))


def measure(texts: list[Text]) -> dict:
    """Recall per way of copying and length; precision of all linked pairs and of those within one form."""
    from legal_tasks.data import clean, dedupe

    bound, least = clean.Params.near_duplicate, clean.Params.near_slipped
    accept = partial(clean.is_copy, bound=bound)
    linked = dedupe.Groups(len(texts))
    tally: Counter[tuple[str, bool, bool]] = Counter()
    unplanted: Counter[str] = Counter(form=0, other=0)
    for first, second, _ in dedupe.near_pairs([one.text for one in texts], least, accept=accept):
        linked.join(first, second)
        one, other = texts[first], texts[second]
        kind = "form" if one.form >= 0 and one.form == other.form else "other"
        unplanted[kind] += not one.planted and not other.planted
        tally[kind, min(len(one.text), len(other.text)) < SHORT, one.origin == other.origin] += 1
    origins = {one.origin: place for place, one in enumerate(texts) if not one.planted}
    rows: dict[tuple, list[bool]] = {}
    for place, one in enumerate(texts):
        if one.planted:
            found = linked.find(place) == linked.find(origins[one.origin])
            rows.setdefault((len(one.text) < SHORT, one.share, one.reordered), []).append(found)
    recall = [
        {
            "short": short,
            "changed": share,
            "reordered": reordered,
            "copies": len(found),
            "recall": round(sum(found) / len(found), 4),
        }
        for (short, share, reordered), found in sorted(rows.items())
    ]
    precision = []
    for short in (False, True):
        for kinds in (("form", "other"), ("form",)):
            right, wrong = (sum(tally[kind, short, good] for kind in kinds) for good in (True, False))
            row = {"short": short, "pairs": "within one form" if len(kinds) == 1 else "all", "linked": right + wrong}
            precision.append(row | {"precision": round(right / (right + wrong), 4) if right + wrong else None})
    return {"texts": len(texts), "recall": recall, "precision": precision, "unplanted_pairs_linked": dict(unplanted)}


def main(argv: list[str]) -> int:
    seed = int(argv[0]) if argv else 1
    folder = Path(argv[1]) if len(argv) > 1 else REPOSITORY.parent / "shared" / "data"
    real = (folder / "MANIFEST.md").is_file()
    if real:
        answers, sections = real_texts(folder)
    else:
        answers, sections = make_texts(6000, seed + 1)[:5000], make_texts(200, seed + 2)[:180]
    found = measure(plant(answers, sections, seed))
    result = {
        "name": "near_duplicates",
        "comparisons": [],
        "texts_from": "real public consultations, instructions and contract forms" if real else "made here",
        "seed": seed,
        **found,
        "machine": {"processors": os.cpu_count(), "machine": platform.machine()},
        "date": datetime.date.today().isoformat(),
        "command": "make bench NAME=near_duplicates",
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", "utf-8")
    for row in found["recall"]:
        kind = f"{'short' if row['short'] else 'long'}, {row['changed']:.0%} changed{', reordered' * row['reordered']}"
        print(f"{kind}: recall {row['recall']} of {row['copies']}")
    for row in found["precision"]:
        print(f"{'short' if row['short'] else 'long'}, {row['pairs']}: precision {row['precision']} of {row['linked']} linked")
    print(f"linked pairs without a planted text: {found['unplanted_pairs_linked']}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
