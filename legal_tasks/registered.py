"""What `mlflow.pyfunc.load_model("models:/legal-llm@champion")` loads: a pointer to the weights in the store, which answers.

MLflow keeps this file with the version (models from code: nothing is pickled) and runs it alone, so it imports nothing of ours.
It reads the merged weights where the store still has them, else the GGUF file, by transformers on a CPU. What it reads must be
the very files that were released, and hold no program. The gateway serves the GPTQ weights; answers may differ in single words.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

REFUSED = (".py", ".pyc", ".so", ".sh", ".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".npz", ".h5")


class GoneError(Exception):
    """The weights of this version are not where they were released from, or are others."""


def find(told):
    """(folder of the model, its GGUF file or None) of a version; GoneError where this machine has neither."""
    merged, packed = told.get("merged"), told["artifact"]
    faults = []
    for place, digest, part in ((merged, told.get("merged_digest"), "model"), (packed, told["digest"], "")):
        if not place:
            continue
        manifest = Path(place) / "manifest.json"
        if not manifest.is_file():
            faults.append(f"{place} is not there")
            continue
        made = json.loads(manifest.read_text("utf-8"))
        if made.get("digest") != digest:
            faults.append(f"{place} holds the digest {made.get('digest')}, wanted {digest}")
            continue
        files = sorted(Path(place).glob("*.gguf"))
        wanted = None if part else next((file for file in files if file.name == told.get("gguf")), None)
        if not part and wanted is None:
            faults.append(f"{place} holds no {told.get('gguf') or 'GGUF file'}")
            continue
        names = [name for name in made["files"] if name.startswith(("model/",) if part else ("tokenizer/", wanted.name))]
        check(Path(place), {name: made["files"][name] for name in names})
        return (Path(place) / part, None) if part else (Path(place), wanted)
    raise GoneError(
        "legal-llm: the weights stay in the store and are not in MLflow: "
        + "; ".join(faults)
        + ". Load it on a machine that has the store under this path, name the folder by "
        "load_model(uri, model_config={'artifact': DIR, 'merged': DIR}), or run the retrain again (--recompute compress)."
    )


def check(folder, files):
    """GoneError unless `files` {name: sha256} lie in `folder` unchanged, without links, programs and pickles."""
    parts = {name.partition("/")[0] for name in files if "/" in name}
    present = {path.relative_to(folder).as_posix() for part in parts for path in (folder / part).rglob("*") if not path.is_dir()}
    for name in sorted(present | files.keys()):
        path = folder / name
        if name not in files or path.is_symlink() or path.suffix.lower() in REFUSED:
            raise GoneError(f"legal-llm: {path} is a program, a pickle, a link or not of the released model: it is not loaded")
        with open(path, "rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != files[name]:
                raise GoneError(f"legal-llm: {path} was changed after it was released: it is not loaded")
        if path.suffix == ".json" and "auto_map" in json.loads(path.read_text("utf-8")):
            raise GoneError(f"legal-llm: {path} asks for programs of its own (auto_map): ask the gateway instead")


class StoredModel(PythonModel):
    """Answers questions by the version's own weights, greedily, one after the other."""

    def load_context(self, context):
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        folder, packed = find(context.model_config)
        own = {"trust_remote_code": False, "local_files_only": True}
        self.tokenizer = AutoTokenizer.from_pretrained(str(folder / "tokenizer" if packed else folder), **own)
        source = {"gguf_file": packed.name} if packed else {"use_safetensors": True}
        self.model = AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32, **own, **source).eval()

    def predict(self, context, model_input, params=None):
        """A DataFrame with a column `messages` (OpenAI's list of role and content) or `prompt` -> [answer of each row]."""
        rows = model_input.to_dict("records") if hasattr(model_input, "to_dict") else list(model_input)
        most = int((params or {}).get("max_new_tokens") or 256)
        return [self.answer(chat_of(row), most) for row in rows]

    def answer(self, chat, most):
        import torch

        shown = self.tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=True, return_tensors="pt")
        length = shown["input_ids"].shape[1]
        room = self.model.config.max_position_embeddings - length
        if room < 1:
            raise ValueError(f"the chat has {length} tokens, the model reads {length + room}: shorten it")
        with torch.inference_mode():
            found = self.model.generate(
                **shown, max_new_tokens=min(most, room), do_sample=False, pad_token_id=self.tokenizer.eos_token_id
            )
        return self.tokenizer.decode(found[0, length:], skip_special_tokens=True).strip()


def chat_of(row):
    """The chat of one row: its `messages`, else its `prompt` as the user's only turn."""
    if not isinstance(row, dict):
        row = {"prompt": row}
    messages = row.get("messages")
    if messages is not None and not isinstance(messages, float):
        return [{"role": str(each["role"]), "content": str(each["content"])} for each in messages]
    if isinstance(row.get("prompt"), str) and row["prompt"]:
        return [{"role": "user", "content": row["prompt"]}]
    raise ValueError(f"a row needs a text in `prompt`, or a chat in `messages`, got {sorted(row)}")


set_model(StoredModel())
