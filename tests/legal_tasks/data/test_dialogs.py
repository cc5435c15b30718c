"""Dialogs in the layouts that people have: nothing that the client said is lost, and only answers are taught as answers."""

import json

import pytest

from legal_tasks.data import dialogs, fields, formats, readers

Q1, A1 = "邻居装修把承重墙拆了，我能要求停工吗？", "可以要求其停止侵害、恢复原状。"
Q2, A2 = "物业不管怎么办？", "可以向住建部门投诉，也可以起诉。"
PAIRS = [[Q1, A1], [Q2, A2]]


def turn(who: str, text, key: str = "role", value: str = "content"):
    return {key: who, value: text}


def all_of(*texts, names=("user", "assistant"), **keys):
    return [turn(names[number % 2], text, **keys) for number, text in enumerate(texts)]


def pairs(value):
    return dialogs.pairs_of(dialogs.turns_of(value))


@pytest.mark.parametrize(
    "value",
    [
        all_of(Q1, A1, Q2, A2),
        all_of(Q1, A1, Q2, A2, names=("human", "gpt"), key="from", value="value"),
        all_of(Q1, A1, Q2, A2, names=("User", "Assistant")),
        all_of(Q1, A1, Q2, A2, names=("客户", "律师"), key="speaker", value="text"),
        all_of(Q1, A1, Q2, A2, names=("李女士", "王律师"), key="speaker", value="内容"),
        [[Q1, A1], [Q2, A2]],
        [["user", Q1], ["assistant", A1], ["user", Q2], ["assistant", A2]],
        [{"question": Q1, "answer": A1}, {"question": Q2, "answer": A2}],
        [{"user": Q1, "assistant": A1}, {"human": Q2, "bot": A2}],
        [{"问": Q1, "答": A1}, {"问": Q2, "答": A2}],
        [f"[客户] {Q1}", f"[律师] {A1}", f"[客户] {Q2}", f"[律师] {A2}"],
        [f"用户：{Q1}", f"助手：{A1}", f"用户：{Q2}", f"助手：{A2}"],
        [Q1, A1, Q2, A2],
        json.dumps([[Q1, A1], [Q2, A2]]),
        repr([(Q1, A1), (Q2, A2)]),
        f"Q: {Q1}\nA: {A1}\nQ: {Q2}\nA: {A2}",
        f"**用户：** {Q1}\n\n**律师**：{A1}\n**用户：**{Q2}\n**律师：**{A2}",
        f"客户：{Q1}\n律师：{A1}\n客户：{Q2}\n律师：{A2}",
        f"问：{Q1}\n答：{A1}\n\n问：{Q2}\n答：{A2}",
        f"【客户】{Q1}\n【律师】{A1}\n【客户】{Q2}\n【律师】{A2}",
        f"User: {Q1}\r\nAssistant: {A1}\r\nUser: {Q2}\r\nAssistant: {A2}",
        all_of([{"type": "text", "text": Q1}], A1, {"parts": [Q2]}, [{"type": "output_text", "text": A2}]),
        [
            turn("user", Q1),
            turn("assistant", A1) | {"tool_calls": None},
            turn("user", Q2),
            turn("assistant", A2),
            turn("user", None),
        ],
        [turn("assistant", "您好，我是值班律师。"), *all_of(Q1, A1, Q2, A2), turn("user", "谢谢！")],
        [turn("system", "你是一名律师。请简要回答。"), *all_of(Q1, A1, Q2, A2)],
    ],
)
def test_one_dialog_in_many_layouts(value):
    assert pairs(value) == PAIRS


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (all_of("我住三楼。", "") + all_of(Q1, A1), [[f"我住三楼。\n{Q1}", A1]]),
        (
            [turn("user", "我住三楼。"), turn("user", Q1), turn("assistant", A1), turn("assistant", A2)],
            [[f"我住三楼。\n{Q1}", f"{A1}\n{A2}"]],
        ),
        ([[Q1, None], [Q2, A2]], [[f"{Q1}\n{Q2}", A2]]),
        ([[Q1, "None"], [Q2, A2]], [[f"{Q1}\n{Q2}", A2]]),
        ([["nan", "null"], [Q2, A2]], [[Q2, A2]]),
        ([turn("user", Q1), turn("user", Q1), turn("assistant", A1)], [[Q1, A1]]),
        ([turn("system", "本地月最低工资为二千一百元。"), *all_of(Q1, A1)], [[f"本地月最低工资为二千一百元。\n{Q1}", A1]]),
        ([turn("system", "你是律师。甲方是出租人。请用中文回答。"), *all_of(Q1, A1)], [[f"甲方是出租人。\n{Q1}", A1]]),
        (f"标题：拆墙\n客户：{Q1}\n律师：{A1}", [[f"标题：拆墙\n{Q1}", A1]]),
        (["客户：" + Q1, "还有，墙已经裂了。", "律师：" + A1], [[f"{Q1}\n还有，墙已经裂了。", A1]]),
        ([*all_of(Q1, A1), turn("tool", "{}"), turn("assistant", "查得……")], [[Q1, A1]]),
        ([*all_of(Q1, A1, Q2), turn("assistant", None) | {"tool_calls": [{"id": "1"}]}, turn("assistant", A2)], [[Q1, A1]]),
    ],
)
def test_what_has_no_place_in_a_pair_has_a_fate(value, expected):
    assert pairs(value) == expected


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([turn("user", Q1), turn("function_call", "{}"), turn("observation", "{}"), turn("assistant", A1)], "tool_turns"),
        (
            [turn("user", [{"type": "image_url", "image_url": "x"}, {"type": "text", "text": Q1}]), turn("assistant", A1)],
            "not_text",
        ),
        ([turn("甲", Q1), turn("乙", A1)], "unknown_role"),
        ([{"第一句": Q1, "第二句": A1}], "unknown_role"),
    ],
)
def test_a_dialog_that_cannot_be_taught_says_why(value, reason):
    with pytest.raises(dialogs.Unfit) as caught:
        pairs(value)
    assert caught.value.reason == reason and caught.value.detail


def record(kind: str = "consultation", **values):
    return fields.from_fields({"fields": values, "source": "s", "kind": kind})


def said(one) -> tuple:
    return (one.instruction, one.input, one.output, one.history)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"instruction": Q1, "input": "", "output": A1}, (Q1, "", A1, [])),
        ({"instruction": Q1, "input": "None", "output": A1}, (Q1, "", A1, [])),
        ({"instruction": Q1, "input": "无", "output": A1}, (Q1, "", A1, [])),
        ({"instruction": Q1, "input": float("nan"), "output": A1}, (Q1, "", A1, [])),
        ({"instruction": "判断争议焦点。", "question": Q1, "answer": A1}, ("判断争议焦点。", Q1, A1, [])),
        ({"instruction": "答题。", "question": Q1, "input": "材料甲", "output": A1}, ("答题。", f"{Q1}\n材料甲", A1, [])),
        ({"prompt": Q1, "context": "材料甲", "completion": A1}, (Q1, "材料甲", A1, [])),
        ({"title": "拆墙", "question": Q1, "answer": A1}, (f"拆墙\n{Q1}", "", A1, [])),
        ({"title": Q1, "content": "墙在客厅。", "reply": A1}, (Q1, "墙在客厅。", A1, [])),
        ({"标题": Q1, "律师回复": A1}, (Q1, "", A1, [])),
        ({"问题（必填）": Q1, "回答": A1, "序号": "3"}, (Q1, "", A1, [])),
        ({"Question": Q1, " ANSWER ": A1}, (Q1, "", A1, [])),
        ({"Q": Q1, "A": A1}, (Q1, "", A1, [])),
        ({"问 题": Q1, "处理意见": A1}, (Q1, "", A1, [])),
        ({"prompt": all_of(Q1, A1, Q2), "completion": [turn("assistant", A2)]}, (Q2, "", A2, [[Q1, A1]])),
        ({"prompt": [turn("user", Q1)], "completion": [turn("assistant", A1)]}, (Q1, "", A1, [])),
        ({"标题": "拆墙", "desc": Q1, "专家意见": A1}, ("拆墙", Q1, A1, [])),
        ({"id": "a", "items": all_of(Q1, A1)}, (Q1, "", A1, [])),
        ({"instruction": Q2, "output": A2, "history": f"问：{Q1} 答：{A1}"}, (Q2, "", A2, [[Q1, A1]])),
        ({"input": Q1, "output": A1, "id": 7, "type": "qingjing"}, (Q1, "", A1, [])),
        ({"question": Q1, "answer": A1, "法律依据": "《民法典》规定业主应当……"}, (Q1, "", f"{A1}\n《民法典》规定业主应当……", [])),
        ({"question": Q1, "answer": A1, "response": A1 + "（完）"}, (Q1, "", A1 + "（完）", [])),
        ({"query": Q1, "response": A1, "laws": ["《民法典》第二百七十一条：业主对建筑物内的住宅享有所有权。"]}, (Q1, "", A1, [])),
        ({"query": Q1, "history": [f"[客户] {Q1}", f"[律师] {A1}"]}, (Q1, "", A1, [])),
        ({"query": "背景话", "history": [f"[客户] {Q1}", f"[律师] {A1}"]}, (f"背景话\n{Q1}", "", A1, [])),
        ({"instruction": Q2, "output": A2, "history": [[Q1, A1]]}, (Q2, "", A2, [[Q1, A1]])),
        ({"instruction": Q2, "input": "材料", "output": A2, "history": [[Q1, A1]]}, (Q2, "材料", A2, [[Q1, A1]])),
        ({"instruction": Q2, "output": A2, "history": all_of(Q1, A1)}, (Q2, "", A2, [[Q1, A1]])),
        ({"instruction": Q2, "output": A2, "history": f"用户：{Q1}\n助手：{A1}"}, (Q2, "", A2, [[Q1, A1]])),
        ({"instruction": Q2, "output": A2, "history": all_of(Q1, A1, Q2)}, (Q2, "", A2, [[Q1, A1]])),
        ({"instruction": Q2, "output": A2, "history": all_of(Q1, A1, Q2, A2)}, (Q2, "", A2, [[Q1, A1]])),
        ({"instruction": Q2, "output": A2, "history": [[Q1, None]]}, (f"{Q1}\n{Q2}", "", A2, [])),
        ({"instruction": Q2, "output": A2, "history": None}, (Q2, "", A2, [])),
        ({"instruction": Q2, "output": A2, "history": "[]"[:0]}, (Q2, "", A2, [])),
        ({"instruction": Q1, "output": A1, "system": "你是律师。楼房建于1998年。"}, (f"楼房建于1998年。\n{Q1}", "", A1, [])),
        ({"messages": all_of(Q1, A1, Q2, A2), "id": "x"}, (Q2, "", A2, [[Q1, A1]])),
        ({"conversations": all_of(Q1, A1, key="from", value="value"), "system": ""}, (Q1, "", A1, [])),
        ({"question": Q1, "A": "停工", "B": "继续", "answer": "A"}, (f"{Q1}\nA: 停工\nB: 继续", "", "A: 停工", [])),
        (
            {"question": Q1, "options": ["停工", "继续"], "answer": ["A", "B"]},
            (f"{Q1}\nA: 停工\nB: 继续", "", "A: 停工\nB: 继续", []),
        ),
        ({"question": Q1, "options": {"A": "停工", "B": "继续"}, "answer": "B"}, (f"{Q1}\nA: 停工\nB: 继续", "", "B: 继续", [])),
        (
            {"q": "甲入户盗窃。", "crime": ["盗窃罪", "抢劫罪"]},
            ("请根据下列案情，指出被告人触犯的罪名。", "甲入户盗窃。", "盗窃罪、抢劫罪", []),
        ),
        ({"question": "诉讼时效是几年？", "answer": 3}, ("诉讼时效是几年？", "", "3", [])),
        ({"question": Q1, "chosen": A1, "rejected": "没有办法，只能忍受，别去投诉了吧，算了算了。"}, (Q1, "", A1, [])),
    ],
)
def test_every_text_of_a_row_has_a_fate(values, expected):
    assert said(record(**values)) == expected


@pytest.mark.parametrize(
    ("values", "reason", "words"),
    [
        (
            {"question": Q1, "answer": A1, "followup": "墙拆了以后楼上的地板也裂了，是否还能要求赔偿？"},
            "unknown_field",
            ["followup", "question"],
        ),
        (
            {"question": Q1, "answer": A1, "附加": {"追问": ["墙拆了以后楼上的地板也裂了，还能要求赔偿吗？"]}},
            "unknown_field",
            ["附加"],
        ),
        ({"question": Q1, "answer": A1, "response": A2}, "two_answers", ["answer", "response"]),
        ({"提要": "短", "结果": "短"}, "no_answer", ["提要", "问题"]),
        ({"question": Q1, "answer": "nan"}, "no_answer", ["answer"]),
        ({"question": Q1, "answers": [A1, A2]}, "two_answers", ["answers"]),
        ({"messages": all_of(Q1, None)}, "no_answer", ["messages"]),
    ],
)
def test_a_row_that_is_set_aside_names_its_columns(values, reason, words):
    with pytest.raises(dialogs.Unfit) as caught:
        record(**values)
    assert caught.value.reason == reason and all(word in caught.value.detail for word in words)


def test_a_dialog_told_in_marked_lines_is_a_record_and_another_text_none():
    item = {"source": "s", "kind": "consultation"}
    [one] = formats.from_dialog(f"客户：{Q1}\n律师：{A1}", item)
    assert said(one) == (Q1, "", A1, [])
    assert formats.from_dialog("拆除承重墙属于危害房屋安全的行为。", item) == []


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (json.dumps({"messages": all_of(Q1, A1)}), 1),
        (json.dumps({"id": 1, "messages": all_of(Q1, A1)}), 1),
        (json.dumps({"conversations": all_of(Q1, A1, key="from", value="value")}), 1),
        (json.dumps({"对话": [f"客户：{Q1}", f"律师：{A1}"]}), 1),
        (json.dumps(all_of(Q1, A1, Q2, A2)), 1),
        ("\n".join(map(json.dumps, all_of(Q1, A1, Q2, A2))), 1),
        (json.dumps([all_of(Q1, A1), all_of(Q2, A2)]), 2),
        (json.dumps([{"messages": all_of(Q1, A1)}, {"messages": all_of(Q2, A2)}]), 2),
        (json.dumps({"data": [{"messages": all_of(Q1, A1)}, {"messages": all_of(Q2, A2)}]}), 2),
        (json.dumps({"code": 0, "msg": "ok", "data": [{"question": Q1, "answer": A1}]}), 1),
        (
            json.dumps(
                {"code": 0, "data": {"total": 2, "list": [{"question": Q1, "answer": A1}, {"question": Q2, "answer": A2}]}}
            ),
            2,
        ),
        (json.dumps([[Q1, A1], [Q2, A2]]), 2),
        (json.dumps({"17": {"question": Q1, "answer": A1}, "18": {"question": Q2, "answer": A2}}), 2),
        (json.dumps({"question": Q1, "answer": A1}, indent=1), 1),
        (json.dumps([{"author": "王律师", "content": Q1, "answer": A1}, {"author": "李律师", "content": Q2, "answer": A2}]), 2),
    ],
)
def test_a_file_may_be_one_dialog_or_wrap_its_items(text, count):
    found = list(readers.pieces(text, readers.sniff(text)))
    assert len(found) == count and not any(piece.broken for piece in found)
    records = [fields.from_fields({"fields": piece.fields, "source": "s", "kind": "consultation"}) for piece in found]
    assert sum(len(one.history) + 1 for one in records) == text.count("\\u90bb\\u5c45") + text.count("\\u7269\\u4e1a")
