"""LLaMA-Factory as the backend of `training.lora`: same parameters, same rows in the same order, same artifact.

It runs in its own environment and renders the chats itself, from a template taken from the base's own. Before its first
update its tokens are compared with ours, row by row: a training on other tokens than serving's does not begin.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from legal_tasks.step import REPOSITORY, StepError
from legal_tasks.training import checkpoints, child
from legal_tasks.training.chat import require_template

ENVIRONMENT = "llamafactory"
DATASET = "lexloop"
RESTARTS = 2  # of a killed child, as long as each brings the training further
COLUMNS = {"prompt": "instruction", "query": "input", "response": "output", "history": "history"}
QUESTION, ANSWER, NEXT = "甲问题甲", "乙回答乙", "丙问题丙"  # texts that no template contains


def slots(tokenizer) -> dict[str, str]:
    """{prefix, user, assistant}: the base's chat template in LLaMA-Factory's terms, `{{content}}` standing for the text.

    StepError where the template is no chain of equal turns; LLaMA-Factory may know it by name (--template).
    """
    require_template(tokenizer)
    turns = [("user", QUESTION), ("assistant", ANSWER), ("user", NEXT)]
    chat = [{"role": role, "content": content} for role, content in turns]
    asked, answered, again = (
        tokenizer.apply_chat_template(chat[:number], tokenize=False, add_generation_prompt=number % 2 == 1)
        for number in (1, 2, 3)
    )
    user, assistant = again[len(answered) :], answered[len(asked) :]
    chained = answered.startswith(asked) and again.startswith(answered) and asked.endswith(user.replace(NEXT, QUESTION))
    if not chained or NEXT not in user or ANSWER not in assistant:
        raise StepError(
            f"the chat template of {tokenizer.name_or_path} writes its turns differently by their place, which "
            "LLaMA-Factory's slots cannot say: give its name there by --template, or take --backend peft"
        )
    return {
        "prefix": asked[: len(asked) - len(user.replace(NEXT, QUESTION))],
        "user": user.replace(NEXT, "{{content}}"),
        "assistant": assistant.replace(ANSWER, "{{content}}"),
    }


def settings(params, base: Path, folder: Path, device: str, updates: int, every: int) -> dict[str, Any]:
    """The YAML of `llamafactory-cli train` that asks for what `params` asks for."""
    values: dict[str, Any] = {
        "model_name_or_path": str(base),
        "trust_remote_code": False,
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "lora",
        "lora_rank": params.r,
        "lora_alpha": params.alpha,
        "lora_dropout": params.dropout,
        "lora_target": "all" if params.targets == ("all-linear",) else ",".join(params.targets),
        "dataset_dir": str(folder / "data"),
        "dataset": DATASET,
        "template": params.template or DATASET,
        "cutoff_len": params.max_length,
        "tokenized_path": str(folder / "tokens"),
        "disable_shuffling": True,  # the rows are already in the order of the plan
        "output_dir": str(folder / "run"),
        "num_train_epochs": 1,
        "per_device_train_batch_size": params.batch,
        "gradient_accumulation_steps": params.accumulation,
        "learning_rate": params.learning_rate,
        "lr_scheduler_type": params.schedule,
        "warmup_steps": min(params.warmup, updates // 2),
        "logging_steps": every,
        "save_steps": -(-params.save_updates // every) * every,
        "save_total_limit": 2,
        "seed": params.seed,
        "report_to": "none",
        "dataloader_num_workers": 0,
        "disable_gradient_checkpointing": not params.gradient_checkpointing,
        "remove_unused_columns": True,
        "bf16": device == "cuda",
        "use_cpu": device == "cpu",
    }
    if params.quantise == "nf4":
        values |= {"quantization_method": "bnb", "quantization_bit": 4, "double_quantization": True}
    return values


def write(folder: Path, values: dict[str, Any], template: dict[str, str], rows: list[dict], records: list[Any]) -> None:
    """Everything that the child reads: the YAML, dataset_info.json, the records, the template, the tokens it must come to."""
    import yaml

    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    chosen = [records[row["line"][0] - 1] for row in rows]
    items = [{name: getattr(record, name) for name in COLUMNS.values()} for record in chosen]
    (data / "train.json").write_text(json.dumps(items, ensure_ascii=False), "utf-8")
    information = {DATASET: {"file_name": "train.json", "columns": COLUMNS}}
    (data / "dataset_info.json").write_text(json.dumps(information, indent=1), "utf-8")
    with open(folder / "expected.jsonl", "w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    (folder / "template.json").write_text(json.dumps(template, ensure_ascii=False), "utf-8")
    (folder / "train.yaml").write_text(yaml.safe_dump(values, allow_unicode=True, sort_keys=False), "utf-8")


def python() -> str:
    """The interpreter of LLaMA-Factory's environment; StepError where it is not built."""
    from legal_tasks import setup

    found = setup.python_of(ENVIRONMENT)
    if not found.is_file():
        raise StepError(
            f"--backend llamafactory: its environment is not built; run: python3.11 -m legal_tasks.setup {ENVIRONMENT}"
        )
    return str(found)


def fit(params, work: Path, model, tokenizer, plan, device: str) -> dict[str, Any]:
    """Train by LLaMA-Factory; the adapter ends up in `model`, the figures are those that `lora.fit` gives."""
    from legal_tasks.training import lora
    from legal_tasks.training import rows as sets
    from legal_tasks.training import trainer as loop

    folder = work / "llamafactory"
    folder.mkdir(parents=True, exist_ok=True)
    interpreter = python()
    every = max(1, plan.updates // lora.POINTS)
    values = settings(params, lora.bases.resolve(params.base), folder, device, plan.updates, every)
    template = {} if params.template else slots(tokenizer)
    write(folder, values, template, plan.ordered, sets.load(params.data / "train.jsonl"))
    fingerprint = lora.describe(params, plan.updates)
    (folder / "fingerprint.json").write_text(json.dumps(fingerprint, default=str), "utf-8")
    fingerprint = json.loads((folder / "fingerprint.json").read_text("utf-8"))  # as the child reads it
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    loss = loop.full_loss

    def measure() -> float:
        return loop.mean_loss(model, loss, plan.validation.rows, 4 * params.batch, pad, model.device)

    before = measure()
    resumed = _train(interpreter, folder, fingerprint, values, params.threads or len(os.sched_getaffinity(0)))
    take(model, folder / "run")
    state = json.loads((folder / "run" / "trainer_state.json").read_text("utf-8"))
    seconds = json.loads((folder / "run" / "train_results.json").read_text("utf-8"))["train_runtime"]
    lengths = [len(row["input_ids"]) for row in plan.ordered]
    per_update = params.batch * params.accumulation
    return {
        "points": [loop.make_point(entry, plan.epochs) for entry in state["log_history"] if "loss" in entry],
        "measured": {},
        "best": None,
        "before": before,
        "after": measure(),
        "seconds": seconds,
        "saving": 0.0,  # LLaMA-Factory does not tell
        "speed": sum(lengths[resumed * per_update :]) / seconds,
        "tokens": sum(lengths),
        "updates": state["global_step"],
        "resumed": resumed,
        "loss": "llamafactory",
        "parts": 1,
    }


def _train(interpreter: str, folder: Path, fingerprint: dict[str, Any], values: dict[str, Any], threads: int) -> int:
    """Run the child to its end, again from its newest checkpoint where it was killed; the update it last resumed at."""
    import yaml

    reached = -1
    for attempt in range(RESTARTS + 1):
        checkpoint = checkpoints.newest(folder / "run", fingerprint)
        resumed = int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0
        if checkpoint:
            print(f"resumed from step {resumed}: {checkpoint}", flush=True)
        text = yaml.safe_dump(
            values | {"resume_from_checkpoint": str(checkpoint) if checkpoint else None}, allow_unicode=True, sort_keys=False
        )
        (folder / "train.yaml").write_text(text, "utf-8")
        argv = [interpreter, "-m", "legal_tasks.training.llamafactory_child", str(folder)]
        paths = os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH"))))
        environment = {"PYTHONPATH": paths, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(threads)}
        if values["use_cpu"]:
            environment["CUDA_VISIBLE_DEVICES"] = ""
        code, tail = child.follow(argv, environment)
        if code == 0:
            return resumed
        if code == 2:
            raise StepError(tail.splitlines()[-1].removeprefix("error: "))
        if code > 0 or attempt == RESTARTS or resumed <= reached:
            raise RuntimeError(f"LLaMA-Factory ended with {code}; its last words:\n{tail}")
        reached = resumed
        print(f"LLaMA-Factory was killed by signal {-code}: starting it again", flush=True)
    raise AssertionError("unreachable")


def take(model, run: Path) -> None:
    """Put the adapter that LLaMA-Factory saved into `model`; StepError where it is not the one that was asked for."""
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    weights = load_file(run / "adapter_model.safetensors")
    found: Any = set_peft_model_state_dict(model, weights)
    missing = [name for name in found.missing_keys if "lora_" in name]
    if missing or found.unexpected_keys:
        raise StepError(f"LLaMA-Factory's adapter does not fit: missing {missing[:3]}, unexpected {found.unexpected_keys[:3]}")
