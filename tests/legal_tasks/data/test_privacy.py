"""Personal data is masked; what only looks like it stays."""

import json
from pathlib import Path

import pytest

from legal_tasks.data.privacy import MEASURED, Masker, valid_card, valid_resident_id
from legal_tasks.data.scan import scan


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("身份证号11010519491231002X。", "身份证号"),
        ("请拨打138-1234-5678联系", "手机号"),
        ("邮箱 zhang.san@mail.example.cn 收", "邮箱"),
        ("卡号6222 0212 3456 7890 128", "银行卡号"),
        ("座机010-62345678转", "固定电话"),
        ("驾驶京A12345撞伤", "车牌号"),
        ("QQ：12345678", "QQ号"),
        ("微信号：zhang_san88", "微信号"),
        ("男，1985年3月2日出生，汉族", "出生日期"),
        ("李某，住云州市河东区灯市路24号。", "住址"),
        ("持护照E12345678入境", "护照号"),
        ("持E12345678号护照入境", "护照号"),
        ("身份证号 110105 19491231 002X。", "身份证号"),
        ("身份证号110105194912310021。", "证件号"),
        ("账号120912345678901234收", "账号"),
        ("电话(010)62345678转", "固定电话"),
        ("打１３８１２３４５６７８找我", "手机号"),
        ("微信zhang_san88加我", "微信号"),
        ("地址：云州市河东区灯市路24号院3号楼402室可以去", "住址"),
        ("寄到浙江省云州市灯市路24号院3号楼402室就行", "住址"),
        ("住云州市河东区灯市路24号2栋-402。", "住址"),
        ("打0086 13812345678找他", "手机号"),
        ("座机021－62345678转", "固定电话"),
        ("驾驶京A·D12345相撞", "车牌号"),
        ("驾驶粤Z1234港入境", "车牌号"),
        ("QQ号码是：12345678", "QQ号"),
        ("VX：zhang_san88", "微信号"),
        ("微信ID：zhang_san88", "微信号"),
        ("男，1985-03-02出生", "出生日期"),
        ("出生于一九八五年三月二日", "出生日期"),
        ("女，1985.3.2生，", "出生日期"),
        ("Ｅ-mail ｚｈａｎｇ＠ｍａｉｌ．ｃｎ", "邮箱"),
        ("银行卡6222 0212 3456 7890 129", "账号"),
        ("他登记时填的是110105194912310021，", "证件号"),
        ("男，1985年3月2出生，汉族", "出生日期"),
        ("出生于一九八五年三月二，", "出生日期"),
    ],
)
def test_each_kind_is_masked(text, kind):
    masker = Masker("salt")
    masked = masker.mask(text, "doc")
    assert f"【{kind}" in masked and masker.counts[kind] == 1 and scan(masked) == []


@pytest.mark.parametrize(
    "text",
    [
        "第一千一百九十八条",
        "（2015）刑立他字第3号",
        "罚款1000000元",
        "2021年1月1日",
        "案号110105194912310021",
        "共13800000000元",
        "事故发生于2020年3月1日，",
        "纠纷产生于2020-03-01，",
    ],
)
def test_numbers_of_law_survive(text):
    assert Masker("salt").mask(text, "doc") == text


def test_pseudonyms_are_stable_within_a_document_only():
    masker = Masker("salt")
    first = masker.mask("电话13812345678，再打13812345678", "a")
    assert first.split("，")[0][2:] == first.split("再打")[1]
    assert masker.mask("电话13812345678", "b") != first.split("，")[0]
    assert Masker("other").mask("电话13812345678", "a") != first.split("，")[0]


def test_checksums():
    assert valid_resident_id("11010519491231002X") and not valid_resident_id("110105194912310021")
    assert valid_card("4111111111111111") and not valid_card("4111111111111112")


def test_people_of_a_judgment_are_renamed_and_organisations_stay():
    text = "title:王小明与云州河灯有限公司合同纠纷一案\n原告：王小明，男。\n被告：云州公司。\n王小明诉称云州公司违约。"
    masker = Masker("salt")
    masked = masker.mask_people(text, masker.people(text))
    assert "王小明" not in masked and "王某1诉称云州公司违约" in masked


@pytest.mark.parametrize(
    ("text", "people"),
    [
        ("云州市人民检察院指控被告人陆海灯、孙明犯诈骗罪一案", ["陆海灯", "孙明"]),
        ("审判长陈佳灯\n代理审判员 田朗\n书记员钱雪娟\n", ["陈佳灯", "钱雪娟", "田朗"]),
        ("法定代表人：乔万尼·瓦利，该公司总监。", ["乔万尼·瓦利"]),
        ("被告人莫新灯酒后驾车。莫新灯归案后如实供述。", ["莫新灯"]),
        ("原告向被告主张权利，被告人从事经营，证人陈述属实，证人陈述一致。", []),
        ("被告：甘谷县灯市种畜场。第三人吉林市政府。", []),
        ("原告：陆海灯、孙明。\n委托诉讼代理人：田朗，律师。", ["陆海灯", "孙明", "田朗"]),
        ("原告田朗（曾用名田大朗），男。\n被告人莫新，绰号“莫麻子”，男。", ["田朗", "田大朗", "莫新", "莫麻子"]),
        ("审　判　长　　田　朗\n审 判 员  孙 明\n书　记　员　　钱雪娟\n", ["孙 明", "孙明", "田　朗", "田朗", "钱雪娟"]),
        ("被告人艾力•牙森，男。\n被告一：陆海灯，男。\n被告2：孙明，女。", ["艾力•牙森", "陆海灯", "孙明"]),
        (
            "被害人陆海灯、孙明陈述。证人田朗的证言。罪犯莫新灯，男。\n自诉人：陈佳灯。",
            ["陆海灯", "孙明", "田朗", "莫新灯", "陈佳灯"],
        ),
        ("原告诉称，还款。\n被告辩称，已还。\n被告同意，调解。\n原告当庭，撤诉。\n被告未答辩。\n证人出庭，作证。", []),
        ("审判员独任审判，\n负责人签字，\n原告关于在此的主张。\n被告于当日，还款。\n被告明知，还款。", []),
        ("被申请人：河灯铸造（云州）有限公司。", []),
    ],
)
def test_people_are_found_in_lists_signatures_and_running_text(text, people):
    assert sorted(Masker("salt").people(text)) == sorted(people)


@pytest.mark.parametrize("text", ["子女已满八周岁的，2021年1月1日生效", "住所地的人民法院管辖", "居住地与户籍地不一致的"])
def test_words_of_law_are_no_birth_date_and_no_address(text):
    assert Masker("salt").mask(text, "doc") == text


def test_the_scan_finds_what_nobody_masked():
    assert scan("我的号码 13812345678，身份证11010519491231002X，a@b.com") == ["mobile", "resident id", "e-mail"]
    assert scan("卡6222021234567890128") == (["bank card"] if valid_card("6222021234567890128") else [])
    assert scan("卡6222021234567894") == (["bank card"] if valid_card("6222021234567894") else [])
    assert any(scan(f"卡622202123456789{last}") == ["bank card"] for last in range(10))


def test_people_who_are_introduced_in_a_dialog():
    text = "我叫陆海灯，房东孙明，不退押金。孙明，说要扣钱。丈夫马上，就到。张三，是举例。"
    assert Masker("salt").speakers(text) == ["陆海灯", "孙明"]
    assert Masker("salt").speakers("我叔叔在厂里叫孙明灯请问他哪天发工资") == ["孙明灯"]
    assert Masker("salt").speakers("他叫马上还的时候，我叫刘律师的人来。") == []
    text = "本人田朗，借款人陈佳灯，至今不还。我是钱雪娟，"
    assert sorted(Masker("salt").speakers(text)) == ["田朗", "钱雪娟", "陈佳灯"]


@pytest.mark.parametrize("text", ["我是东北人，", "我是农民，", "借款人金额，", "原告方联系，", "债务人关系中，", "被告人权利，"])
def test_words_behind_a_role_are_no_names(text):
    assert Masker("salt").speakers(text) == []


@pytest.mark.parametrize(
    ("text", "people"),
    [
        ("被告人商明远，男，1980年5月出生。", ["商明远"]),
        ("被告：巢立，女，住云州市。", ["巢立"]),
        ("被告巢海灯，男，个体户。商海灯、巢海灯系夫妻。", ["巢海灯", "商海灯"]),
        ("原告：陆海灯。被告：孙明。共同委托诉讼代理人：田朗，河灯律师事务所律师。", ["陆海灯", "孙明", "田朗"]),
        ("河灯有限公司，法定代表人：刘法镇，该公司经理；委托代理人：李镇，员工。", ["刘法镇", "李镇"]),
        ("原告：王文化，男。\n原告：陈书法，女。\n委托代理人：刘建村，律师。", ["王文化", "陈书法", "刘建村"]),
        ("审判员沈颉人\n审判员房平和\n书记员刘亚男\n", ["沈颉人", "房平和", "刘亚男"]),
        ("审判长陆海灯审判员孙明人民陪审员巢立二〇二〇年一月一日书记员商晓", ["陆海灯", "孙明", "巢立", "商晓"]),
        ("一审被告、二审上诉人：商晓灯。", ["商晓灯"]),
        ("一审原告、反诉被告、二审被上诉人陆海灯，女，汉族。", ["陆海灯"]),
        ("案外人沈海灯与项目人员田朗到场。项目人员孙明灯签字。", ["沈海灯", "田朗", "孙明灯"]),
        ("title:陆海灯、孙明灯盗窃案\n经审理查明。", ["陆海灯", "孙明灯"]),
        ("title:强奸罪申诉决定书\n本院认为。", []),
        ("title:郑海窝藏、包庇罪申诉决定书\n本院认为。", ["郑海"]),
        ("云州市人民检察院指控被告人撒海灯、李连续、仝平和犯盗窃罪一案，", ["撒海灯", "李连续", "仝平和"]),
        ("原审被告平安银行股份有限公司武汉分行，负责人：巢立，行长。", ["巢立"]),
        ("被申请人河灯龙华建筑有限公司称。原告与被告龙华公司签订合同。", []),
        ("被告人宫外孕手术后，被告曾于2019年还款。被告曾用名河灯厂。", []),
        ("原告李小灯、李小朗系兄弟。李小灯称已付。李小朗称未付。", ["李小灯", "李小朗"]),
        ("被告广厦建设集团合同纠纷一案，广厦集团称。因债权人代位权纠纷一案，原审第三人不服。", []),
        ("原审被告人仉明，男。证人亓明灯的证言证实，", ["仉明", "亓明灯"]),
        ("被害人连续受伤，证人王连续，男，证实。", ["王连续"]),
        ("法定代表人：JOHN LAMP，该公司董事。", ["JOHN LAMP", "JOHNLAMP"]),
        ("强奸妇女、奸淫幼女的，父母或者其他监护人，注册会计师出具报告，审判员和人民陪审员共三人。", []),
    ],
)
def test_people_of_headers_lists_and_titles(text, people):
    assert sorted(Masker("salt").people(text)) == sorted(people)


@pytest.mark.parametrize(
    "text",
    [
        "父亲那边的亲戚，我是农转非，母亲那边。父亲那边说，",
        "我是宫外孕，",
        "户名是我，账号已改，",
        "朋友高利贷借钱，朋友高利贷很多",
        "（卡号）透支，男，19岁",
    ],
)
def test_words_of_a_dialog_are_no_names(text):
    assert Masker("salt").speakers(text) == []


def test_one_person_has_one_pseudonym_that_no_other_bears():
    text = "原告张某1，男。被告：陆海灯（曾用名陆大灯），男。陆大灯辩称，借给陆海灯53.4万元。安平县法院。证人：安平，男。"
    masker = Masker("salt")
    masked = masker.mask_people(text, masker.people(text))
    assert masked == "原告张某1，男。被告：陆某2（曾用名陆某2），男。陆某2辩称，借给陆某2 53.4万元。安平县法院。证人：安某3，男。"


@pytest.mark.parametrize(("kind", "found"), [("instruction", True), ("case", True), ("contract", False), ("statute", False)])
def test_names_in_a_piece_of_a_judgment_are_looked_for_in_instructions_too(kind, found):
    assert Masker("salt").named("判断争议焦点：被害人陆海灯陈述，陆海灯收到货款。", kind) == (["陆海灯"] if found else [])


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("座机010-62345678", "landline"),
        ("打(0755)82345678", "landline"),
        ("驾驶京A12345", "plate"),
        ("护照号E12345678", "passport"),
        ("QQ：12345678", "QQ"),
        ("微信号：zhang_88", "WeChat"),
        ("微信号：zhang88", "WeChat"),
        ("1985年3月2日出生", "birth date"),
        ("生于1985-03-02", "birth date"),
        ("于2021年1月1日生效", ""),
        ("火灾发生于2019年4月30日4时", ""),
        ("QQ12345678", "QQ"),
        ("扣扣12345678", "QQ"),
        ("打0086-13812345678", "mobile"),
        ("家住灯市路24号", "address"),
        ("登记的是110105194912310021，", "resident id"),
        ("案号110105194912310021", ""),
        ("【手机号1a2b】【QQ号1234】【住址5e6f】【微信号ab12】", ""),
        ("第一千一百九十八条，2021年1月1日，（2015）刑立他字第3号", ""),
    ],
)
def test_the_scan_knows_the_kinds_without_the_maskers_patterns(text, kind):
    assert scan(text) == ([kind] if kind else [])


def test_the_card_tells_the_measured_recall():
    path = Path(__file__).resolve().parents[3] / "benchmarks" / "results" / "privacy.json"
    found = {}
    for row in json.loads(path.read_text("utf-8"))["kinds"].values():
        found[row["replaced as"]] = min(row["recall"], found.get(row["replaced as"], 1.0))
    # A run with another seed, or on other texts, draws other values: it may differ by a little, not by more.
    assert found == pytest.approx(MEASURED, abs=0.05)
