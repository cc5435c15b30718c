"""The evaluation as one self-contained page (HTML with inline SVG, Chinese and English) and as Markdown.

The verdict comes first; then rules, shares and differences with intervals, categories, groups of failures, and the
matrix question x base/champion/challenger with its filters. Nothing is loaded from outside; the page stays below 2 MB,
and what it leaves out for that is counted on it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from legal_tasks.evaluation import chinese
from legal_tasks.evaluation.names import CITATIONS, RIGHT_ARTICLES
from legal_tasks.evaluation.rules import near_chance
from legal_tasks.evaluation.tables import (
    MARKS,
    NAMES,
    ORIGINS,
    number,
    origins,
    percent,
    points,
    render_comparison,
    render_decision,
    table,
)

TEMPLATES = Path(__file__).parent / "templates"
MATRIX_BYTES = 1_200_000  # of the page's 2 MB
LONGEST = 160  # characters of a question that are shown
ROLES = ("base", "champion", "challenger")
COLOURS = {"base": "#8a8f98", "champion": "#3b6ea8", "challenger": "#c2571a"}
ENGLISH = {
    "legal_exam": "Legal exam (unseen wordings)",
    "case_analysis": "Case analysis",
    "general": "General ability",
    "refusal": "Harmful requests declined",
    "over_refusal": "Harmless requests declined (lower is better)",
    "domain": "All exams together",
    "answers": "Answers in words",
    "right_articles": "Answers that cite the right article",
}
# Tables that other steps have written, with the specification's headings: key of `extra` -> title in both languages.
TABLES = {"compression": ("压缩", "Compression"), "cost": ("成本", "Cost")}
HEADINGS = {
    "模型": "Model",
    "大小": "Size",
    "显存需求": "Memory needed",
    "效果损失": "Loss of accuracy",
    "加载时间": "Loading",
    "困惑度": "Perplexity",
    "法律准确率": "Legal accuracy",
    "配对差": "Paired difference",
    "配置": "Configuration",
    "成本/月": "Cost a month",
    "适用场景": "Fit for",
    "每千次回答": "Per 1,000 answers",
    "每百万词元": "Per million tokens",
    "依据": "Basis",
    "价格来源": "Source of the price",
}
CHINESE = NAMES | {"domain": "全部考试合计", "answers": "自由作答"}
# A suite and a number of the gate are both called `citations`: the one are the answers that cite the right article.
SUITE_NAMES = {CITATIONS: (CHINESE[RIGHT_ARTICLES], ENGLISH[RIGHT_ARTICLES])}


def write(
    folder: Path,
    decision: Mapping[str, Any],
    comparison: Mapping[str, Any],
    matrix: Iterable[Mapping[str, Any]],
    extra: Mapping[str, Any],
) -> None:
    """report.html and report.md in `folder`.

    `extra`: {data: report of data.clean, proof: what was measured when serving, compression: table.json of
    compression.compress, cost: cost.json of serving.prove}; what the run does not have is absent or None.
    """
    rows = list(matrix)
    (folder / "report.html").write_text(render_page(decision, comparison, rows, extra), "utf-8")
    (folder / "report.md").write_text(render_text(decision, comparison, rows, extra), "utf-8")


def render_page(
    decision: Mapping[str, Any],
    comparison: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    extra: Mapping[str, Any],
) -> str:
    """The page as HTML."""
    import jinja2

    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True)
    environment.filters |= {"percent": percent, "points": points, "number": number}
    environment.filters |= {"chinese": chinese.say, "chinese_name": chinese.name_of}
    environment.filters["bound_kind"] = lambda kind: chinese.BY.get(kind, kind)
    suites = {name: part for name, part in comparison["suites"].items() if not part.get("fault")}
    if comparison.get("domain") and not comparison["domain"].get("fault"):
        suites = {"domain": comparison["domain"], **suites}
    shown, left_out = choose(rows)
    return environment.get_template("report.html").render(
        decision=decision,
        reasons=chinese.reasons(decision),
        suites=suites,
        faults={name: part["fault"] for name, part in comparison["suites"].items() if part.get("fault")},
        compression=comparison.get("compression", {}),
        roles=comparison["roles"],
        names={name: (CHINESE.get(name, name), ENGLISH.get(name, name)) for name in {*suites, *decision["metrics"]}},
        marks={verdict: (mark, verdict) for verdict, mark in MARKS.items()},
        shares=draw_shares(suites),
        differences=draw_differences(suites),
        failures=failures(rows),
        matrix=json.dumps(shown, ensure_ascii=False).replace("<", "\\u003c"),
        left_out=left_out,
        total=len(rows),
        data=extra.get("data") or {},
        proof=extra.get("proof") or {},
        tables=[(both, extra[key]) for key, both in TABLES.items() if (extra.get(key) or {}).get("headings")],
        judge=comparison.get("judge"),
        headings=HEADINGS,
        origins=origins(comparison["suites"]),
        origin_names=ORIGINS,
        near={name: [role for role in ROLES if near_chance(part, role)] for name, part in suites.items()},
    )


def render_text(
    decision: Mapping[str, Any],
    comparison: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    extra: Mapping[str, Any] | None = None,
) -> str:
    """The same numbers as Markdown, without the matrix."""
    cells = [
        [group["suite"], group["category"], str(group["wrong"]), str(group["n"]), str(group["lost"]), str(group["gained"])]
        for group in failures(rows)
    ]
    text = render_decision(decision) + "\n" + render_comparison(comparison)
    for key, (zh, en) in TABLES.items():
        found = (extra or {}).get(key) or {}
        if found.get("headings"):
            text += f"\n## {zh} {en}\n\n" + table(found["headings"], [row["cells"] for row in found["rows"]])
    return text + "\n## 失败分组 Failures\n\n" + table(["套件", "类别", "答错", "题数", "新失", "新得"], cells)


def failures(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Groups of the challenger's wrong items by suite and category, the largest first: {suite, category, n, wrong, lost, gained}.

    `lost`: the base had it right; `gained`: the base had it wrong.
    """
    groups: dict[tuple[str, str], Counter[str]] = {}
    for row in rows:
        challenger, base = row.get("challenger") or {}, row.get("base") or {}
        label = row["challenger"]["picked"] if challenger and isinstance(challenger.get("picked"), str) else ""
        key = row["suite"], row.get("category") or label or "—"
        group = groups.setdefault(key, Counter())
        right, before = challenger.get("correct") == 1, base.get("correct") == 1
        group.update(n=1, wrong=int(not right), lost=int(before and not right), gained=int(right and not before))
    found = [{"suite": suite, "category": category, **group} for (suite, category), group in groups.items() if group["wrong"]]
    return sorted(found, key=lambda group: (-group["wrong"], group["suite"], group["category"]))


def choose(rows: Sequence[Mapping[str, Any]]) -> tuple[list[list[Any]], int]:
    """(lines for the page, how many are left out): those on which the models differ first, as many as fit MATRIX_BYTES.

    A line: [suite, category, question, right, [picked, correct] of each role or null].
    """
    ordered = sorted(range(len(rows)), key=lambda place: (not differs(rows[place]), place))
    lines, size = [], 0
    for place in ordered:
        row = rows[place]
        question = str(row.get("question") or row["id"])
        question = question if len(question) <= LONGEST else question[:LONGEST] + "…"
        line = [row["suite"], row.get("category") or "", question, _said(row, row.get("right"))]
        line += [_cell(row, role) for role in ROLES]
        size += len(json.dumps(line, ensure_ascii=False).encode())
        if size > MATRIX_BYTES:
            break
        lines.append(line)
    return lines, len(rows) - len(lines)


def differs(row: Mapping[str, Any]) -> bool:
    """Whether the models that answered the item differ in being right."""
    return len({row[role]["correct"] for role in ROLES if row.get(role)}) > 1


def _cell(row: Mapping[str, Any], role: str) -> list[Any] | None:
    answer = row.get(role)
    return [_said(row, answer["picked"]), answer["correct"]] if answer else None


def _said(row: Mapping[str, Any], picked: Any) -> str:
    """Letters with the options' texts, or the class of an answer in words."""
    if not isinstance(picked, list):
        return str(picked or "")
    options = row.get("options") or {}
    texts = [f"{letter} {str(options[letter])[:24]}" if letter in options else letter for letter in picked]
    return "; ".join(texts) or "—"


def draw_shares(suites: Mapping[str, Mapping[str, Any]]) -> str:
    """Bars of the roles' shares with 95 % intervals, 0 to 100 %, and the chance level as a line."""
    lines, top = [], 10
    for name, part in suites.items():
        lines.append(_label(10, top + 12, name, f" · {part['n']}", "name"))
        start = top + 18
        for role in ROLES:
            if part.get(role):
                lines.append(_bar(top + 18, part[role], COLOURS[role], role))
                top += 16
        if part.get("chance"):
            x = _x(part["chance"])
            lines.append(f'<line x1="{x}" x2="{x}" y1="{start}" y2="{top + 18}" class="chance"><title>chance</title></line>')
        top += 34
    axis = "".join(_text(_x(share / 4) - 10, top + 8, f"{25 * share}%", "axis") for share in range(5))
    return f'<svg viewBox="0 0 640 {top + 16}" role="img">{"".join(lines)}{axis}</svg>'


def _x(share: float) -> float:
    return round(110 + 500 * share, 1)


def _text(x: float, y: float, text: str, kind: str) -> str:
    from html import escape

    return f'<text x="{x}" y="{y}" class="{kind}">{escape(text)}</text>'


def _label(x: float, y: float, name: str, rest: str, kind: str) -> str:
    """A suite's name in both languages; the page shows one."""
    zh, en = SUITE_NAMES.get(name, (CHINESE.get(name, name), ENGLISH.get(name, name)))
    return _text(x, y, zh + rest, f"{kind} zh") + _text(x, y, en + rest, f"{kind} en")


def _bar(y: float, estimate: Mapping[str, Any], colour: str, role: str) -> str:
    left, right = _x(estimate["low"]), _x(estimate["high"])
    width = max(0.5, _x(estimate["value"]) - _x(0))
    said = f"{role} {percent(estimate['value'])} [{percent(estimate['low'])}, {percent(estimate['high'])}]"
    return (
        f"<g><title>{said}</title>{_text(10, y + 10, role, 'axis')}"
        f'<rect x="{_x(0)}" y="{y}" width="{width:.1f}" height="11" fill="{colour}"/>'
        f'<line x1="{left}" x2="{right}" y1="{y + 5.5}" y2="{y + 5.5}" class="whisker"/></g>'
    )


def draw_differences(suites: Mapping[str, Mapping[str, Any]]) -> str:
    """Paired differences of the challenger to base and champion with 95 % intervals, in points, on one scale."""
    found = [
        (name, other, part[key])
        for name, part in suites.items()
        for key, other in (("gain", "base"), ("difference", "champion"))
        if part.get(key)
    ]
    if not found:
        return ""
    reach = max(0.05, *(max(abs(delta["low"]), abs(delta["high"])) for _, _, delta in found))

    def x(value: float) -> float:
        return round(400 + 200 * value / reach, 1)

    lines, y = [], 14
    for name, other, delta in found:
        said = f"{points(delta['value'])} [{points(delta['low'])}, {points(delta['high'])}]"
        lines.append(_label(10, y + 4, name, f" − {other}", "axis"))
        lines.append(
            f'<line x1="{x(delta["low"])}" x2="{x(delta["high"])}" y1="{y}" y2="{y}" stroke="{COLOURS[other]}" stroke-width="3"/>'
        )
        lines.append(
            f'<circle cx="{x(delta["value"])}" cy="{y}" r="4" fill="{COLOURS["challenger"]}"><title>{said}</title></circle>'
        )
        y += 20
    lines.append(f'<line x1="400" x2="400" y1="4" y2="{y}" class="chance"/>')
    lines += [_text(x(side * reach) - 18, y + 12, points(side * reach), "axis") for side in (-1, 0, 1)]
    return f'<svg viewBox="0 0 640 {y + 20}" role="img">{"".join(lines)}</svg>'
