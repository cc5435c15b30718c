"""How much personal data is found? Made numbers, names and addresses, planted in real texts in the words people use.

    make bench NAME=privacy                                # real texts beside the checkout, else made ones
    ML -m benchmarks.privacy SEED [DATA_FOLDER]

Per kind: recall is the share of the planted values that the masked text no longer holds, precision the share of what was
replaced under that kind's name that had been planted as that kind. Beside each valid resident id and bank card one with a
wrong check digit is planted, and numbers that are neither: dockets, invoices, contracts, credit codes, amounts. A number with
a slip that is named as an id or a card is replaced too, under another name (证件号, 账号); `wrong check digit` tells how
many. `scan` is the share of the planted values that the final scan would name if nobody had masked them.
Party names: those of the headers and signatures of judgments, read here line by line, must be absent from the masked text;
told apart for the half of the judgments that the patterns were made with and for the other, which was judged afterwards.
Headers: made ones, with surnames that are rare, names that hold a word or the sign of an organisation, roles in the middle of a
line and compound roles; `precision` is the share of the names found in them that had been put there.
False alarms: what is replaced in statutes, per 10,000 characters. Only numbers are kept, no text.
The sentences were written first, then the masker's patterns were widened with them in view: for words that nobody here has
thought of the numbers will be lower.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import platform
import random
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.dedupe import make_texts
from benchmarks.near_duplicates import real_texts
from legal_tasks.data.privacy import Masker
from legal_tasks.data.scan import scan

REPOSITORY = Path(__file__).resolve().parents[1]
RESULT = REPOSITORY / "benchmarks" / "results" / "privacy.json"
DOCUMENTS, STATUTES, LENGTH = 3000, 20, 600  # texts planted in, statutes looked through, characters used of a text
# At the first run on the half that is judged afterwards, before any of it had been looked at. The faults seen there were then
# corrected; labelled by reading each masked name that no header holds with what stands around it.
FIRST_LOOK = {"header names": 331, "left": 4, "masked names": 351, "no names or cut": 3}
HEADERS = 900  # texts with a made header
Dice = random.Random
CITIES = """北京市朝阳区 上海市浦东新区 广东省深圳市南山区 浙江省杭州市西湖区 四川省成都市武侯区 河南省郑州市金水区
内蒙古自治区包头市昆都仑区""".split()
STREETS = "建国路 中山北路 解放大道 学院街 人民东路 和平里七区 长江路 红旗巷".split()
NAMES = "陈海涛 李秀英 王建军 张丽 刘洋 赵国庆 黄晓燕 周杰 吴桂兰 徐鹏飞 孙倩 马超 朱红梅 胡志强 林静 郭磊".split()


def digits(dice: Dice, count: int, first: str = "123456789") -> str:
    return dice.choice(first) + "".join(dice.choice("0123456789") for _ in range(count - 1))


def birthday(dice: Dice) -> tuple[int, int, int]:
    return dice.randint(1950, 2007), dice.randint(1, 12), dice.randint(1, 28)


def resident_id(dice: Dice, valid: bool = True) -> str:
    """18 characters of GB 11643; not `valid`: with another last character than the right one."""
    year, month, day = birthday(dice)
    place = dice.choice(("110101", "310115", "440305", "330106", "510107", "410105"))
    body = f"{place}{year}{month:02}{day:02}{dice.randint(0, 999):03}"
    weights = [2**power % 11 for power in range(17, 0, -1)]
    rest = sum(int(digit) * weight for digit, weight in zip(body, weights, strict=True))
    right = next(last for last in "0123456789X" if (rest + (10 if last == "X" else int(last))) % 11 == 1)
    return body + (right if valid else dice.choice("0123456789X".replace(right, "")))


def bank_card(dice: Dice, valid: bool = True) -> str:
    """16 or 19 digits with a bank's prefix and Luhn's digit, in one run or in groups of four."""
    body = dice.choice(("622202", "621700", "622848", "601382", "955880", "436742")) + digits(
        dice, dice.choice((9, 12)), "0123456789"
    )
    total = 0
    for place, digit in enumerate(reversed(body)):
        double = int(digit) * (2 if place % 2 == 0 else 1)
        total += double // 10 + double % 10
    right = str(-total % 10)
    plain = body + (right if valid else dice.choice("0123456789".replace(right, "")))
    return dice.choice((plain, plain, " ".join(re.findall(r"\d{1,4}", plain))))


def mobile(dice: Dice) -> str:
    number = dice.choice(("138", "159", "186", "177", "199", "166", "147")) + digits(dice, 8, "0123456789")
    parts = number[:3], number[3:7], number[7:]
    return dice.choice(
        (number, number, number, "-".join(parts), " ".join(parts), f"+86{number}", f"+86 {number}", f"0086{number}")
    )


def landline(dice: Dice) -> str:
    code = dice.choice(("010", "021", "0755", "0571", "028", "0371"))
    number = digits(dice, 8 if len(code) == 3 else 7, "2345678")
    return dice.choice((f"{code}-{number}", f"（{code}）{number}", f"({code}){number}", f"{code}－{number}", f"{code} {number}"))


def plate(dice: Dice) -> str:
    head = dice.choice("京沪粤浙川豫蒙") + dice.choice("ABCDEF")
    tail = "".join(dice.choice("0123456789") for _ in range(4))
    tail = dice.choice((dice.choice("0123456789") + tail, dice.choice("HJKLMN") + tail, dice.choice("DF") + "0" + tail))
    return head + dice.choice(("", "", "·", " ", "-")) + tail


def passport(dice: Dice) -> str:
    return dice.choice((dice.choice("EG") + digits(dice, 8), "E" + dice.choice("ABCD") + digits(dice, 7)))


def email(dice: Dice) -> str:
    user = "".join(dice.choice("abcdefghijklmnop") for _ in range(dice.randint(3, 9))) + dice.choice(("", "_88", ".w", "2019"))
    return user + "@" + dice.choice(("163.com", "qq.com", "gmail.com", "mail.zju.edu.cn", "lawfirm.com.cn", "126.com"))


def wechat(dice: Dice) -> str:
    word = "".join(dice.choice("abcdefghijklmnop") for _ in range(dice.randint(5, 8)))
    return dice.choice(
        (f"{word}{dice.randint(10, 9999)}", f"wxid_{word}", f"{word}-{dice.randint(1, 99)}", f"{word}_{dice.randint(1, 99)}")
    )


def birth(dice: Dice) -> str:
    year, month, day = birthday(dice)
    return dice.choice(
        (
            f"{year}年{month}月{day}日",
            f"{year}年{month}月{day}日",
            f"{year}-{month:02}-{day:02}",
            f"{year}.{month}.{day}",
            f"{year}/{month}/{day}",
        )
    )


def address(dice: Dice) -> str:
    house = f"{dice.randint(1, 399)}号"
    more = dice.choice(
        (
            "",
            f"{dice.randint(1, 30)}号楼{dice.randint(1, 9)}单元{dice.randint(101, 2804)}室",
            f"{dice.randint(1, 30)}栋{dice.randint(101, 2804)}",
            "院2幢301室",
            "附5号",
        )
    )
    return dice.choice(CITIES) + dice.choice(STREETS) + house + more


# kind -> (name of the pseudonym, how a value is made, sentences that people write)
KINDS: dict[str, tuple[str, Callable[[Dice], str], tuple[str, ...]]] = {
    "resident id, 18": (
        "身份证号",
        resident_id,
        (
            "身份证号：{}。",
            "公民身份号码{}，",
            "本人身份证{}，请核实。",
            "被申请人（{}）到庭。",
            "他登记时填的是{}。",
            "证件号码为{}，",
            "身份证号码是 {} 。",
            "持有居民身份证，号码：{}；",
        ),
    ),
    "resident id, 15": (
        "身份证号",
        lambda dice: (
            f"{digits(dice, 6, '1345')}{dice.randint(50, 85)}"
            f"{dice.randint(1, 12):02}{dice.randint(1, 28):02}{dice.randint(100, 999)}"
        ),
        ("身份证号：{}。", "旧身份证号码为{}，", "公民身份号码{}，", "一代身份证{}，", "（身份证号{}）"),
    ),
    "mobile": (
        "手机号",
        mobile,
        (
            "电话：{}。",
            "请拨打{}联系我。",
            "我的手机是{}，",
            "联系方式{}",
            "打{}找他。",
            "（手机{}）",
            "号码{}一直关机，",
            "手机号码为{}。",
        ),
    ),
    "landline": (
        "固定电话",
        landline,
        ("电话：{}。", "单位座机{}，", "请致电{}咨询。", "传真{}。", "家里电话{}，", "固话号码{}"),
    ),
    "bank card": (
        "银行卡号",
        bank_card,
        (
            "卡号：{}。",
            "把钱转到{}，",
            "工商银行账户{}，",
            "户名是我，账号{}，",
            "我尾号不记得了，全号{}。",
            "汇入银行卡{}。",
            "信用卡（{}）透支，",
        ),
    ),
    "plate": (
        "车牌号",
        plate,
        ("车牌号{}，", "驾驶{}小型轿车，", "肇事车辆为{}。", "我的车（{}）被追尾，", "号牌{}的货车", "{}号车全责，"),
    ),
    "passport": (
        "护照号",
        passport,
        ("护照号码：{}。", "持护照{}入境，", "护照号{}，", "护照（{}）过期，", "持{}号护照，", "中国护照，号码{}，"),
    ),
    "e-mail": ("邮箱", email, ("邮箱：{}。", "请发到{}，", "E-mail：{}；", "电子邮件地址是{}。", "材料发送至 {} 即可，")),
    "QQ": (
        "QQ号",
        lambda dice: digits(dice, dice.randint(6, 10)),
        ("QQ：{}。", "加我QQ{}，", "qq号{}，", "QQ号码是：{}。", "扣扣{}聊，", "我的QQ是{}，"),
    ),
    "WeChat": (
        "微信号",
        wechat,
        (
            "微信：{}。",
            "加微信{}，",
            "微信号：{}，",
            "微信号是{}，",
            "微信号码为 {} 。",
            "wechat: {}，",
            "VX：{}，",
            "微信ID：{}。",
        ),
    ),
    "birth date": (
        "出生日期",
        birth,
        (
            "男，{}出生，汉族，",
            "出生日期：{}。",
            "生于{}，",
            "出生于{}。",
            "女，{}生，",
            "生日是{}，",
            "孩子{}出生的，",
            "出生年月日：{}，",
        ),
    ),
    "address": (
        "住址",
        address,
        (
            "住{}。",
            "家住{}，",
            "住址：{}。",
            "户籍所在地{}，",
            "现住{}。",
            "住所地：{}。",
            "我住在{}，",
            "地址是{}，",
            "户籍地为{}，",
            "租住在{}，",
        ),
    ),
    "name in a dialog": (
        "姓名",
        lambda dice: dice.choice(NAMES),
        (
            "我叫{}，",
            "本人{}，",
            "我是{}，",
            "姓名：{}，",
            "对方叫{}，",
            "老板名叫{}，",
            "被告人{}，",
            "我的名字是{}。",
            "借款人{}，",
        ),
    ),
}
WRONG: dict[str, tuple[Callable[[Dice], str], tuple[str, ...]]] = {
    kind: (lambda dice, make=make: make(dice, False), KINDS[kind][2])  # type: ignore[misc]
    for kind, make in (("resident id, 18", resident_id), ("bank card", bank_card))
}
NEITHER: tuple[tuple[Callable[[Dice], str], tuple[str, ...]], ...] = (
    (lambda dice: f"（{dice.randint(2010, 2025)}）京01民终{dice.randint(1, 99999)}号", ("见{}判决。",)),
    (lambda dice: digits(dice, 20), ("发票号码{}。", "订单号{}，", "快递单号：{}，")),
    (lambda dice: f"91{digits(dice, 6)}MA{digits(dice, 7)}X", ("统一社会信用代码{}。",)),
    (lambda dice: f"{dice.randint(2015, 2025)}{digits(dice, 8)}", ("合同编号{}，", "案件受理编号{}。")),
    (lambda dice: f"{dice.randint(10000, 99999999)}.{dice.randint(10, 99)}元", ("合计{}，", "赔偿{}。")),
    (
        lambda dice: f"{dice.randint(2001, 2025)}年{dice.randint(1, 12)}月{dice.randint(1, 28)}日",
        ("合同于{}签订。", "自{}起施行。", "于{}生效，"),
    ),
    (lambda dice: f"第{dice.randint(1, 1260)}条", ("依据民法典{}，",)),
)


class Witness(Masker):
    """A masker that tells what it replaced, and under which name."""

    def __init__(self) -> None:
        super().__init__("benchmark")
        self.replaced: list[tuple[str, str]] = []

    def pseudonym(self, kind: str, value: str, document: str) -> str:
        self.replaced.append((kind, value))
        return super().pseudonym(kind, value, document)


def plant(text: str, additions: list[str], dice: Dice) -> str:
    """The text with a sentence added after some of its own."""
    parts = re.findall(r"[^。！？\n]+[。！？\n]*", text[:LENGTH]) or [""]
    for addition in additions:
        parts.insert(dice.randint(0, len(parts)), addition)
    return "".join(parts)


def planted(texts: list[str], seed: int) -> dict[str, Any]:
    """{kind: {planted, recall, replaced, precision, scan}} and {wrong check digit: {kind: …}}."""
    dice = Dice(seed)
    rows: dict[str, Counter[str]] = defaultdict(Counter)
    wrong: dict[str, Counter[str]] = defaultdict(Counter)
    missed: dict[str, Counter[str]] = defaultdict(Counter)
    for number, text in enumerate(texts):
        values: dict[str, tuple[str, str]] = {}
        for kind, (_, make, sentences) in KINDS.items():
            if dice.random() < 0.3:
                value, sentence = make(dice), dice.choice(sentences)
                values[value] = (kind, sentence)
        slips = {}
        for kind, (make, sentences) in WRONG.items():
            if dice.random() < 0.3:
                slips[make(dice)] = (kind, dice.choice(sentences))
        others = [dice.choice(sentences).format(make(dice)) for make, sentences in dice.sample(NEITHER, 3)]
        additions = [sentence.format(value) for value, (_, sentence) in (values | slips).items()] + others
        dice.shuffle(additions)
        document = plant(text, additions, dice)
        masker = Witness()
        people = masker.speakers(document)
        masked = masker.mask_people(masker.mask(document, str(number)), people)
        masker.replaced += [("姓名", name) for name in people]
        shown = {value: sentence.format(value) for value, (_, sentence) in values.items()}
        for value, (kind, sentence) in values.items():
            found = value not in masked
            rows[kind].update(planted=1, found=found, scanned=bool(scan(shown[value])))
            if not found:
                missed[kind][sentence] += 1
        for value, (kind, _) in slips.items():
            wrong[kind].update(planted=1, replaced=value not in masked)
        right: dict[str, set[str]] = defaultdict(set)
        for value, (kind, _) in values.items():
            right[KINDS[kind][0]].add(re.sub(r"[\s-]", "", value))
        for name, value in masker.replaced:
            rows[name].update(replaced=1, right=any(re.sub(r"[\s-]", "", value) in one or one in value for one in right[name]))
    found = {}
    for kind, (name, _, _) in KINDS.items():
        row, named = rows[kind], rows[name]
        found[kind] = {
            "replaced as": name,
            "planted": row["planted"],
            "recall": round(row["found"] / row["planted"], 4),
            "replaced under its name": named["replaced"],
            "precision": round(named["right"] / named["replaced"], 4) if named["replaced"] else None,
            "scan": round(row["scanned"] / row["planted"], 4),
        }
        if "-v" in sys.argv and missed[kind]:
            print(kind, dict(missed[kind]))
    slipped = {kind: {"planted": row["planted"], "replaced under another name": row["replaced"]} for kind, row in wrong.items()}
    return {"kinds": found, "wrong_check_digit": slipped}


SURNAMES = "商 巢 佘 仝 亓 仉 佟 冼 尚 展 库 应 扈 撒 敬 楚 涂 牟 苑 覃 谌 迟 鲜于 欧阳 李 王 陈 高 方 曾 于 和".split()
GIVEN = "海灯 立 晓朗 明远 法镇 书文 连续 亚男 平和 学村 安平 红 金福 建社 颉人 向东 若兰 庆".split()
LABELS = """原告 被告 被告人 上诉人 被上诉人 再审申请人（一审被告、二审上诉人） 一审被告、二审上诉人 附带民事诉讼原告人
共同委托诉讼代理人 委托代理人 法定代表人 辩护人 申请执行人 原审第三人 案外人 经营者 被害人""".split()
BEHIND = """，男，汉族，个体户。 ，女，住云州市。 ，该公司经理。 ，河灯律师事务所律师。 ，系公司员工。
（曾用名河灯），男。 ，无业。""".split()


def headers(texts: list[str], seed: int) -> dict[str, Any]:
    """{kind: {planted, recall, precision}} of made headers before real texts.

    Kinds: a role at the beginning of a line, in its middle, a list of the accused in running text.
    """
    dice = Dice(seed)
    rows: dict[str, Counter[str]] = defaultdict(Counter)
    for text in texts[:HEADERS]:
        names = {dice.choice(SURNAMES) + dice.choice(GIVEN) for _ in range(3)}
        kind = dice.choice(("beginning of a line", "middle of a line", "running text"))
        parts = [f"{dice.choice(LABELS)}：{name}{dice.choice(BEHIND)}" for name in names]
        if kind == "beginning of a line":
            head = "\n".join(parts)
        elif kind == "middle of a line":
            head = "原告：河灯有限公司，住所地云州市。" + "".join(parts)
        else:
            head = f"云州市人民检察院指控被告人{'、'.join(names)}犯盗窃罪一案，"
        masker = Masker("benchmark")
        found = masker.people(f"{head}\n{text[:LENGTH]}")
        left = masker.mask_people(head, found)
        known = masker.people(text[:LENGTH])
        new = [name for name in found if name not in known and name != "河灯"]
        right = sum(name in names for name in new)
        absent = sum(name not in left for name in names)
        rows[kind].update(planted=len(names), found=absent, masked=len(new), right=right)
        if "-v" in sys.argv and (absent < len(names) or right < len(new)):
            print(kind, head, found)
    return {
        kind: {
            "planted": row["planted"],
            "recall": round(row["found"] / row["planted"], 4),
            "precision": round(row["right"] / max(row["masked"], 1), 4),
        }
        for kind, row in sorted(rows.items())
    }


ROLE = re.compile(r"人$|原告|被告|第三人|审判长|审判员|书记员|法官助理|陪审员")
NOBODY = re.compile(
    r"公司|法院|银行|政府|委员会|中心|学校|医院|厂$|局$|部队|集团|合作社|事务所|村|社区|协会|大学|学院|场$|站$|社$|行$|所$|部$|店$|某"
)


def header_names(text: str) -> set[str]:
    """People of the headers and signatures: what follows a role at the beginning of a line, up to the punctuation."""
    names = set()
    for line in text.splitlines():
        head, colon, rest = line.partition("：")
        if colon and len(head) <= 40 and ROLE.search(re.sub(r"（.*?）", "", head)):
            whole = re.split(r"[，。；]", rest.strip())[0]
            name = "" if NOBODY.search(whole) else re.split(r"[（、\s]", whole)[0]
        else:
            bare = re.sub(r"[\s　]", "", line)
            role = re.match(r"(?:代理|助理)?审判[长员]|人民陪审员|(?:代理)?书记员|法官助理", bare)
            name = bare[role.end() :] if role else ""
        if 2 <= len(name) <= 4 and re.fullmatch(r"[\u4e00-\u9fff]+", name) and not NOBODY.search(name):
            names.add(name)
    return names


def parties(folder: Path) -> dict[str, Any]:
    """Names of the headers that the masked judgment still holds, per half of the judgments."""
    rows: dict[str, Counter[str]] = defaultdict(Counter)
    for path in sorted((folder / "judgments_txt").glob("*.txt")):
        half = "made with" if int(hashlib.md5(path.name.encode()).hexdigest(), 16) % 2 == 0 else "judged afterwards"
        text = path.read_text("utf-8")
        masker = Masker("benchmark")
        people = masker.people(text)
        masked = masker.mask_people(masker.mask(text, path.name), people)
        rows[half]["masked names"] += len({re.sub(r"\s", "", name) for name in people})
        for name in header_names(text):
            rows[half].update(names=1, left=name in masked)
            if name in masked and "-v" in sys.argv:
                print("left:", name)
    return {
        half: {
            "names": row["names"],
            "absent": round(1 - row["left"] / max(row["names"], 1), 4),
            "names masked in all": row["masked names"],
        }
        for half, row in sorted(rows.items())
    }


def alarms(folder: Path, dice: Dice) -> dict[str, Any]:
    """What is replaced in statutes: nothing in them is personal data."""
    paths = sorted([*(folder / "statutes_justlaws_md").rglob("*.md"), *(folder / "statutes_lawrefbook_md").rglob("*.md")])
    laws = [text for text in (path.read_text("utf-8") for path in paths) if text.count("条") > 30]
    rows = {}
    for name, some in (("20 statutes", dice.sample(laws, min(STATUTES, len(laws)))), ("all statutes", laws)):
        masker = Masker("benchmark")
        for number, text in enumerate(some):
            masker.mask_people(masker.mask(text, str(number)), masker.speakers(text))
        size = sum(map(len, some))
        rows[name] = {"characters": size, "alarms": sum(masker.counts.values()), "scan": sum(len(scan(text)) for text in some)}
        rows[name]["per 10,000 characters"] = round(10000 * rows[name]["alarms"] / size, 4)
        if "-v" in sys.argv:
            print(name, dict(masker.counts))
    return rows


def main(argv: list[str]) -> int:
    argv = [one for one in argv if one != "-v"]
    seed = int(argv[0]) if argv else 1
    folder = Path(argv[1]) if len(argv) > 1 else REPOSITORY.parent / "shared" / "data"
    real = (folder / "MANIFEST.md").is_file()
    texts = real_texts(folder)[0] if real else make_texts(DOCUMENTS, seed)
    texts = Dice(seed).sample(texts, min(DOCUMENTS, len(texts)))
    found = planted(texts, seed)
    result: dict[str, Any] = {
        "name": "privacy",
        "comparisons": [],
        "texts_from": "real public consultations, instructions, judgments and statutes" if real else "made here",
        "seed": seed,
        "documents": len(texts),
        **found,
        "headers": headers(texts, seed),
    }
    if real:
        result |= {"party_names": parties(folder), "first_look": FIRST_LOOK, "statutes": alarms(folder, Dice(seed))}
    result["machine"] = {"processors": os.cpu_count(), "machine": platform.machine()}
    result |= {"date": datetime.date.today().isoformat(), "command": "make bench NAME=privacy"}
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", "utf-8")
    for kind, row in found["kinds"].items():
        print(f"{kind}: recall {row['recall']} of {row['planted']}, precision {row['precision']}, scan {row['scan']}")
    for kind, row in found["wrong_check_digit"].items():
        print(
            f"{kind} with a wrong check digit: {row['replaced under another name']} of {row['planted']} "
            "replaced under another name"
        )
    for kind, row in result["headers"].items():
        print(f"header, {kind}: recall {row['recall']} of {row['planted']}, precision {row['precision']}")
    if real:
        for half, row in result["party_names"].items():
            print(f"party names, half {half}: {row['absent']} of {row['names']} absent")
        for name, row in result["statutes"].items():
            print(f"{name}: {row['alarms']} alarms in {row['characters']} characters, {row['per 10,000 characters']} per 10,000")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
