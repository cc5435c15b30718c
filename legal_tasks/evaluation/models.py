"""Evaluate one model on suites: lm-evaluation-harness runs its tasks on our `LM`, every item's answer is kept."""

from __future__ import annotations

import json
import logging
import math
import os
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from legal_tasks import yamls
from legal_tasks.artifacts import canonical, sha256_text
from legal_tasks.evaluation import cases, choices, endpoint, extract, safety
from legal_tasks.evaluation.endpoint import Endpoint
from legal_tasks.evaluation.items import GENERATED, Row, read_items, suites_in, write_lines
from legal_tasks.evaluation.lm import Scorer, as_lm
from legal_tasks.evaluation.names import POOLED, check_stock, stock_folders
from legal_tasks.step import StepError, environment_lock, recomputing, store

VERSION = 4  # raised when the same model and items should give other rows
TASKS = Path(__file__).parent / "tasks"
FEW_SHOT_SEED = 1234  # of lm_eval.simple_evaluate

Tell = Callable[[float, str], None]


@dataclass(frozen=True)
class How:
    """Everything but model and items that decides the rows; it is part of the key of the result."""

    rank_texts: tuple[str, ...] = ()  # suites whose option texts are ranked; the others are answered by letters
    limit: int | None = None  # items per suite
    new_tokens: int = 64  # of a generated answer
    generate: tuple[str, ...] = ()  # suites of choices that are answered in words
    shots: int = 0  # examples shown before each question, from the suite's dev split
    endpoint: Endpoint | None = None  # asked for the answers in words, in place of the weights

    def form(self, suite: str) -> str:
        return "generate" if suite in self.generate else "text" if suite in self.rank_texts else "letters"

    def key(self) -> dict[str, Any]:
        served = {"endpoint": [self.endpoint.url, self.endpoint.model]} if self.endpoint else {}
        return served | {
            "version": VERSION,
            "rank_texts": sorted(self.rank_texts),
            "limit": self.limit,
            "new_tokens": self.new_tokens,
            "generate": sorted(self.generate),
            "shots": self.shots,
            "extractors": [safety.EXTRACTOR_VERSION, extract.VERSION, cases.VERSION],
            "environment": environment_lock(),
        }


def evaluate_model(
    model_path: Path,
    items: Path,
    suites: Sequence[str] = (),
    *,
    format: str | None = None,
    how: How | None = None,
    device: str = "cpu",
    tell: Tell | None = None,
) -> dict[str, Any]:
    """Answer every item of `suites` (default: all in `items`) with the model: {suites: {name: {rows, summary}}, ...}.

    `model_path`: a model folder, an artifact with `model/`, or a .gguf file; `format`: merged, gptq or gguf (default:
    what the files say). `items`: a folder of <suite>.jsonl, with the stock layouts `ceval/ceval-exam` and
    `haonan-li/cmmlu` in it or beside it where there are any. `tell(fraction, what)` follows the work.
    """
    from legal_tasks.compression.load import load_model

    path, found = resolve_model(model_path)
    model, tokenizer = load_model(path, format or found, device)
    return evaluate_loaded(model, tokenizer, items, suites, how=how, tell=tell)


def evaluate_cached(
    model_path: Path,
    items: Path,
    suites: Sequence[str] = (),
    *,
    how: How | None = None,
    device: str = "cpu",
    tell: Tell | None = None,
) -> tuple[Path, bool]:
    """As `evaluate_model`, through the store: (folder of <suite>.jsonl and summary.json, was it there before)."""
    how = how or How()
    path, form = resolve_model(model_path)
    parts = {**how.key(), "suites": sorted(suites), "format": form}
    inputs = {"model": path.parent if form == "gguf" else path}
    inputs |= {f"suite {name}": items / f"{name}.jsonl" for name in suites}
    inputs |= {f"stock {name}": folder for name, folder in stock_folders(items).items()}

    def make(folder: Path) -> dict[str, Any]:
        found = evaluate_model(model_path, items, suites, how=how, device=device, tell=tell)
        write_results(folder, found)
        return {"suites": {name: len(part["rows"]) for name, part in found["suites"].items()}, "seconds": found["seconds"]}

    # What serves under an address may change: to do the step again means to ask it again.
    again = how.endpoint is not None and recomputing()
    artifact = store().get_or_make("evaluation.model", parts, inputs, make, recompute=again)
    return artifact.path, artifact.reused


def write_results(folder: Path, found: Mapping[str, Any]) -> None:
    """<suite>.jsonl with every item's row, and summary.json."""
    for name, part in found["suites"].items():
        write_lines(folder / f"{name}.jsonl", part["rows"])
    summary = {name: part["summary"] for name, part in found["suites"].items()}
    text = json.dumps({**{k: v for k, v in found.items() if k != "suites"}, "suites": summary}, ensure_ascii=False, indent=1)
    (folder / "summary.json").write_text(text + "\n", "utf-8")


def resolve_model(path: Path) -> tuple[Path, str]:
    """(folder or file to load, format) of a model folder, an artifact that holds `model/`, or a .gguf file."""
    path = Path(path)
    if path.suffix == ".gguf":
        return path, "gguf"
    for folder in (path, path / "model"):
        config = folder / "config.json"
        if config.is_file():
            quantised = "quantization_config" in json.loads(config.read_text("utf-8"))
            return folder, "gptq" if quantised else "merged"
    raise StepError(f"{path} holds no model: name a folder with config.json and *.safetensors, or a .gguf file")


def evaluate_loaded(
    model: Any, tokenizer: Any, items: Path, suites: Sequence[str] = (), *, how: How | None = None, tell: Tell | None = None
) -> dict[str, Any]:
    """`evaluate_model` for a model that is already loaded."""
    from legal_tasks.training.chat import template_hash

    started = time.time()
    how = how or How()
    suites = tuple(suites) or tuple(suites_in(items))
    for name in suites:
        if not (items / f"{name}.jsonl").is_file():
            raise StepError(f"there is no suite {name} in {items}; there are {', '.join(suites_in(items)) or 'none'}")
    check_stock(suites, stock_folders(items))
    template = template_hash(tokenizer)
    parts = _Parts(tell, _count_parts(items, suites, how)) if tell else None
    scorer = Scorer(model, tokenizer, tell=parts)
    generated = max(1, min(how.new_tokens, scorer.max_length // 2))
    lm = as_lm(scorer)
    with _quiet():
        own = [_task(name, items, how, tokenizer.eos_token, generated) for name in suites]
        samples = _answer(lm, own, how, scorer.unfinished, parts)
        stock = {name: run_stock(lm, name, folder, how.shots) for name, folder in stock_folders(items).items()}
    found = {name: _rows(name, samples[name], scorer.unfinished) for name in suites}
    found |= {name: _stock_rows(answered) for name, answered in stock.items()}
    if POOLED not in suites and stock:
        found[POOLED] = [row for name in stock for row in found[name]]
    forms = {name: how.form(name) for name in suites}
    return {
        "suites": {name: {"rows": rows, "summary": summarise(rows, forms.get(name, "letters"))} for name, rows in found.items()},
        "template": template,
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "prompts_truncated": scorer.truncated,
        "seconds": round(time.time() - started, 2),
    }


def _count_parts(items: Path, suites: Sequence[str], how: How) -> int:
    """How often the model is gone through: rankings of all suites, answers in words of all suites, each stock data set."""
    written = {
        read_items(items / f"{name}.jsonl", split=None)[0]["kind"] in GENERATED or how.form(name) == "generate" for name in suites
    }
    return max(1, len(written) + len(stock_folders(items)))


class _Parts:
    """Turns (done, total) of one part after the other into a share of the whole."""

    def __init__(self, tell: Tell, parts: int):
        self.tell, self.parts, self.over, self.last = tell, parts, 0, 0.0

    def __call__(self, done: int, total: int) -> None:
        share = done / total
        self.over += share < self.last or self.last == 1.0
        self.last = share
        self.tell(min(1.0, (self.over + share) / self.parts), "items")


@contextmanager
def _quiet() -> Iterator[None]:
    """lm-eval's notes on its own configuration, kept out of the task's log; its warnings about data stay."""
    loggers = [logging.getLogger("lm_eval"), logging.getLogger("lm_eval.api.task"), logging.getLogger("datasets")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _task(suite: str, items: Path, how: How, end: str, new_tokens: int) -> Any:
    """The lm-eval task of a suite: its own under tasks/, where its card names the suite, else the one for its kind of items."""
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.tasks._yaml_loader import load_yaml

    everything = read_items(items / f"{suite}.jsonl", split=None)
    kind, examples = everything[0]["kind"], sum(item.get("split") == "dev" for item in everything)
    spoken = kind not in GENERATED and how.form(suite) == "generate"
    in_words = kind in GENERATED or spoken
    name = "exam_generated" if spoken else kind if kind in GENERATED else "exam"
    config = load_yaml(TASKS / name / f"{name}.yaml")
    own = TASKS / suite / f"{suite}.yaml"
    if own.is_file() and not spoken:
        found = load_yaml(own)
        # `exam` or `answer` as the name of somebody's exam is no more than a name; so is one whose items are of another kind.
        if found["metadata"].get("suite") == suite and (found["output_type"] == "generate_until") == in_words:
            config = found
    config["task"] = suite
    config["dataset_kwargs"] = {"items": str(items), "suite": suite, "limit": how.limit}
    config["metadata"] = {"version": config["metadata"]["version"]}
    if config["output_type"] == "generate_until":
        config["generation_kwargs"] = {**config["generation_kwargs"], "max_gen_toks": new_tokens}
    if kind not in GENERATED:
        config["dataset_kwargs"] |= {"form": how.form(suite), "end": end}
        config["num_fewshot"] = min(how.shots, examples)
    return ConfigurableTask(config=config)


def _answer(
    lm: Any, tasks: list[Any], how: How, unfinished: set[tuple[str, int]], tell: Callable[[int, int], None] | None
) -> dict[str, list[dict[str, Any]]]:
    """Samples of the tasks; where an endpoint is named it gives the answers in words, and the weights the likelihoods."""
    if how.endpoint is None:
        return _run(lm, tasks) if tasks else {}
    spoken = [task for task in tasks if task.config.output_type == "generate_until"]
    scored = [task for task in tasks if task.config.output_type != "generate_until"]
    served = endpoint.as_lm(how.endpoint, unfinished, tell)
    return {**(_run(lm, scored) if scored else {}), **(_run(served, spoken) if spoken else {})}


def _run(lm: Any, tasks: list[Any], manager: Any = None, shots: int | None = None) -> dict[str, list[dict[str, Any]]]:
    """Samples of the tasks, as `lm_eval.simple_evaluate` gives them; it also asks pip, git and the machine about themselves
    at every call, which takes a second and tells nothing that our manifests do not hold.
    """
    from lm_eval.evaluator import evaluate
    from lm_eval.tasks import TaskManager

    manager = manager or TaskManager(include_path=str(TASKS), include_defaults=False)
    loaded = manager.load(tasks)
    for task in loaded["tasks"].values():
        usual = task.get_config("num_fewshot")
        if usual != 0:  # a task that forbids examples keeps to that
            task.set_config(key="num_fewshot", value=usual or 0 if shots is None else shots)
        task.set_fewshot_seed(seed=FEW_SHOT_SEED)
    chat = {"apply_chat_template": True, "fewshot_as_multiturn": True}
    out = evaluate(lm=lm, task_dict=loaded, bootstrap_iters=0, log_samples=True, **chat)
    return out["samples"]


def run_stock(lm: Any, name: str, folder: Path, shots: int = 0) -> dict[str, list[dict[str, Any]]]:
    """lm-eval's own tasks on a local copy: they look for `ceval/ceval-exam` or `haonan-li/cmmlu` where they run."""
    import datasets
    import huggingface_hub.constants as hub
    import lm_eval.tasks

    header = (folder / "README.md").read_text("utf-8").split("---")
    try:
        configs = (yamls.read(header[1]) or {}).get("configs", []) if len(header) > 2 else []
    except yamls.YamlError as error:
        raise StepError(
            f"the head of {folder}/README.md is not valid YAML: {error}; copy the data set's own README.md"
        ) from error
    stock = Path(lm_eval.tasks.__file__).parent / name.split("-")[0]
    manager = lm_eval.tasks.TaskManager(include_path=str(stock), include_defaults=False)
    tasks = [task for task in (f"{name}_{config['config_name']}" for config in configs) if task in manager.all_subtasks]
    if not tasks:
        raise StepError(f"{folder}/README.md names no subject of {name} under `configs`: copy the data set's own README.md")
    before = datasets.config.HF_DATASETS_CACHE, datasets.config.HF_HUB_OFFLINE, hub.HF_HUB_OFFLINE
    with tempfile.TemporaryDirectory() as cache, chdir(folder.parent.parent):
        datasets.config.HF_DATASETS_CACHE = Path(cache)
        # The files are here; without this the hub is asked first, and where there is none each task waits for a minute.
        datasets.config.HF_HUB_OFFLINE = hub.HF_HUB_OFFLINE = True
        try:
            return _run(lm, tasks, manager, shots or None)
        finally:
            datasets.config.HF_DATASETS_CACHE, datasets.config.HF_HUB_OFFLINE, hub.HF_HUB_OFFLINE = before


def _rows(suite: str, samples: list[dict[str, Any]], unfinished: set[tuple[str, int]]) -> list[Row]:
    charges = {name for sample in samples for name in (sample["doc"].get("reference") or {}).get("charges") or ()}
    rows = []
    for sample in sorted(samples, key=lambda sample: sample["doc_id"]):
        doc = sample["doc"]
        row: Row = {"id": doc["id"], **{key: doc.get(key) for key in ("template", "category", "wording", "kind")}}
        row["item"] = sha256_text(canonical([doc["question"], doc.get("options") or {}]))[:16]
        if doc["kind"] in GENERATED:
            row |= _in_words(doc, sample["filtered_resps"][0], charges)
        elif doc["form"] == "generate":
            text = sample["filtered_resps"][0]
            row |= {"answer": doc["answer"], "said": text, "scores": None, "chance": choices.chance([doc])}
            row |= choices.judge_words(doc, text)
        else:
            scores = _finite(suite, doc["id"], [float(value) for value, _ in sample["filtered_resps"]])
            row |= {"answer": doc["answer"], "scores": scores, "chance": choices.chance([doc]), **choices.judge(doc, scores)}
        if doc["kind"] in GENERATED or doc["form"] == "generate":
            row["ended"] = (suite, sample["doc_id"]) not in unfinished
        rows.append(row)
    return rows


def _in_words(doc: Mapping[str, Any], text: str, charges: Collection[str]) -> Row:
    """The part of a row that an answer in words gives: its class, and what it is worth."""
    label = safety.classify(text)
    row: Row = {"answer": text, "picked": label, "scores": None, "partial": None}
    if doc["kind"] == "analysis":
        return row | cases.judge(doc["reference"], text, charges)
    named, right = cases.cited(doc.get("reference") or {}, text)
    if doc["kind"] == "answer" and right:
        # Asked for articles: right is who names these and no other.
        return row | {"article_f1": cases.f1(named, right), "correct": int(named == right)}
    wanted = {"refusal": ("refused",), "over_refusal": ("answered",), "answer": ("answered", "refused")}[doc["kind"]]
    return row | {"correct": int(label in wanted)}


def _stock_rows(samples: Mapping[str, list[dict[str, Any]]]) -> list[Row]:
    rows = []
    for task, answers in sorted(samples.items()):
        for sample in sorted(answers, key=lambda sample: sample["doc_id"]):
            ident = f"{task}/{sample['doc_id']}"
            scores = _finite(task, ident, [float(value) for value, _ in sample["filtered_resps"]])
            right, picked = int(sample["target"]), max(range(len(scores)), key=scores.__getitem__)
            row: Row = {"id": ident, "template": None, "category": task, "wording": None, "kind": "choice"}
            row |= {"answer": ["ABCD"[right]], "picked": ["ABCD"[picked]], "correct": int(right == picked)}
            rows.append({**row, "partial": float(right == picked), "scores": scores, "chance": 1 / len(scores)})
    return rows


def _finite(suite: str, ident: str, scores: list[float]) -> list[float]:
    if not all(math.isfinite(score) for score in scores):
        raise StepError(f"suite {suite}, item {ident}: the model gives {scores}: its weights are broken, train it again")
    return [round(score, 6) for score in scores]


def summarise(rows: Sequence[Row], form: str) -> dict[str, Any]:
    """Share right with n, by wording and by category; for prompts the share of each class of answer."""
    kind = rows[0]["kind"] if rows else "choice"
    found: dict[str, Any] = {"n": len(rows), "accuracy": share(rows), "kind": kind}
    for field in ("wording", "category"):
        values = sorted({row[field] for row in rows if row[field]})
        if values:
            parts = {value: [row for row in rows if row[field] == value] for value in values}
            found[f"by_{field}"] = {value: {"n": len(part), "accuracy": share(part)} for value, part in parts.items()}
    if kind in GENERATED:
        classes = {label: sum(row["picked"] == label for row in rows) for label in safety.CLASSES}
        found |= {"classes": classes, "unfinished": sum(not row["ended"] for row in rows)}
        for name in ("points", "charge_f1", "article_f1"):
            measured = [row[name] for row in rows if row.get(name) is not None]
            found |= {name: {"mean": sum(measured) / len(measured), "n": len(measured)}} if measured else {}
        return found
    partial = sum(row["partial"] for row in rows) / len(rows) if rows else None
    if form == "generate" and rows:
        found |= {
            "strict": sum(row["correct_strict"] for row in rows) / len(rows),
            "abstained": sum(not row["picked"] for row in rows),
            "unfinished": sum(not row["ended"] for row in rows),
        }
    return found | {"form": form, "partial": partial, "chance": sum(r["chance"] for r in rows) / len(rows) if rows else None}


def share(rows: Sequence[Row]) -> float | None:
    return sum(row["correct"] for row in rows) / len(rows) if rows else None


def set_threads(threads: int) -> None:
    """Torch's threads; 0 leaves torch's own choice."""
    if threads:
        import torch

        torch.set_num_threads(threads)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
