"""Rounding of inputs, against numbers worked by hand and ggml's own quantiser (the gguf package)."""

import pytest

torch = pytest.importorskip("torch")
gguf = pytest.importorskip("gguf")

import numpy  # noqa: E402

from legal_tasks.compression import rounding  # noqa: E402


def test_a_block_of_32_shares_a_scale_of_its_largest_number():
    values = torch.zeros(2, 32)
    values[0, 0], values[0, 1], values[1, 5] = 127.0, 2.4, -254.0
    rounded = rounding.q8_0(values)
    assert (rounded[0, 0], rounded[0, 1], rounded[1, 5]) == (127.0, 2.0, -254.0)  # scales 1 and 2
    assert rounded.count_nonzero() == 3


def test_the_rounding_is_that_of_ggmls_q8_0_within_a_step_of_its_scale():
    values = torch.randn(64, 256, generator=torch.Generator().manual_seed(0))
    packed = gguf.quants.quantize(values.numpy(), gguf.GGMLQuantizationType.Q8_0)
    wanted = torch.from_numpy(gguf.quants.dequantize(packed, gguf.GGMLQuantizationType.Q8_0).astype(numpy.float32))
    same = (rounding.q8_0(values) - wanted).abs() <= 1e-6
    assert same.float().mean() > 0.999  # numbers in the middle of two steps go to the even one here, away from zero there


def test_a_block_of_256_keeps_its_largest_number_and_rounds_the_rest_to_127_steps():
    values = torch.linspace(-1.0, 1.0, 256)[None] * 127
    rounded = rounding.q8_k(values)
    assert rounded[0, 0] == -127 and (rounded - values).abs().max() <= 0.5 + 1e-4
    assert rounding.q8_k(torch.zeros(1, 256)).count_nonzero() == 0
