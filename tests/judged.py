"""Artifacts in a store as a run leaves them: a model, and a decision with all that it was made of."""

import json
import os
import time
from types import SimpleNamespace

from legal_tasks import artifacts

WEIGHTS = {"gptq/model.safetensors": "weights"}


def finished(store, step, files, inputs=None, params=None, created=None, **describe):
    """An artifact with these files {name: text}; `inputs`: {name: artifact or digest}; `created`: seconds since 1970."""
    digests = {name: given if isinstance(given, str) else given.digest for name, given in (inputs or {}).items()}
    described = {"params": params or {}, "inputs": digests, **describe}
    key = artifacts.sha256_text(artifacts.canonical([step, files, described, created]))
    output = store.root / ".work" / step / f"{key[:16]}.output"
    for name, text in files.items():
        (output / name).parent.mkdir(parents=True, exist_ok=True)
        (output / name).write_text(text)
    report = describe.pop("report", {})
    made = store.finish(step, key, output, report, describe=described)
    if created is not None:
        path = made.path / artifacts.MANIFEST
        manifest = json.loads(path.read_text())
        path.write_text(json.dumps(manifest | {"created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(created))}))
        os.utime(path)
    return made


def model(store, name, files=None):
    """All that a compressed model was made of, and it: collect, clean, split, lora, merge, compress."""
    one = SimpleNamespace(name=name)
    one.collect = finished(store, "data.collect", {"items.jsonl": name})
    one.clean = finished(store, "data.clean", {"records.jsonl": name}, {"items": one.collect})
    one.split = finished(store, "data.split", {"train.jsonl": name}, {"records": one.clean})
    one.lora = finished(store, "training.lora", {"adapter": name}, {"data": one.split, "base": "b" * 64})
    one.merge = finished(store, "training.merge", {"model": name}, {"adapter": one.lora, "base": "b" * 64})
    one.compress = finished(
        store, "compression.compress", files or {**WEIGHTS, "name": name}, {"model": one.merge, "exams": one.collect}
    )
    return one


def judge(store, one, verdict="pass", run="by hand", dag="", created=None, files=None, **change):
    """The gate's artifact about `one`; `change` replaces inputs: comparison_compression, gate_data, evaluation_items, ..."""

    def inputs(step, **given):
        own = {name.removeprefix(f"{step}_"): value for name, value in change.items() if name.startswith(f"{step}_")}
        return {name: value for name, value in (given | own).items() if value is not None}

    asked = inputs("evaluation", challenger=one.merge, items=one.collect, base="b" * 64)
    evaluation = finished(store, "evaluation.harness", {"summary.json": f"{one.name} {asked}"}, asked)
    given = inputs("comparison", evaluation=evaluation, compression=one.compress)
    comparison = finished(store, "evaluation.compare", {"comparison.json": f"{one.name} {evaluation.digest}"}, given)
    proof = finished(store, "serving.prove", {"parity.json": one.name}, inputs("proof", model=one.compress))
    given = inputs("gate", comparison=comparison, proof=proof, data=one.clean, compression=one.compress)
    said = {"decision": verdict, "reasons": ["general ability: fail"] if verdict == "refused" else ["better"]}
    content = {"decision.json": json.dumps(said | {"domain": [], "metrics": {}}), **(files or {})}
    return finished(store, "evaluation.gate", content, given, created=created, run=run, dag=dag)


def choose(store, gates, chosen, run="by hand", dag=""):
    """The choice's artifact among {base: gate's artifact}."""
    content = {"decision.json": (gates[chosen].path / "decision.json").read_text()}
    inputs = {f"gate[{base}]": gate for base, gate in gates.items()}
    return finished(store, "evaluation.choose", content, inputs, run=run, dag=dag, report={"base": chosen})
