"""The programs that come with a base ("remote code"): only those run whose sha256 is on the list that the settings give.

What is hashed is what runs: a program is read once and compiled from those very bytes, so that a file which changes after
the check changes nothing, and transformers' cache of dynamic modules is never used. `trust_remote_code` is never set.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import linecache
import re
import sys
from collections.abc import Mapping
from importlib.abc import Loader, MetaPathFinder
from importlib.util import spec_from_loader
from pathlib import Path
from typing import Any

from legal_tasks.compression.load import admit, auto_map, dtype, load_tokenizer, unlisted
from legal_tasks.step import StepError

NAME, DIGEST = r"[A-Za-z_]\w*\.py", "[0-9a-f]{64}"


def check(programs: Mapping[str, str]) -> None:
    """StepError where `--remote-code` is no list of file names with their sha256."""
    for name, digest in programs.items():
        if not re.fullmatch(NAME, name):
            raise StepError(f"--remote-code: {name!r} must be the name of a Python file beside config.json, e.g. modeling_x.py")
        if not re.fullmatch(DIGEST, digest):
            raise StepError(f"--remote-code: {name} must have its sha256, 64 digits 0-9a-f, got {digest!r}; run sha256sum {name}")


class Package(MetaPathFinder, Loader):
    """A package held in memory: `sources` by module name, importing one another by relative imports."""

    def __init__(self, name: str, sources: Mapping[str, bytes]):
        self.name, self.sources = name, sources

    def find_spec(self, fullname, path=None, target=None):
        package, _, module = fullname.rpartition(".")
        if fullname == self.name:
            return spec_from_loader(fullname, self, is_package=True)
        return spec_from_loader(fullname, self) if package == self.name and module in self.sources else None

    def exec_module(self, module) -> None:
        if module.__name__ == self.name:
            return
        text = self.sources[module.__name__.rpartition(".")[2]].decode("utf-8")
        module.__file__ = f"<{module.__name__}>"  # no path: nothing on disk stands for it
        linecache.cache[module.__file__] = (
            len(text),
            None,
            text.splitlines(keepends=True),
            module.__file__,
        )  # torch.jit's source
        exec(compile(text, module.__file__, "exec", dont_inherit=True), module.__dict__)


def read(folder: Path, programs: Mapping[str, str]) -> dict[str, bytes]:
    """The listed programs that lie in `folder`; StepError where one is not what the list says."""
    contents = {name: (folder / name).read_bytes() for name in sorted(programs) if (folder / name).is_file()}
    for name, content in contents.items():
        found = hashlib.sha256(content).hexdigest()
        if found != programs[name]:
            raise unlisted(folder / name, found)
    return contents


def load_classes(folder: Path, programs: Mapping[str, str], named: Mapping[str, Any]) -> dict[str, Any]:
    """The classes that an `auto_map` names, by its keys; of a pair (slow and fast tokenizer) the fast one where there is one."""
    contents = read(folder, programs)
    content = b"".join(name.encode() + programs[name].encode() for name in contents)
    package = f"lexloop_base_{hashlib.sha256(content).hexdigest()[:16]}"
    if package not in sys.modules:
        sys.meta_path.append(Package(package, {name.removesuffix(".py"): text for name, text in contents.items()}))
    classes = {}
    for key, value in named.items():
        reference = next(filter(None, reversed(value))) if isinstance(value, list) else value
        module, _, name = reference.partition(".")
        try:
            classes[key] = getattr(importlib.import_module(f"{package}.{module}"), name)
        except (ImportError, AttributeError) as error:
            raise StepError(
                f"{folder / module}.py cannot be used here ({error}): take the environment that it was written for, "
                "by --environment"
            ) from error
    return classes


def load(folder: Path, programs: Mapping[str, str], kind: Any, **options: Any):
    """The causal language model of an admitted folder, weights of type `kind`: by its own listed programs where it has some."""
    from transformers import AutoModelForCausalLM

    admit(folder, programs)
    options |= dtype(kind)
    named = auto_map(folder / "config.json")
    if not named:
        return AutoModelForCausalLM.from_pretrained(str(folder), trust_remote_code=False, **options)
    for key in ("AutoConfig", "AutoModelForCausalLM"):
        if key not in named:
            raise StepError(f"{folder / 'config.json'}: its auto_map names no {key}: it is no causal language model")
    classes = load_classes(folder, programs, {key: named[key] for key in ("AutoConfig", "AutoModelForCausalLM")})
    config = classes["AutoConfig"].from_pretrained(str(folder))
    return classes["AutoModelForCausalLM"].from_pretrained(str(folder), config=config, **options)


def tokenizer(folder: Path, programs: Mapping[str, str]):
    """The tokenizer of an admitted folder: its own program's, if listed, or one that transformers has."""
    path, template = folder / "tokenizer_config.json", folder / "chat_template.jinja"
    named = auto_map(path) if path.is_file() else {}
    if "AutoTokenizer" in named:
        found = load_classes(folder, programs, {"AutoTokenizer": named["AutoTokenizer"]})["AutoTokenizer"]
    elif auto_map(folder / "config.json"):  # AutoTokenizer would ask for the configuration's class
        from transformers import PreTrainedTokenizerFast as found
    else:
        return load_tokenizer(folder)
    made = found.from_pretrained(str(folder))
    if not made.chat_template and template.is_file():  # transformers 4.41 does not look there
        made.chat_template = template.read_text("utf-8")
    return made


def copy(base: Path, target: Path, programs: Mapping[str, str]) -> None:
    """The base's listed programs, and what its config.json says of them, into the folder of a model made from it."""
    for name, content in read(base, programs).items():
        (target / name).write_bytes(content)
    named = auto_map(base / "config.json")
    if named:
        content = json.loads((target / "config.json").read_text("utf-8"))
        (target / "config.json").write_text(json.dumps(content | {"auto_map": named}), "utf-8")
