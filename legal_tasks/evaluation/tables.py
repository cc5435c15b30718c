"""The comparison and the decision as Markdown tables, with the specification's own headings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from legal_tasks.evaluation.names import CITATIONS, RIGHT_ARTICLES
from legal_tasks.evaluation.rules import near_chance

NAMES = {
    "legal_exam": "法律考试（未见过的措辞）",
    "case_analysis": "案例分析",
    "general": "通用能力",
    "refusal": "有害请求拒答率",
    "over_refusal": "无害请求误拒率（越低越好）",
    "right_articles": "援引正确条文的回答",
}


ORIGINS = {
    "sources": "数据源",
    "stock": "通用题库",
    "embedded": "内置小世界",
    "standing": "常设套件",
    "derived": "由考试题派生",
    "pooled": "合计",
}


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def percent(value: float | None) -> str:
    return "—" if value is None else f"{100 * value:.1f}%"


def points(value: float | None) -> str:
    return "—" if value is None else f"{100 * value:+.1f}"


def _share_of(part: Mapping[str, Any], role: str) -> str:
    """A role's share with its interval; near chance is called so."""
    return _share(part[role]) + ("，接近随机" if near_chance(part, role) else "")


def _share(part: Mapping[str, Any] | None) -> str:
    return "—" if part is None else f"{percent(part['value'])} [{percent(part['low'])}, {percent(part['high'])}]"


def _delta(part: Mapping[str, Any] | None) -> str:
    return "—" if part is None else f"{points(part['value'])} [{points(part['low'])}, {points(part['high'])}]"


def render_comparison(result: Mapping[str, Any]) -> str:
    """comparison.md: suites, wordings apart, compressed formats, categories that moved."""
    rows, wordings, moved, faults = [], [], [], []
    for suite, part in result["suites"].items():
        if part.get("fault"):
            faults.append(f"- {suite}: not comparable: {part['fault']}")
            continue
        name = NAMES.get(RIGHT_ARTICLES if suite == CITATIONS else suite, suite)
        cells = [_share_of(part, "base"), _share_of(part, "challenger"), _delta(part["gain"])]
        rows.append(
            [name, *cells, _share_of(part, "champion"), _delta(part["difference"]), percent(part["chance"]), str(part["n"])]
        )
        if "seen" in part:
            seen = part["seen"]
            wordings.append([suite, percent(part["challenger"]["value"]), str(part["n"])])
            wordings[-1] += [percent(seen["challenger"]["value"]), str(seen["n"])]
        for category in part.get("categories", []):
            cells = [suite, category["category"], percent(category["base"]), percent(category["challenger"])]
            change = points(category["challenger"] - category["base"])
            moved.append([*cells, change, f"{category['p_adjusted']:.2g}", str(category["n"])])
    text = "# 评测对比\n\n" + table(["指标", "原始模型", "微调后", "提升", "在用模型", "与在用之差", "随机水平", "题数"], rows)
    text += "\nIntervals are two-sided 95 %, paired bootstrap by template; 提升 and 差 are in points.\n"
    text += "\n" + "\n".join(faults) + "\n" if faults else ""
    text += render_origins(result["suites"])
    if wordings:
        text += "\n## 措辞\n\n" + table(["套件", "未见措辞", "题数", "见过措辞", "题数"], wordings)
    if result["compression"]:
        text += "\n## 压缩\n\n" + table(
            ["格式", "套件", "合并模型", "压缩后", "相对损失", "同答", "题数"],
            [_compressed(name, part) for name, part in result["compression"].items()],
        )
    text += render_judge(result["judge"]) if result.get("judge") else ""
    if moved:
        headings = ["套件", "类别", "原始模型", "微调后", "提升", "p (BH)", "题数"]
        text += "\n## 类别\n\n" + table(headings, moved)
    return text


def render_judge(found: Mapping[str, Any]) -> str:
    """What the judge said, as a section; no rule stands on it."""
    rows = []
    for suite, part in found["suites"].items():
        if part.get("fault"):
            rows.append([suite, "—", "—", "—", "—", "—", "—", part["fault"]])
            continue
        counts = [str(part[key]) for key in ("n", "win", "loss", "tie", "turned", "unread")]
        rows.append([suite, *counts, f"{part['p']:.2g}"])
    against = {"base": "原始模型", "champion": "在用模型"}[found["against"]]
    headings = ["套件", "题数", "胜", "负", "平", "其中随次序而变", "无法读出", "p (符号检验)"]
    return f"\n## 评审模型 {found['model']}：微调后对{against}（两种次序，仅供参考）\n\n" + table(headings, rows)


def _compressed(name: str, part: Mapping[str, Any]) -> list[str]:
    if part.get("fault") or part["loss"] is None:
        return [name, part["suite"], "—", "—", part.get("fault") or "合并模型全错", "—", str(part["n"])]
    return [
        part["format"],
        part["suite"],
        percent(part["merged"]),
        percent(part["compressed"]),
        _share(part["loss"]),
        percent(part["agree"]),
        str(part["n"]),
    ]


def origins(suites: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """A row per suite: name, origin, file, digest (its first 12 places), items of the file, items that decided."""
    rows = []
    for name, part in suites.items():
        if part.get("origin"):
            counts = ["—" if part.get(key) is None else str(part[key]) for key in ("count", "n")]
            file = str(part.get("file") or "—").replace("|", "/")
            rows.append([name, str(part["origin"]), file, (part.get("digest") or "—")[:12], *counts])
    return rows


def render_origins(suites: Mapping[str, Mapping[str, Any]]) -> str:
    """Where each suite came from, as a section; nothing where it is not known."""
    rows = [[cell if place != 1 else ORIGINS.get(cell, cell) for place, cell in enumerate(row)] for row in origins(suites)]
    return "\n## 试题来源\n\n" + table(["套件", "来源", "文件", "摘要 SHA-256", "文件题数", "计入题数"], rows) if rows else ""


MARKS = {"pass": "通过", "fail": "未通过", "undecided": "无法判定", "not measured": "未测量", "not applicable": "不适用"}


def number(value: float | None, name: str = "") -> str:
    """A metric as people read it: shares in per cent, seconds and money in their unit."""
    if value is None:
        return "—"
    if name.endswith("_s"):
        return f"{value:.3f} s"
    if name.endswith("_cny"):
        return f"{value:,.0f} CNY"
    return f"{value:g}" if name in ("citations", "contamination") else percent(value)


def render_decision(decision: Mapping[str, Any]) -> str:
    """decision.md: the verdict first, then every rule, then the metrics."""
    title = {"pass": "可以发布", "refused": "不予发布"}[decision["decision"]]
    text = f"# {title} ({decision['decision']}, {decision['mode']})\n\n"
    text += "\n".join(f"- {reason}" for reason in decision["reasons"]) + "\n"
    if decision["domain_bound_reason"]:
        text += f"\nThe bound of the embedded exam is below the specification's: {decision['domain_bound_reason']}\n"
    for each in decision.get("set_for_this_run", ()):
        by = f" by {each['by']}" if each["by"] else ""
        text += (
            f"\n{each['setting']} was set to {each['value']} for this run{by}; the installation's is {each['installation']}.\n"
        )
    rows = [[MARKS[rule["verdict"]], rule["name"], rule["sentence"]] for rule in decision["rules"]]
    text += "\n## 规则\n\n" + table(["结论", "规则", "说明"], rows)
    cells = []
    for name, row in decision["metrics"].items():
        shown = [number(row[key], name) for key in ("base", "challenger")]
        shown += [points(row["gain"]["value"]), number(row["champion"], name), points(row["difference"]["value"])]
        shown += [number(row["bound"], name), "—" if row["n"] is None else str(row["n"]), MARKS[row["verdict"]]]
        cells.append([NAMES.get(name, name), *shown])
    headings = ["指标", "原始模型", "微调后", "提升", "在用模型", "与在用之差", "界限", "题数", "结论"]
    return text + "\n## 指标\n\n" + table(headings, cells)
