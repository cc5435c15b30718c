"""What a training will take is told before it starts."""

import resource
import subprocess
import sys

import pytest

pytest.importorskip("torch")

import torch

from legal_tasks.step import StepError
from legal_tasks.training import lora, preflight, trainer
from tests.legal_tasks.training.tiny import make_base


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_base(tmp_path_factory.mktemp("base") / "model")


def test_kept_activations_are_counted_by_hand():
    """y = (x w)^2: autograd keeps x for w's gradient and x w for the square; w is a weight and not counted."""
    layer = torch.nn.Linear(8, 4, bias=False)
    layer.device = torch.device("cpu")
    x = torch.ones(3, 8)
    assert preflight.count_kept(layer, lambda model, x: model(x).square().sum(), {"x": x}) == 4 * (3 * 8 + 3 * 4)


def test_counting_changes_no_random_number(base):
    model, _ = lora.load_base(base, "cpu", 64)
    batch = {"input_ids": torch.ones(1, 8, dtype=torch.long), "labels": torch.ones(1, 8, dtype=torch.long)}
    torch.manual_seed(0)
    wanted = torch.rand(3)
    torch.manual_seed(0)
    assert preflight.count_kept(model, trainer.full_loss, batch) > 0
    assert torch.equal(torch.rand(3), wanted)


def test_a_batch_that_does_not_fit_is_computed_in_parts(capsys):
    free, _ = preflight.free_memory("cpu")
    assert preflight.choose_parts("cpu", 8, 0, free // 100) == 1
    assert preflight.choose_parts("cpu", 8, 0, free // 4) == 4  # 1.25 x 2 rows of a quarter fit, 4 do not
    assert "in 4 parts" in capsys.readouterr().out


def test_a_row_that_does_not_fit_is_refused_with_numbers_and_the_way_out():
    free, _ = preflight.free_memory("cpu")
    with pytest.raises(StepError, match=r"one row .* GiB .* free: lower --max-length, take --gradient-checkpointing"):
        preflight.choose_parts("cpu", 8, 0, 2 * free)


def test_weights_are_counted_from_the_file_and_refused_where_they_cannot_fit(base):
    model, _ = lora.load_base(base, "cpu", 64)
    assert preflight.check_weights(base, "cpu", 4.0) == 4 * model.num_parameters()  # the tied output layer is stored once
    with pytest.raises(StepError, match="choose a smaller --base"):
        preflight.check_weights(base, "cpu", 1e9)


def test_a_disk_too_small_for_the_checkpoints_is_refused(tmp_path):
    preflight.check_disk([tmp_path], 1000)
    with pytest.raises(StepError, match="--checkpoints or LEXLOOP_STORE"):
        preflight.check_disk([tmp_path], 10**15)


def test_the_process_s_own_limit_bounds_the_free_memory():
    script = (
        "import resource; from legal_tasks.training.preflight import free_memory, _lines\n"
        "used = [int(line.split()[1]) << 10 for line in _lines('/proc/self/status') if line.startswith('VmSize')][0]\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), resource.RLIM_INFINITY))\n"
        "print(*free_memory('cpu'))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    size, _, where = done.stdout.partition(" ")
    assert 32 << 20 < int(size) <= 64 << 20, done.stderr
    assert "ulimit" in where
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY
