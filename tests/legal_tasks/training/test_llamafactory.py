"""The second backend: the same question asked in LLaMA-Factory's words, the same tokens, the same artifact."""

import dataclasses
import json
import os
import signal
import subprocess
import sys

import pytest

pytest.importorskip("peft")

from legal_tasks import setup
from legal_tasks.records import Record
from legal_tasks.step import StepError
from legal_tasks.training import chat, llamafactory, llamafactory_child, lora, rows
from tests.faults.training import processes
from tests.legal_tasks.training import real
from tests.legal_tasks.training.tiny import TEMPLATE, make_base, make_split, make_tokenizer

IGNORED = chat.IGNORED
LLAMA2 = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ '<s>[INST] ' + m['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'] + ' <|end|>' }}{% endif %}{% endfor %}"
)


@pytest.fixture
def built():
    if not setup.python_of("llamafactory").is_file():
        pytest.skip("LLaMA-Factory's environment is not built: python3.11 -m legal_tasks.setup llamafactory")


@pytest.fixture
def params(tmp_path):
    (tmp_path / "output").mkdir()
    return lora.Params(
        data=make_split(tmp_path / "split"),
        output=tmp_path / "output",
        base=str(make_base(tmp_path / "base")),
        batch=8,
        accumulation=2,
        epochs=10,
        dropout=0.0,
        learning_rate=1e-2,
        warmup=3,
        max_length=96,
        threads=1,
        save_updates=10,
        checkpoints=tmp_path / "work",
        backend="llamafactory",
    )


def with_template(template):
    tokenizer = make_tokenizer()
    tokenizer.chat_template = template
    return tokenizer


def test_a_chat_template_in_llamafactory_s_terms():
    assert llamafactory.slots(with_template(TEMPLATE)) == {
        "prefix": "<s>",
        "user": "<|user|>{{content}}<|end|><|assistant|>",
        "assistant": "{{content}}<|end|>",
    }
    assert llamafactory.slots(with_template(real.CHATML))["assistant"] == "{{content}}<|im_end|>\n"
    assert llamafactory.slots(with_template(LLAMA2)) == {
        "prefix": "",
        "user": "<s>[INST] {{content}} [/INST]",
        "assistant": " {{content}} <|end|>",
    }


def test_a_template_whose_turns_depend_on_their_place_is_refused():
    uneven = TEMPLATE.replace("message['content']", "('第' ~ loop.index if not loop.last else '') ~ message['content']")
    with pytest.raises(StepError, match="--template, or take --backend peft"):
        llamafactory.slots(with_template(uneven))


def test_the_yaml_asks_for_what_the_parameters_ask_for(params, tmp_path):
    values = llamafactory.settings(params, tmp_path, tmp_path, "cpu", updates=30, every=1)
    asked = {name: values[name] for name in ("lora_rank", "lora_alpha", "lora_target", "learning_rate", "warmup_steps")}
    assert asked == {
        "lora_rank": 16,
        "lora_alpha": 32,
        "lora_target": "q_proj,k_proj,v_proj,o_proj",
        "learning_rate": 1e-2,
        "warmup_steps": 3,
    }
    assert values["trust_remote_code"] is False and values["use_cpu"] and not values["bf16"]
    everything = dataclasses.replace(params, targets=("all-linear",), quantise="nf4", template="qwen")
    card = llamafactory.settings(everything, tmp_path, tmp_path, "cuda", 30, 1)
    assert (card["lora_target"], card["template"], card["quantization_bit"], card["bf16"]) == ("all", "qwen", 4, True)


@pytest.mark.parametrize(
    ("ids", "labels", "said"),
    [
        ([1, 2, 3, 9], [IGNORED, IGNORED, 3, 9], None),
        ([1, 2, 4, 9], [IGNORED, IGNORED, 4, 9], "its token 2 is [4], ours [3]"),
        ([1, 2, 3], [IGNORED, IGNORED, 3], "its token 3 is [], ours [9]"),
        ([1, 2, 3, 9], [IGNORED, 2, 3, 9], "its label 1 is 2, ours -100"),
        ([1, 2, 3, 9], [IGNORED, IGNORED, 3, IGNORED], "its label 3 is -100, ours 9"),
    ],
)
def test_a_row_that_differs_is_told(ids, labels, said):
    wanted = {"input_ids": [1, 2, 3, 9], "labels": [IGNORED, IGNORED, 3, 9]}
    assert llamafactory_child.difference({"input_ids": ids, "labels": labels}, wanted, end=9) == said


def test_a_line_feed_after_the_end_token_may_be_learned_there():
    wanted = {"input_ids": [1, 3, 9, 7, 1], "labels": [IGNORED, 3, 9, IGNORED, IGNORED]}
    got = {"input_ids": [1, 3, 9, 7, 1], "labels": [IGNORED, 3, 9, 7, IGNORED]}
    assert llamafactory_child.difference(got, wanted, end=9) is None


def test_what_it_cannot_do_is_refused(params):
    with pytest.raises(StepError, match="--backend llamafactory takes no --packing"):
        dataclasses.replace(params, packing=True)


def test_without_its_environment_the_command_that_builds_it_is_told(params, tmp_path, monkeypatch):
    monkeypatch.setenv("LEXLOOP_ENV_DIR", str(tmp_path))
    with pytest.raises(StepError, match=r"legal_tasks\.setup llamafactory"):
        lora.run(params)


@pytest.mark.slow
def test_both_backends_end_at_the_same_validation_loss(built, params, tmp_path, capfd):
    other = dataclasses.replace(params, backend="peft", output=tmp_path / "peft", checkpoints=tmp_path / "peft-work")
    other.output.mkdir()
    theirs, ours = lora.run(params), lora.run(other)
    assert theirs.validation_loss == pytest.approx(ours.validation_loss, rel=0.02)
    assert theirs.validation_loss_before == ours.validation_loss_before > theirs.validation_loss + 0.3
    assert "equal in all 480 rows" in capfd.readouterr().out
    for one, two in zip(
        *(sorted(p.relative_to(run.output) for run in (r,) for p in run.output.rglob("*")) for r in (params, other)), strict=True
    ):
        assert one == two
    lines = [(run.output / "log.jsonl").read_text("utf-8").strip().split("\n") for run in (params, other)]
    first, second = ([json.loads(line) for line in part] for part in lines)
    assert [point["step"] for point in first] == [point["step"] for point in second]
    assert [point["loss"] for point in first] == pytest.approx([point["loss"] for point in second], rel=1e-2)


class Killer:
    """Kills LLaMA-Factory's process when its training has reached an update; watches from a thread."""

    def __init__(self, work, update):
        self.work, self.update, self.killed = work, update, None

    def __call__(self):
        import time

        mark = self.work / "llamafactory" / "run" / f"checkpoint-{self.update}" / "COMPLETE"
        while not mark.is_file():
            time.sleep(0.01)
        for pid, parent, command in processes():
            if parent == os.getpid() and "llamafactory_child" in command:
                os.kill(pid, signal.SIGKILL)
                self.killed = pid


@pytest.mark.slow
def test_a_killed_child_is_started_again_from_its_newest_checkpoint(built, params, capfd):
    import threading

    killer = Killer(params.checkpoints, 10)
    thread = threading.Thread(target=killer)
    thread.start()
    report = lora.run(params)
    thread.join()
    assert killer.killed and report.updates == 30 and report.resumed_at >= 10
    assert "was killed by signal 9: starting it again" in capfd.readouterr().out


def prefixes(record):
    """Every beginning of a dialog that ends with an answer, as a record of its own."""
    turns = [*record["history"], [record["instruction"], record["output"]]]
    for number, (question, answer) in enumerate(turns):
        yield record | {"history": turns[:number], "instruction": question, "output": answer}


@pytest.mark.slow
@pytest.mark.parametrize("base", ["embedded", "byte-level BPE with ChatML"])
def test_real_dialogs_all_their_beginnings_and_a_thousand_questions_have_the_same_tokens(built, shared_data, tmp_path, base):
    folder = lora.bases.resolve("embedded")
    records = [part for dialog in real.dialogs(shared_data) for part in prefixes(dialog)]
    records += real.singles(shared_data, 1000)
    if base != "embedded":
        folder = make_base(tmp_path / "base")
        for path in folder.glob("token*"):
            path.unlink()
        real.train_bpe([record["output"] for record in records]).save_pretrained(folder)
    tokenizer = lora.load_base(folder, "cpu", 1)[1]
    made = rows.encode(tokenizer, [Record(**record) for record in records], 100_000)
    assert len(made.rows) == len(records) > 1000 + 2 * 241
    (tmp_path / "data").mkdir()
    params = lora.Params(tmp_path / "data", tmp_path / "output", max_length=100_000)
    values = llamafactory.settings(params, folder, tmp_path / "work", "cpu", 10, 1)
    ordered = [row | {"line": [line]} for row, line in zip(made.rows, made.lines, strict=True)]
    llamafactory.write(tmp_path / "work", values, llamafactory.slots(tokenizer), ordered, [Record(**r) for r in records])
    argv = [llamafactory.python(), "-m", "legal_tasks.training.llamafactory_child", str(tmp_path / "work"), "--tokens"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "CUDA_VISIBLE_DEVICES": ""}
    environment["PYTHONPATH"] = str(lora.bases.WORLD.parents[1])
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert f"equal in all {len(records)} rows" in done.stdout
