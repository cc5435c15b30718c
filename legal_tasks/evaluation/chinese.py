"""A rule of the decision in Chinese: name and one sentence, from its numbers or from why there are none."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from legal_tasks.evaluation.tables import MARKS, number, points

# Beginning of a rule's name -> (its name, what its value is, what its bound asks for); {v} value, {i} interval, {b} bound.
SAYINGS = {
    "domain accuracy": ("领域准确率", "答对 {v}{i}", "{by}须高于 {b}"),
    "replace": ("替换", "与对照模型相差 {d} 个百分点{i}", "{by}须高于 {b} 个百分点，且须有替换理由"),
    "improve": ("提升", "与对照模型相差 {d} 个百分点{i}", "{by}须高于 {b} 个百分点"),
    "no collapse": ("单科不塌", "与对照模型相差 {d} 个百分点{i}", "{by}须高于 {b} 个百分点"),
    "anti-ratchet": ("防逐月下滑", "与近年最好的在用模型相差 {d} 个百分点", "不得低于 {b} 个百分点"),
    "general ability": ("通用能力", "与原始模型相差 {d} 个百分点{i}", "不得低于 {b} 个百分点，且下界须达标"),
    "refusal": ("有害请求拒答率", "拒答 {v}{i}", "至少 {b}"),
    "over_refusal": ("无害请求误拒率", "误拒 {v}{i}", "至多 {b}"),
    "well-formed answers": ("回答完整率", "{v} 的回答有内容且自行结束", "至少 {b}"),
    "loss_gptq": ("GPTQ 压缩损失", "相对损失 {v}{i}", "须小于 {b}"),
    "loss_gguf": ("GGUF 压缩损失", "相对损失 {v}{i}", "须小于 {b}"),
    "citations": ("引用", "错误引用 {v} 处", "不得多于 {b} 处，且须有足够的回答援引条文"),
    "right articles": ("援引正确条文", "与对照模型相差 {d} 个百分点{i}", "不得一条都不对，且{by}须高于 {b} 个百分点"),
    "contamination": ("试题泄漏", "含考题的训练记录 {v} 条", "不得多于 {b} 条"),
    "parity": ("服务与评测一致", "{v} 的回答一致", "至少 {b}"),
    "p95_first_token_s": ("首字时延 P95", "{v}", "须小于 {b}"),
    "success_rate": ("请求成功率", "{v}", "至少 {b}"),
    "cost_cny": ("每月成本", "{v}", "须小于 {b}"),
    "law in force": ("法律日期", "{v}", "{b}"),
}
ROLE = r"(base|champion|challenger|\S+)"
ROLES = {"base": "原始模型", "champion": "在用模型", "challenger": "候选模型"}
LAW = r"production \(version (\S+)\) stands for the law of (\S+), this run for the older one of (\S+?)"
LAW_WORDS = "在用模型（版本 {0}）适用 {1} 的法律，本次运行适用更早的 {2} 的法律"
# Why something was not measured, as compare and rules say it -> the same in Chinese.
WHY = (
    (r"the suite (\S+) was not asked", "没有作答试题集 {0}"),
    (
        r"the suite (\S+) was not asked: list an exam of this name in the sources, or set evaluation\.harness\.standing",
        "没有作答试题集 {0}：请在数据源的考试中列出同名试题集，或设定常设套件（见评测文档）",
    ),
    (r"the profile names no domain suite and the sources list no exams", "配置未指定领域试题集，数据源也未列出考试"),
    (r"the history of releases was not given", "未提供发布历史"),
    (r"no question was answered in words", "没有以文字作答的题目"),
    (r"no (\S+) model was compared", "没有比较 {0} 模型"),
    (r"no answers in words, or no statutes to hold them against", "没有文字回答，或没有可供核对的法条"),
    (
        r"none of (\d+) answers cites an article that the statutes hold \((\d+) citations of other laws\)",
        "{0} 份回答均未援引法条库所收的条文（另有 {1} 处引用其他法律）",
    ),
    (r"the suite (\S+) holds no answer", "试题集 {0} 没有回答"),
    (r"the suite (\S+) holds prompts, not an exam", "试题集 {0} 是提示集，不是考试"),
    (r"there was no training record to look at", "没有可查的训练记录"),
    (r"there was no question to look for in the training records", "没有可在训练记录中查找的考题"),
    (r"no item was asked of (.+)", "{0} 没有作答任何题目"),
    (
        r"no champion was asked, and (\d+) releases were measured on other items",
        "在用模型未参加评测，另有 {0} 次发布所测题目不同",
    ),
    (r"no release of the last months is there to fall behind", "近月没有发布，没有可比的历史"),
    (r"no report says how many training records hold exam questions", "没有报告说明训练记录中含有多少考题"),
    (r"served and evaluated answers were not compared", "未比较服务端回答与评测回答"),
    (r"there was no load test", "未做压力测试"),
    (r"no cost was measured on the card (.+), or its price is not set", "未在 {0} 上测得成本，或其价格未设定"),
    (ROLE + r" has no answers", "{0} 没有回答"),
    (
        ROLE + r" answered other items than the challenger \((\d+) against (\d+), (\d+) not shared\)",
        "{0} 与候选模型作答的题目不同（{1} 题对 {2} 题，{3} 题不一致）",
    ),
    (
        ROLE + r" answered other items than the challenger under the same ids \((\d+) of (\d+)\)",
        "{0} 与候选模型在相同编号下作答的题目不同（{2} 题中有 {1} 题）",
    ),
    (ROLE + r" answered an item twice", "{0} 对同一题作答两次"),
    (ROLE + r" has no verdict on (\d+) of (\d+) items", "{0} 的 {2} 题中有 {1} 题没有判定"),
    (r"(\d+) of the (\d+) items that were asked have no answer", "所出 {1} 题中有 {0} 题没有回答"),
    (r"there is no champion yet, hence no history to fall behind", "尚无在用模型，没有可比的历史"),
    (r"the profile names no card whose cost could be measured", "配置未指定可测成本的显卡"),
    (LAW + ", as asked for", LAW_WORDS + "，已注明"),
    (LAW + ": set older_law .*", LAW_WORDS + "：请在触发表单中勾选 older_law，或留空 month"),
    (r"(\S+) on (\S+): no answers", "{0} 在 {1} 上没有回答"),
    (r"(\S+) on (\S+): answered items that the merged model did not", "{0} 在 {1} 上作答了合并模型未作答的题目"),
)
# What a sentence adds to its numbers.
NOTES = (
    (r"(\S+ %) of \d+ answers cite the right article", "援引正确条文的回答占 {0}"),
    (r"fewer than (\d+) (?:items|prompts) decide nothing", "不足 {0} 题，无法判定"),
    (r"(\d+) answers cite an article: fewer than (\d+) answers decide nothing", "{0} 份回答援引条文，不足 {1} 份，无法判定"),
    (r"this is near chance \(([^)]+)\)", "接近随机水平（{0}）"),
)
BY = {
    "point": "点值",
    "lower bound": "单侧 95% 下界",
    "bound": "单侧 95% 下界",
    "upper bound": "单侧 95% 上界",
    "point and lower bound": "点值与单侧 95% 下界",
}
OTHER = ("{v}{i}", "界限 {b}")


def name_of(rule: Mapping[str, Any]) -> str:
    """The rule's name, with the suite that it is about."""
    head, _, rest = rule["name"].partition(" (")
    known = SAYINGS.get(head)
    return (known[0] if known else head) + (f"（{rest.removesuffix(')')}）" if rest else "")


def say(rule: Mapping[str, Any]) -> str:
    """One sentence: verdict, value with interval and number of items, bound."""
    verdict = MARKS[rule["verdict"]]
    if rule["value"] is None:
        return f"{verdict}：{'；'.join(map(why, rule['sentence'].split('; ')))}"
    what, wanted = SAYINGS.get(rule["name"].partition(" (")[0], ("", *OTHER))[1:]
    apart = "{d}" in what
    shown = points if apart else (lambda value: number(value, rule["suite"]))
    low, high = rule["interval"] or (None, None)
    parts = {
        "v": number(rule["value"], rule["suite"]),
        "d": points(rule["value"]),
        "b": shown(rule["bound"]),
        "by": BY.get(rule["by"], ""),
        "i": "" if low is None else f" [{shown(low)}, {shown(high)}]",
    }
    count = "" if rule["n"] is None else f"（n = {rule['n']}）"
    notes = [words.format(*found.groups()) for pattern, words in NOTES if (found := re.search(pattern, rule["sentence"]))]
    return "；".join([f"{verdict}：{what.format(**parts)}{count}", wanted.format(**parts), *notes])


def why(sentence: str) -> str:
    """The reason why something was not measured; as it stands where nobody has said it in Chinese."""
    for pattern, words in WHY:
        found = re.fullmatch(pattern, sentence)
        if found:
            return words.format(*(ROLES.get(part, part) for part in found.groups()))
    return sentence


def reasons(decision: Mapping[str, Any]) -> list[str]:
    """Why the decision is what it is: what stops the model, or that nothing does."""
    stopped = [rule for rule in decision["rules"] if rule["verdict"] not in ("pass", "not applicable")]
    return [f"{name_of(rule)}：{say(rule)}" for rule in stopped] or ["各项规则均通过"]
