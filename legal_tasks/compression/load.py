"""Admit a model folder and load it, whatever its format, with the numbers that its engine computes with.

On a CPU the compressed formats are unpacked to dense float32 weights: the same function of the tokens as the
quantised kernels compute, at the speed of plain matrices. On a card GPTQ runs on its own kernels.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from legal_tasks.step import StepError

FORMATS = ("merged", "gptq", "gguf")
PICKLES = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".npz", ".h5", ".msgpack"})
CODE = frozenset({".py", ".pyc", ".so", ".sh", ".dll"})
WEIGHTS = (".safetensors", ".gguf")


def admit(folder: Path, programs: Mapping[str, str] | None = None) -> Path:
    """`folder`, if nothing in it can run code at load: no pickle, program, symlink or `auto_map`; else StepError.

    `programs` (training and merge): sha256 by the names of those Python files that may lie at its top, with an `auto_map`
    that names only them; None where no program is let pass.
    A link is let pass only from a snapshot of the Hugging Face cache into the blobs of the same repository, which is
    how that cache keeps every file.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise StepError(f"{folder} is not a folder: name the folder that holds config.json and *.safetensors")
    blobs = folder.resolve().parent.parent / "blobs"
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() and path.resolve().parent != blobs:
            raise StepError(f"{path} is a symbolic link: put the file itself into the model folder")
        if path.suffix.lower() in PICKLES:
            raise StepError(f"{path} may hold a pickle, which runs code when read: convert the weights to safetensors")
        if path.suffix.lower() in CODE:
            _admit_program(path, folder, programs)
        if path.suffix == ".json" and path.is_file():
            _admit_auto_map(path, folder, programs)
    if not any(path.suffix in WEIGHTS for path in folder.rglob("*")):
        raise StepError(f"{folder} holds no weights (*{' or *'.join(WEIGHTS)})")
    return folder


def _admit_program(path: Path, folder: Path, programs: Mapping[str, str] | None) -> None:
    if programs is None or path.suffix != ".py" or path.parent != folder or not path.is_file():
        raise StepError(f"{path} is a program: a model folder holds weights, JSON and text only")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if programs.get(path.name) != found:
        raise unlisted(path, found)


def unlisted(path: Path, found: str) -> StepError:
    """What is said of a program that is not on the list, or not with this hash."""
    return StepError(
        f"{path} is a program with the sha256 {found}, which --remote-code does not list: read it; if it may run on your "
        f'machine, set remote_code: {{{path.name}: "{found}"}} under training.lora and training.merge'
    )


def _admit_auto_map(path: Path, folder: Path, programs: Mapping[str, str] | None) -> None:
    content = _keys(path)
    if "auto_map" not in content:
        return
    if programs is None:
        raise StepError(f"{path} has auto_map, which loads remote code: use a base of a built-in architecture")
    named = content["auto_map"]
    values = list(named.values()) if isinstance(named, dict) else [named]
    for reference in [each for value in values for each in (value if isinstance(value, list) else [value]) if each is not None]:
        if not isinstance(reference, str) or not re.fullmatch(r"[A-Za-z_]\w*\.[A-Za-z_]\w*", reference):
            raise StepError(f"{path} has auto_map to {reference!r}, which is no class of a program beside it: it is not fetched")
        name = reference.partition(".")[0] + ".py"
        if (folder / name).is_file():
            _admit_program(folder / name, folder, programs)
        elif name in programs:
            raise StepError(f"{path} has auto_map to {reference}, but there is no {name} beside it: fetch the model again")
        else:
            raise StepError(
                f"{path} has auto_map, which loads remote code: {name}, which --remote-code does not list; fetch the folder with "
                f"its programs, read them, list each with its sha256 (sha256sum {name}), or use a base of a built-in architecture"
            )


def auto_map(path: Path) -> dict[str, Any]:
    """What a configuration says about programs of its own: {} where it has none."""
    named = _keys(path).get("auto_map") or {}
    return named if isinstance(named, dict) else {"": named}


def _keys(path: Path) -> Any:
    try:
        value = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise StepError(f"{path} is not JSON ({error}): fetch the model again") from error
    return value if isinstance(value, dict) else {}


def dtype(kind: Any) -> dict[str, Any]:
    """The option of `from_pretrained` for the type of the weights, which had another name before transformers 5."""
    import transformers

    return {"dtype" if int(transformers.__version__.partition(".")[0]) >= 5 else "torch_dtype": kind}


def load_tokenizer(folder: Path):
    """The fast tokenizer of a model folder; never remote code."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)


def load_model(path: Path, format: str = "merged", device: str = "cpu"):
    """(model in evaluation mode, tokenizer) of `path`.

    `merged` and `gptq`: a Hugging Face folder; `gguf`: a *.gguf file, whose tokenizer lies in `tokenizer/` beside it.
    Weights are float32 on a CPU and keep their stored type elsewhere. Raises StepError for an unknown format, a
    folder that `admit` refuses, or a quantised folder given as another format.
    """
    if format not in FORMATS:
        raise StepError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
    path = Path(path)
    if format == "gguf":
        model, tokenizer = _load_gguf(path), load_tokenizer(path.parent / "tokenizer")
    else:
        admit(path)
        from legal_tasks.compression.gptq import quantisation

        quantised = bool(quantisation(path))
        if quantised != (format == "gptq"):
            raise StepError(f"{path} is {'a quantised' if quantised else 'not a quantised'} model, not {format}")
        model, tokenizer = _load_folder(path, quantised, device), load_tokenizer(path)
    return model.to(device).eval(), tokenizer


def _load_folder(path: Path, quantised: bool, device: str):
    from transformers import AutoModelForCausalLM

    if quantised and device == "cpu":
        from legal_tasks.compression.gptq import unpack

        return unpack(path)
    options = {"dtype": "float32" if device == "cpu" else "auto", "trust_remote_code": False}
    if quantised:
        options["device_map"] = device
    return AutoModelForCausalLM.from_pretrained(str(path), **options)


def _load_gguf(path: Path):
    """Transformers' own reader of GGUF: a second reading of the file, beside llama.cpp's, computed with its roundings."""
    from transformers import AutoModelForCausalLM

    from legal_tasks.compression.rounding import round_inputs

    if not path.is_file() or path.suffix != ".gguf":
        raise StepError(f"{path} is not a .gguf file")
    model = AutoModelForCausalLM.from_pretrained(str(path.parent), gguf_file=path.name, dtype="float32")
    round_inputs(model, path)
    return model
