"""Quantise a float16 GGUF file to llama.cpp's K types with llama.cpp's own quantiser.

Which tensors get more bits than the others is llama.cpp's decision; tokenizer and chat template are copied. The quantiser is
`llama-quantize` where it is on the PATH, as in llama.cpp's containers, else the library in the environment `llamacpp`,
in which this module runs as a program:

    python -m legal_tasks.compression.kquants model-f16.gguf model-q4_k_m.gguf Q4_K_M
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ENVIRONMENT = "llamacpp"
TOOL = "llama-quantize"
KINDS = ("q4_k_m",)


def command(source: Path, output: Path, kind: str) -> list[str]:
    """The argv that quantises; StepError where there is no quantiser on this machine."""
    from legal_tasks import setup
    from legal_tasks.step import StepError

    words = [str(source), str(output), kind.upper()]
    tool, python = shutil.which(TOOL), setup.python_of(ENVIRONMENT)
    if tool is not None:
        return [tool, *words]
    if not python.is_file():
        raise StepError(
            f"--gguf {kind} needs llama.cpp's quantiser; run: python3.11 -m legal_tasks.setup {ENVIRONMENT}, "
            f"or put {TOOL} on the PATH"
        )
    return [str(python), "-m", "legal_tasks.compression.kquants", *words]


def quantise(source: Path, output: Path, kind: str) -> Path:
    """Write `source`, a float16 GGUF file, as `kind` (one of KINDS) to `output`; return it."""
    from legal_tasks.step import REPOSITORY

    paths = os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(command(source, output, kind), env={**os.environ, "PYTHONPATH": paths}, text=True, capture_output=True)
    if done.returncode or not output.is_file():
        raise RuntimeError(f"llama.cpp's quantiser ended with {done.returncode}: {(done.stdout + done.stderr)[-2000:]}")
    return output


def main(argv: list[str]) -> int:
    """Called in the environment `llamacpp`: 0 where llama.cpp has written the file."""
    import ctypes

    import llama_cpp

    source, output, kind = argv
    settings = llama_cpp.llama_model_quantize_default_params()
    settings.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{kind}")
    return int(llama_cpp.llama_model_quantize(source.encode(), output.encode(), ctypes.byref(settings)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
