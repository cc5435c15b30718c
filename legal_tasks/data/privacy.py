"""Personal data: found by pattern and checksum, replaced by pseudonyms that stay the same within a document."""

from __future__ import annotations

import hashlib
import hmac
import re
import unicodedata
from collections import Counter
from collections.abc import Callable

WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


def valid_resident_id(text: str) -> bool:
    """GB 11643: a date and the check character of 18; of 15 only the date."""
    text = _bare(text)
    month, day = (int(text[10:12]), int(text[12:14])) if len(text) == 18 else (int(text[8:10]), int(text[10:12]))
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return False
    if len(text) == 15:
        return True
    return "10X98765432"[sum(int(digit) * weight for digit, weight in zip(text, WEIGHTS, strict=False)) % 11] == text[17].upper()


def valid_card(text: str) -> bool:
    """Luhn's check of a bank card number of 16 to 19 digits that has not the form of a resident id."""
    plain = _bare(text)
    if not 16 <= len(plain) <= 19 or re.fullmatch(r"[1-8]\d{5}(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{4}", plain):
        return False
    digits = [int(char) for char in reversed(plain)]
    return sum(digit if place % 2 == 0 else digit * 2 - 9 * (digit > 4) for place, digit in enumerate(digits)) % 10 == 0


def _bare(text: str) -> str:
    return re.sub(r"[\s-]", "", text)


def _always(text: str) -> bool:
    return True


HOUSE = r"(?:[\d一二三四五六七八九十百]+(?:号楼|号院|号|室|栋|幢|组|单元|楼|层|弄|座)|\d+户)"
LIVES = (
    "(?:家住|现住|现居|暂住|租住|居住|住址|地址|住在|住于|家在|住所地?|居住地|户籍所在地|户籍地|户口所在地|(?:(?<=[，,、。；;：:（(])|(?m:^))住)"
    r"[:：为是在于]?\s{0,2}"
)
PROVINCES = """北京 天津 上海 重庆 河北 山西 辽宁 吉林 黑龙江 江苏 浙江 安徽 福建 江西 山东 河南 湖北 湖南 广东 海南 四川
贵州 云南 陕西 甘肃 青海 内蒙古 广西 西藏 宁夏 新疆"""
# A place by its province, or by a city of two characters with a district; then a street and a house.
PLACE = (
    rf"(?:(?:{'|'.join(PROVINCES.split())})(?:[\u4e00-\u9fff]{{0,5}}(?:省|自治区)|市)?"
    r"|[\u4e00-\u9fff]{2}市[\u4e00-\u9fff]{1,4}[区县])"
)
STREET = r"[\u4e00-\u9fff\d]{0,20}?(?:路|街|巷|大道|弄|胡同|里|村|小区|花园|社区)[\u4e00-\u9fffA-Za-z\d\-—]{0,16}?"
DASH = "[-－—–]"
DATE = (
    r"(?:(?:19|20)\d\d\s?(?:年\s?\d{1,2}\s?月(?:\s?\d{1,2}\s?[日号])?|[./-]\s?\d{1,2}\s?[./-]\s?\d{1,2}日?)"
    r"|[一二][九〇零○0][一二三四五六七八九〇零○]{2}年[一二三四五六七八九十]{1,2}月(?:[一二三四五六七八九十]{1,3}日)?)"
)
# kind, pattern (the group to replace is the last one, or the whole), what must hold besides
KINDS: tuple[tuple[str, re.Pattern[str], Callable[[str], bool]], ...] = (
    ("邮箱", re.compile(r"[A-Za-z0-9._%+-]+[@＠][A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}"), _always),
    ("身份证号", re.compile(r"(?<![\dA-Za-z])[1-9]\d{5}[ -]?(?:19|20)\d{6}[ -]?\d{3}[\dXx](?![\dA-Za-z])"), valid_resident_id),
    ("身份证号", re.compile(r"(?:身份证|公民身份|身份号|证件号)[^\d\n]{0,12}([1-9]\d{14})(?!\d)"), valid_resident_id),
    # Named as an id, but its check fails: somebody's number with a slip, or cut.
    ("证件号", re.compile(r"(?:身份证|公民身份|身份号|证件号)[^\d\n]{0,12}([1-9]\d{16}[\dXx]|[1-9]\d{14})(?!\d)"), _always),
    ("银行卡号", re.compile(r"(?<![\dA-Za-z])[3-69]\d{3}(?:[ -]?\d{4}){2,3}(?:[ -]?\d{1,4})?(?![\dA-Za-z])"), valid_card),
    # Accounts of companies, and cards with a slip, have no check digit that holds.
    (
        "账号",
        re.compile(r"(?:卡号|账号|帐号|账户|帐户|银行卡)[^\d\n]{0,8}(\d{4}(?:[ -]?\d{4}){2,3}(?:[ -]?\d{1,4})?|\d{12,19})(?!\d)"),
        _always,
    ),
    ("手机号", re.compile(r"(?<!\d)(?:(?:\+|00)?86[- ]?)?1[3-9]\d(?:[- ]?\d{4}){2}(?!\d|\.\d|[\s余多]?[元万亿])"), _always),
    (
        "固定电话",
        re.compile(
            rf"(?<!\d)(?:0(?:10|2\d|[3-9]\d\d)(?:{DASH}| )|[（(]0\d{{2,3}}[）)] ?)[2-8]\d{{2,3}}[- ]?\d{{4}}"
            rf"(?:{DASH}\d{{1,5}})?(?!\d)"
        ),
        _always,
    ),
    (
        "固定电话",
        re.compile(r"(?:电话|传真|座机|固话|热线)[^\d\n]{0,6}((?:0\d{2,3}[- ]?)?\d{7,8})(?!\d|[\s余多]?[元万亿])"),
        _always,
    ),
    (
        "车牌号",
        re.compile(
            r"[京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼][A-HJ-NP-Za-hj-np-z][·• -]?"
            r"(?=[A-Za-z]*\d)(?:[A-HJ-NP-Za-hj-np-z0-9]{5,6}|[A-HJ-NP-Za-hj-np-z0-9]{4}[学警挂港澳])(?![A-Za-z0-9])"
        ),
        _always,
    ),
    ("护照号", re.compile(r"护照[^A-Za-z\d\n]{0,8}([A-Z]\d{8}|[A-Z]{2}\d{7})(?!\d)"), _always),
    ("护照号", re.compile(r"(?<![A-Za-z\d])(?:[A-Z]\d{8}|[A-Z]{2}\d{7})(?=号?的?[^\n，。；]{0,6}护照)"), _always),
    ("QQ号", re.compile(r"(?:QQ|qq|扣扣|企鹅号)[^\d\n]{0,6}([1-9]\d{4,10})(?!\d)"), _always),
    ("出生日期", re.compile(rf"(?<!\d)({DATE})(?:出生|生(?![效成产存命活意病父母前于]))"), _always),
    (
        "出生日期",
        re.compile(
            rf"(?:出生日期|出生年月日?|出生时间|生日|(?<![发产])生于|诞生|出生)[:：为是在于(（\s]{{0,3}}({DATE}|(?:19|20)\d{{6}})(?!\d)"
        ),
        _always,
    ),
    (
        "住址",
        re.compile(rf"{LIVES}([\u4e00-\u9fffA-Za-z\d\-—]{{2,40}}?{HOUSE}(?:[\dA-Za-z\-—]*{HOUSE})*(?:[\-—]?\d+)*)"),
        _always,
    ),
    (
        "住址",
        re.compile(
            rf"{LIVES}([\u4e00-\u9fffA-Za-z\d\-—]{{2,40}}?[省市区县镇乡村路街巷道][\u4e00-\u9fffA-Za-z\d\-—]{{0,30}}?[号室栋幢组村楼户])"
            r"(?=[，,。；;）)\s]|$)"
        ),
        _always,
    ),
    ("住址", re.compile(rf"{PLACE}{STREET}{HOUSE}(?:[\dA-Za-z\-—]*{HOUSE})*(?:[\-—]?\d+)*"), _always),
    (
        "微信号",
        re.compile(
            r"(?:微信|[Vv]信|薇信|(?<![A-Za-z])(?i:weixin|wechat|vx|wx))(?:账号|帐号|号码|号|(?i:id))?(?:码|[:：为是\s]){0,4}"
            r"((?!(?i:pay|app|wechat|weixin))[A-Za-z][A-Za-z0-9_-]{5,19})"
        ),
        _always,
    ),
)
# Share of planted values of each kind that were found (seed 1 of benchmarks/privacy.py, whose result a test compares), for the
# data card; names in dialogs are the kind that patterns find worst, those in the headers of judgments were all found.
MEASURED = {
    "住址": 1.0,
    "出生日期": 1.0,
    "固定电话": 0.9977,
    "姓名": 0.8446,
    "微信号": 0.9989,
    "手机号": 0.9966,
    "护照号": 1.0,
    "身份证号": 1.0,
    "车牌号": 1.0,
    "邮箱": 1.0,
    "银行卡号": 1.0,
    "QQ号": 1.0,
}
# These hold so many digits at least: a text with fewer has none of them.
DIGITS, DIGIT = 5, re.compile(r"\d")
NUMBERS = {"身份证号", "证件号", "银行卡号", "账号", "手机号", "固定电话", "护照号", "QQ号"}
# Without these a text has none of the kind; they are faster to look for than the kind.
NEEDS = {
    "邮箱": re.compile("[@＠]"),
    "出生日期": re.compile("生"),
    "住址": re.compile(
        r"[\d一二三四五六七八九十百](?:号|室|栋|幢|组|单元|楼|层|弄|座|户|村)|[号室栋幢组村楼户](?:[，,。；;）)\s]|$)"
    ),
    "微信号": re.compile("[A-Za-z]"),
    "护照号": re.compile("[A-Z]"),
}
WIDE = re.compile("[０-９Ａ-Ｚａ-ｚ＠．＿－]{6,}")
ROLES = """原告人 被告人 上诉人 被上诉人 再审申请人 被申请人 申请人 申请再审人 原审被告人 原审被告 原审原告 原审第三人
第三人 一审原告 一审被告 二审上诉人 原告 被告 反诉原告 反诉被告 委托代理人 委托诉讼代理人 诉讼代理人 法定代理人
法定代表人 诉讼代表人 代表人 负责人 经营者 辩护人 申诉人 罪犯 申请执行人 被执行人 异议人 复议申请人 利害关系人 被害人 死者 证人
审判长 审判员 代理审判员 助理审判员 书记员 代理书记员 陪审员 人民陪审员 法官助理 执行员 院长
赔偿请求人 自诉人 起诉人 反诉人 监护人 担保人 买受人 竞买人 案外人 共同被告 原审上诉人 原审被上诉人"""
ROLE = "|".join(sorted(ROLES.split(), key=len, reverse=True))
# Surnames; words that often follow a role (和, 向, 从, 时, 应 …) are left out: those people are found by headers alone.
SURNAMES = """赵钱孙李周吴郑王冯陈褚卫蒋沈韩杨朱秦尤许何吕施张孔曹严华金魏陶姜戚谢邹喻柏窦章云苏潘葛奚范彭郎鲁韦昌马苗凤花方
俞任袁柳酆鲍史唐费廉岑薛雷贺倪汤滕殷罗毕郝邬安常乐于傅皮卞齐康伍余元卜顾孟平黄穆萧尹姚邵湛汪祁毛禹狄米贝明臧计
伏成戴谈宋茅庞熊纪舒屈项祝董梁杜阮蓝闵席季麻强贾路娄危江童颜郭梅盛林刁钟徐邱骆高夏蔡田樊胡凌霍虞万柯昝管卢莫房
裘缪解宗丁宣邓郁单杭洪包诸左石崔吉钮龚程嵇邢滑裴陆荣翁荀羊惠甄曲封芮羿储靳汲邴糜松井段富巫乌焦巴弓牧隗山谷车侯
宓蓬郗班仰秋仲伊宫宁仇栾暴甘厉戎祖武符刘景詹束龙叶幸司韶郜黎蓟薄印宿白怀蒲邰鄂索咸籍赖卓蔺屠蒙池乔阴胥苍双闻莘
党翟谭贡劳逄姬申扶堵冉宰郦雍却璩桑桂濮牛寿边扈燕冀郏浦农温别庄晏柴瞿阎充慕茹习宦艾鱼容古易慎戈廖庾暨居衡步耿满
弘匡国文寇广禄阙东欧殳沃蔚越夔隆师巩厍聂晁勾敖融冷訾辛阚那简饶空曾毋沙乜鞠须丰关蒯查荆撒红游竺权逯盖益桓公占肖闫
付代覃母钭岳"""
SURNAME = "(?:欧阳|司马|上官|诸葛|东方|皇甫|尉迟|公孙|慕容|令狐|司徒|夏侯|[" + re.sub(r"\s", "", SURNAMES) + "])"
NAME = rf"{SURNAME}[\u4e00-\u9fff]{{1,2}}"
STOP = (
    r"(?=[，,。；、：:（(\s　]|$|犯|因|与|诉|一案|等|诈骗|非法|涉嫌|不服|提出|申请|提交|的|在|于|以|伙同|及|和"
    r"|陈述|证言|供述|辩称|述称|到庭"
    r"|认为|主张|请求|离婚|系|均|共同|未|已|将|对|向|从|被|为|至今|之间|借款|民间)"
)
DOT = "[·•‧・]"
SPACED = r"[\u4e00-\u9fff][ 　]{1,6}[\u4e00-\u9fff]"
FOREIGN = rf"[\u4e00-\u9fff]{{1,8}}(?:{DOT}[\u4e00-\u9fff]{{1,8}})+"
COMPANY = r"(?![（(][^）)\n]{1,12}[）)][\u4e00-\u9fff]{0,20}(?:公司|集团|厂|中心|事务所))"
# In a header: the role and its number, its notes in brackets, a colon and names, or a name with a known surname, up to the
# punctuation; foreign names carry a dot.
PARTY = re.compile(
    rf"(?m)(?:^|[。\n])[\s　]*(?:{ROLE})[一二三四五六七八九十\d]{{0,2}}(?:[（(][^（）()\n]{{0,30}}[）)])*[ 　]*"
    rf"(?:[:：][ 　]*((?:{FOREIGN}|{SPACED}|[\u4e00-\u9fff]{{2,4}})(?:、(?:{FOREIGN}|[\u4e00-\u9fff]{{2,4}}))*)"
    rf"|({FOREIGN}|{SURNAME}[ 　]{{1,6}}[\u4e00-\u9fff]|{NAME}))(?=[，,。（(\s　]|$){COMPANY}"
)
# A signature: the characters of the role and of the name may stand apart.
JUDGES = "审判长 审判员 代理审判员 助理审判员 陪审员 人民陪审员 书记员 代理书记员 法官助理 执行员 院长".split()
SIGNED = re.compile(
    rf"(?m)^[ 　]*(?:{'|'.join('[ 　]*'.join(role) for role in sorted(JUDGES, key=len, reverse=True))})[ 　:：]*"
    rf"({FOREIGN}|[\u4e00-\u9fff]{{2,4}}|{SPACED})[ 　]*$"
)
ALIAS = re.compile(
    r"(?:又名|曾用名|化名|别名|绰号|外号|小名|自称|原名)[:：]?[“\"「‘]?([\u4e00-\u9fff]{2,4})(?=[”\"」’，,。；;、）)]|$)"
)
# In running text: the role and one name or several, each with a known surname.
LISTED = re.compile(rf"(?:{ROLE})((?:{NAME}、)*{NAME}?){STOP}")
# A relative or an accomplice, with three characters: two are too often a word.
RELATIVE = re.compile(
    rf"(?:其(?:[子女妻夫兄弟姐妹父母]|前[妻夫])|之[子女妻夫父母]|妻子|丈夫|儿子|女儿|父亲|母亲|哥哥|弟弟|姐姐|妹妹|伙同|同伙|同案人|案外人)"
    rf"({SURNAME}[\u4e00-\u9fff]{{2}}){STOP}"
)
# A role and three characters that come again: the name is as long as what always comes together.
RUNNING = re.compile(rf"(?:{ROLE})({SURNAME}[\u4e00-\u9fff]{{2}})")
ORGANISATION = re.compile(
    r"公司|银行|法院|政府|委员会|律师|医院|学校|中心|集团|某|局$|厂$|部$|社$|场$|所$|院$|村|组$|行$|站$|店$|基金"
)
NO_NAME = re.compile(
    "[罪案书法纠纷诈骗被]|合同|申请|上诉|提出|不服|应当|没有|以及|认为|双方|本人|其他|任何|代理|仲裁|连续|经营|单位|陈述|支付|曾[因经]"
    "|^方[的同盖]|^单方|^母[亲女子]|^[子女]|[公县市区镇]$|^于[是当同次本此该其昨前某]|[辩诉述]称|出庭|到庭|起诉|当庭"
)
# Words that begin like a name: nobody is called so, nor so and one character more.
WORDS = """关于 占有 项目 安装 安排 明知 明确 明显 付清 付款 居住 解除 解决 和解 房屋 房产 车辆 施工 程序
强行 强制 强迫 查明 查封 查询 计算 计收 管理 管辖 费用 金额 范围 成立 成年 单独 双倍 索赔 索要
连带 印章 党员 易于 容易 权利 权益 关系 方式 方面 方便 公安 公款 万元 利息 利益 从事 包括 包含
路过 时任 段时间 左右 农民 别人 车祸 花费"""
# Words and places that look like a name; only whole, for there are people who are called like them and more.
WHOLE = """满意 平时 平等 常年 荣誉 安全 和平 车主 简单 石材 田地 江边 公开 习惯 屈服 柴油 高度 高额 党委
东西 路上 游玩 温和 钟点 农村 农业 别墅 古董 水电 牛羊 车上 雷同 贺卡 白天 麻将 黄金 边防 山东
山西 江苏 江西 安徽 云南 宁夏 广东 广西 甘肃 吉林 唐山 黑龙江 武汉 沈阳 蓬莱 温州 常州 苏州 郑州
贵州 贵阳 海南 安阳 安庆 成都 江阴 包头 石家庄 金华 黄山 黄石 黄冈 黄河 昌平 邵阳 单县 乐山 阳江
南通 连云港 安康 常德 常熟 荆州 荆门 农安 金山 夏津 蓝田 和田 蓟县 马鞍山 平顶山 舒城 宿迁 武威
乌鲁木齐 费县 曲阜 滕州 鲁山 桂林 梅州 梧州 柳州 江门 汪清 万州 宁波"""
WORD, WHOLE_WORDS = re.compile("|".join(WORDS.split())), frozenset(WHOLE.split())
# In a dialog: who is introduced by name; a relative's or partner's name counts if it comes again.
CUT = r"(?=[，,。；;、（(\n]|$)"
INTRODUCED = re.compile(
    rf"(?:我叫|名叫|[对他她]方?叫|姓名[:：是为]{{1,2}}|名字[是叫])({NAME}){STOP}|本人({NAME}){CUT}"
    rf"|(?:我是|原告|被告人?|被害人|借款人|出借人|债务人|债权人|担保人)[:：]?((?!方){SURNAME}[\u4e00-\u9fff]{{2}}){CUT}"
)
RELATED = re.compile(
    rf"(?:丈夫|妻子|老公|老婆|儿子|女儿|父亲|母亲|前夫|前妻|女友|男友|朋友|同事|邻居|老板|房东|甲方[:：]?|乙方[:：]?)({NAME}){STOP}"
)
NOBODY = re.compile(
    "[的方人师等性中]$|农村|农民|管理|成年|家庭|公公|公民|公款|单亲|学生|职工|员工|关系|权利|方式|金额|占有|成长|梅毒|扶养|房产|盖章|范围"
)
INVENTED = re.compile("张三|李四|王五|赵六|孙七|周八|吴九|郑十")  # names of people that nobody is


class Masker:
    """Replaces personal data; the salt makes pseudonyms unlinkable between data sets."""

    def __init__(self, salt: str) -> None:
        self.salt = salt.encode()
        self.counts: Counter[str] = Counter()

    def pseudonym(self, kind: str, value: str, document: str) -> str:
        """The same value in the same document always gets the same pseudonym."""
        plain = re.sub(r"[\s-]", "", value).lower()
        code = hmac.new(self.salt, f"{document}\0{kind}\0{plain}".encode(), hashlib.sha256).hexdigest()[:4]
        return f"【{kind}{code}】"

    def mask(self, text: str, document: str) -> str:
        """The text with every find replaced; counts go to `counts` {kind: n}.

        Wide letters and digits in long runs become plain ones.
        """
        if not text:
            return text
        text = WIDE.sub(lambda found: unicodedata.normalize("NFKC", found[0]), text)
        numbers = len(DIGIT.findall(text)) >= DIGITS
        needed = {kind: pattern.search(text) is not None for kind, pattern in NEEDS.items()}
        for kind, pattern, check in KINDS:
            if (kind in NUMBERS and not numbers) or not needed.get(kind, True):
                continue
            group = pattern.groups

            def put(found: re.Match[str], kind: str = kind, group: int = group, check: Callable[[str], bool] = check) -> str:
                if not check(found[group]):
                    return found[0]
                self.counts[kind] += 1
                start = found.start(group) - found.start()
                rest = found[0][start + len(found[group]) :]
                return found[0][:start] + self.pseudonym(kind, found[group], document) + rest

            text = pattern.sub(put, text)
        return text

    def people(self, text: str) -> list[str]:
        """Names of people in the header, the title and the running text of a judgment, longest first."""
        names = {part for found in PARTY.finditer(text) for part in (found[1] or found[2]).split("、")}
        names |= {found[1] for pattern in (SIGNED, ALIAS, RELATIVE) for found in pattern.finditer(text)}
        for found in LISTED.finditer(text):
            names |= set(filter(None, found[1].split("、")))
        for found in RUNNING.finditer(text):
            name = found[1] if text.count(found[1][:-1]) == text.count(found[1]) else found[1][:-1]
            names |= {name} if text.count(name) > 1 and len(name) > 1 else set()
        title = re.search(r"(?m)^title[:：](.*)$", text)
        if title:
            parts = re.split(r"犯|与|诉|等|[一二再]审|申请|、|因|[^\u4e00-\u9fff]", title[1])
            names |= {part for part in parts if re.fullmatch(NAME, part) and not _heads_company(part, text)}
        # A name that is written apart is also looked for together.
        names |= {re.sub(r"[ 　]", "", name) for name in names}
        people = [name for name in names if not _is_word(name)]
        return sorted(people, key=lambda name: (-len(name), text.find(name)))

    def speakers(self, text: str) -> list[str]:
        """Names of people whom a dialog or a letter introduces, longest first."""
        names = {found[1] or found[2] or found[3] for found in INTRODUCED.finditer(text)}
        names |= {found[1] for found in RELATED.finditer(text) if text.count(found[1]) > 1}
        people = [name for name in names if not (_is_word(name) or NOBODY.search(name) or INVENTED.search(name))]
        return sorted(people, key=lambda name: (-len(name), text.find(name)))

    def mask_people(self, text: str, people: list[str]) -> str:
        """The text with each of the people as 张某1, 张某2, …"""
        numbers: dict[str, int] = {}
        for name in people:
            number = numbers.setdefault(re.sub(r"[ 　]", "", name), len(numbers) + 1)
            self.counts["姓名"] += text.count(name)
            text = text.replace(name, f"{name[0]}某{number}")
        return text


def _is_word(name: str) -> bool:
    """Whether what stands where a name is expected is none: an organisation, a place, a word of the language."""
    plain = re.sub(r"[ 　]", "", name)
    return bool(ORGANISATION.search(plain) or NO_NAME.search(plain) or WORD.match(plain) or plain in WHOLE_WORDS)


def _heads_company(name: str, text: str) -> bool:
    """Whether a name is the beginning of an organisation's somewhere in the text."""
    rest = r"(?:[（(][^）)\n]{1,12}[）)])?[^诉与和、因等，。；（(\n]{0,16}?(?:公司|集团|厂|医院|银行|中心)"
    return re.search(re.escape(name) + rest, text) is not None
