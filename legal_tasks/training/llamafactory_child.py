"""What runs inside LLaMA-Factory's environment: the training of `llamafactory-cli train`, with our template and checks.

    python -m legal_tasks.training.llamafactory_child FOLDER [--tokens]      # written by legal_tasks.training.llamafactory

With --tokens it only compares the tokens. Exit 2 with a last line `error: ...` where the tokens differ or the loss is no number.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

from legal_tasks.step import StepError
from legal_tasks.training import checkpoints, child

IGNORED = -100


def register(template: dict[str, str]) -> None:
    """Make the base's own chat template known to LLaMA-Factory as `lexloop`."""
    from llamafactory.data.formatter import EmptyFormatter, StringFormatter
    from llamafactory.data.template import register_template

    register_template(
        name="lexloop",
        format_user=StringFormatter(slots=[template["user"]]),
        format_assistant=StringFormatter(slots=[template["assistant"]]),
        format_prefix=EmptyFormatter(slots=[template["prefix"]] if template["prefix"] else []),
    )


def difference(got: dict[str, list[int]], wanted: dict[str, list[int]], end: int) -> str | None:
    """How a row of LLaMA-Factory's differs from ours, or None.

    It may also learn what its template writes after an end token (a line feed in ChatML), which no engine ever generates.
    """
    if got["input_ids"] != wanted["input_ids"]:
        place = next(
            (i for i, (a, b) in enumerate(zip(got["input_ids"], wanted["input_ids"], strict=False)) if a != b),
            min(len(got["input_ids"]), len(wanted["input_ids"])),
        )
        return f"its token {place} is {got['input_ids'][place : place + 1]}, ours {wanted['input_ids'][place : place + 1]}"
    after_end = False
    for place, (learned, ours) in enumerate(zip(got["labels"], wanted["labels"], strict=True)):
        if learned != ours and not (ours == IGNORED and after_end):
            return f"its label {place} is {learned}, ours {ours}"
        after_end = got["input_ids"][place] == end or (after_end and learned != IGNORED and ours == IGNORED)
    return None


def check(dataset, folder: Path, end: int) -> None:
    """StepError unless every row has the tokens and labels that ours has."""
    lines = list(filter(None, (folder / "expected.jsonl").read_text("utf-8").split("\n")))
    if len(dataset) != len(lines):
        raise StepError(f"LLaMA-Factory has {len(dataset)} rows, {len(lines)} were given")
    wrong = []
    for got, line in zip(dataset, lines, strict=True):
        wanted = json.loads(line)
        said = difference(got, wanted, end)
        if said is not None:
            wrong.append((wanted["line"][0], said))
    if wrong:
        raise StepError(
            f"LLaMA-Factory renders {len(wrong)} of {len(lines)} rows differently from serving, first line {wrong[0][0]} of "
            f"train.jsonl ({wrong[0][1]}): give its template by --template, or take --backend peft"
        )
    print(f"tokens of LLaMA-Factory and of serving are equal in all {len(lines)} rows", flush=True)


def make_callback(folder: Path):
    from transformers import TrainerCallback

    fingerprint = json.loads((folder / "fingerprint.json").read_text("utf-8"))

    class Callback(TrainerCallback):
        """Checks the tokens, tells the points, seals the checkpoints."""

        def on_train_begin(self, args, state, control, train_dataloader=None, processing_class=None, **_):
            check(train_dataloader.dataset, folder, processing_class.eos_token_id)

        def on_log(self, args, state, control, logs=None, **_):
            if not logs or "loss" not in logs:
                return
            loss = float(logs["loss"])
            if not math.isfinite(loss):
                raise StepError(f"the loss became {loss} at update {state.global_step}: lower --learning-rate or raise --warmup")
            child.tell_point(state.global_step, {"loss": loss, "learning_rate": float(logs["learning_rate"])})
            print(f"progress {state.global_step}/{state.max_steps} loss={loss:.4g}", flush=True)

        def on_save(self, args, state, control, **_):
            checkpoints.seal(Path(args.output_dir) / f"checkpoint-{state.global_step}", fingerprint)

    return Callback()


def compare_tokens(values: dict, folder: Path) -> None:
    """`check` on what LLaMA-Factory makes of the records, without a model."""
    from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
    from llamafactory.hparams import get_train_args
    from llamafactory.model import load_tokenizer

    model_args, data_args, training_args, _, _ = get_train_args(values)
    module = load_tokenizer(model_args)
    template = get_template_and_fix_tokenizer(module["tokenizer"], data_args)
    dataset = get_dataset(template, model_args, data_args, training_args, stage="sft", **module)["train_dataset"]
    check(dataset, folder, module["tokenizer"].eos_token_id)


def main(folder: Path, only_tokens: bool = False) -> int:
    import yaml

    child.end_with_parent()
    template = json.loads((folder / "template.json").read_text("utf-8"))
    if template:
        register(template)
    from llamafactory.train.tuner import run_exp

    values = yaml.safe_load((folder / "train.yaml").read_text("utf-8"))
    try:
        if only_tokens:
            compare_tokens(values, folder)
            return 0
        run_exp(args=values, callbacks=[make_callback(folder)])
    except StepError as error:
        print(f"error: {' '.join(str(error).split())}", flush=True)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), "--tokens" in sys.argv[2:]))
