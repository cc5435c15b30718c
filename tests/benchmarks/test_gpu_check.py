"""What `make gpu-check` runs on a card runs in its tiny size here, writes no result, and says so where there is no card."""

import os
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

MODULES = ("gpu_training", "gpu_compression")


def run(name, **values):
    values = {**os.environ, "PYTHONPATH": str(REPOSITORY), "CUDA_VISIBLE_DEVICES": "", **values}
    argv = [sys.executable, "-m", f"benchmarks.{name}"]
    return subprocess.run(argv, env=values, text=True, capture_output=True, timeout=600, cwd=REPOSITORY)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "said"), [("gpu_training", "LoRA: "), ("gpu_compression", "16 at once: ")])
def test_the_tiny_size_runs_on_a_cpu(name, said):
    result = REPOSITORY / "benchmarks" / "results" / f"{name}.json"
    before = result.read_bytes() if result.is_file() else None
    done = run(name, GPU_CHECK_SIZE="tiny")
    assert done.returncode == 0 and said in done.stdout, done.stdout + done.stderr[-2000:]
    assert (result.read_bytes() if result.is_file() else None) == before


@pytest.mark.parametrize("name", MODULES)
def test_without_a_card_it_says_so(name):
    done = run(name)
    assert done.returncode == 2 and "no usable card here; GPU_CHECK_SIZE=tiny" in done.stderr
