"""GPTQ: the layout read by hand, and a quantised checkpoint that other readers load to the same numbers."""

import json
import subprocess
import sys

import pytest
import torch

from legal_tasks.compression.gptq import check_shapes, dequantise, quantise, unpack
from legal_tasks.compression.load import admit, load_model
from legal_tasks.step import StepError
from legal_tasks.training.chat import messages, render
from tests.legal_tasks.training.tiny import make_base, make_record

IDS = torch.tensor([[1, 5, 264, 265, 266, 267, 268, 3, 6]])


def pack(codes):
    """Eight 4-bit codes to an int32, lowest first, along the first axis."""
    words = torch.zeros(codes.shape[0] // 8, codes.shape[1], dtype=torch.int64)
    for position in range(8):
        words |= codes[position::8].long() << (4 * position)
    return words.to(torch.int32)  # wraps to the signed 32-bit pattern


def quantised(weight, groups, offset):
    """(tensors in AutoGPTQ's layout, scale of each weight) of a matrix (outputs, inputs), with columns in act-order."""
    outputs, inputs = weight.shape
    order = torch.randperm(inputs)  # act-order: groups are not neighbours
    g_idx = torch.empty(inputs, dtype=torch.int32)
    g_idx[order] = torch.arange(inputs, dtype=torch.int32) // (inputs // groups)
    codes = torch.empty(inputs, outputs, dtype=torch.int32)
    scales, zeros = torch.empty(groups, outputs), torch.empty(groups, outputs, dtype=torch.int32)
    for group in range(groups):
        part = weight.T[g_idx == group]
        low, high = part.min(0).values.clamp(max=0), part.max(0).values.clamp(min=0)
        scales[group] = (high - low) / 14
        zeros[group] = torch.clamp(torch.round(-low / scales[group]), 1, 15).int()
        codes[g_idx == group] = torch.clamp(torch.round(part / scales[group]) + zeros[group], 0, 15).int()
    stored = zeros - 1 if offset else zeros
    tensors = {"qweight": pack(codes), "qzeros": pack(stored.T).T.contiguous(), "scales": scales, "g_idx": g_idx}
    return tensors, scales[g_idx.long()].T


@pytest.mark.parametrize("offset", [True, False])
def test_a_known_matrix_in_autogptqs_layout_is_read_within_half_a_step(offset):
    torch.manual_seed(0)
    weight = torch.randn(16, 32)
    tensors, steps = quantised(weight, 2, offset)
    got = dequantise(**tensors, bits=4, offset=offset)
    assert got.shape == weight.shape
    assert ((got - weight).abs() <= steps * 0.5 + 1e-6).all()


def test_a_checkpoint_in_autogptqs_layout_loads_within_half_a_step(tmp_path):
    """As AutoGPTQ 0.7 left it: settings in quantize_config.json alone, version 1 zero points, its own file name."""
    from safetensors.torch import save_file

    base = make_base(tmp_path / "base")
    dense, tokenizer = load_model(base)
    folder = tmp_path / "autogptq"
    tokenizer.save_pretrained(folder)
    dense.config.save_pretrained(folder)
    torch.manual_seed(0)
    tensors, steps = {}, {}
    for name, weight in dense.state_dict().items():
        if "proj" in name:
            packed, steps[name] = quantised(weight, weight.shape[1] // 128, offset=True)
            tensors |= {f"{name.removesuffix('.weight')}.{part}": value for part, value in packed.items()}
        elif name != "lm_head.weight":
            tensors[name] = weight.clone()
    save_file(tensors, folder / "gptq_model-4bit-128g.safetensors")
    settings = {"bits": 4, "group_size": 128, "damp_percent": 0.01, "desc_act": True, "static_groups": False, "sym": False,
                "true_sequential": True, "model_name_or_path": None, "model_file_base_name": "gptq_model-4bit-128g"}  # fmt: skip
    (folder / "quantize_config.json").write_text(json.dumps(settings))
    got, _ = load_model(folder, "gptq")
    assert len(steps) == 14
    for name, step in steps.items():
        assert ((got.state_dict()[name] - dense.state_dict()[name]).abs() <= step * 0.5 + 1e-6).all(), name
    with pytest.raises(StepError, match="is a quantised model"):
        load_model(folder)


@pytest.fixture(scope="module")
def made(model, tmp_path_factory):
    """{act_order: (folder, errors)} of both variants."""
    _, tokenizer = load_model(model)
    chats = [render(tokenizer, messages(make_record(number)), False) for number in range(32)]
    root = tmp_path_factory.mktemp("gptq")
    return {order: (root / str(order), quantise(model, root / str(order), chats, act_order=order)) for order in (True, False)}


@pytest.mark.parametrize("act_order", [True, False])
def test_a_quantised_checkpoint_loads_in_transformers_to_the_same_numbers(made, act_order):
    from transformers import AutoModelForCausalLM

    folder, errors = made[act_order]
    assert 0 <= errors["mean_layer_error"] <= errors["largest_layer_error"] < 0.01
    ours, _ = load_model(folder, "gptq")
    theirs = AutoModelForCausalLM.from_pretrained(folder, device_map="cpu", dtype=torch.float32).eval()
    for name in ("model.layers.0.self_attn.k_proj", "model.layers.1.mlp.down_proj"):
        got, wanted = ours.get_submodule(name).weight, theirs.get_submodule(name).dequantize_weight().T.float()
        torch.testing.assert_close(got, wanted, atol=1e-4, rtol=1e-3)  # theirs is rounded to half precision
    with torch.no_grad():
        got, wanted = ours(IDS).logits.log_softmax(-1), theirs(IDS).logits.log_softmax(-1)
    assert (got - wanted).abs().max() < 0.05  # their kernel multiplies in half precision


@pytest.mark.parametrize("act_order", [True, False])
def test_its_configuration_is_what_engines_read(made, model, act_order):
    folder, _ = made[act_order]
    admit(folder)
    settings = json.loads((folder / "config.json").read_text("utf-8"))["quantization_config"]
    assert (settings["bits"], settings["group_size"], settings["desc_act"], settings["sym"]) == (4, 128, act_order, True)
    assert settings["quant_method"] == "gptq" and settings["checkpoint_format"] == "gptq"
    assert "path" not in json.dumps(settings["meta"])
    for name in ("tokenizer.json", "chat_template.jinja", "generation_config.json"):
        assert (folder / name).read_bytes() == (model / name).read_bytes()


def test_only_act_order_reorders_the_columns(made):
    from safetensors.torch import load_file

    def groups(order):
        return load_file(made[order][0] / "model.safetensors")["model.layers.0.mlp.down_proj.g_idx"]

    assert groups(False).tolist() == [0] * 128 + [1] * 128
    assert groups(True).tolist() != groups(False).tolist() and groups(True).bincount().tolist() == [128, 128]


@pytest.mark.parametrize("act_order", [True, False])
def test_four_bits_stay_near_the_merged_model(made, model, act_order):
    merged, _ = load_model(model)
    quantised = unpack(made[act_order][0]).eval()
    with torch.no_grad():
        wanted, got = (m(IDS).logits[0, -1].softmax(-1) for m in (merged, quantised))
    assert 0 < (wanted - got).abs().sum() / 2 < 0.1  # total variation
    name = "model.layers.0.mlp.up_proj.weight"
    before, after = merged.state_dict()[name], quantised.state_dict()[name]
    assert 0 < ((before - after).norm() / before.norm()) < 0.2


@pytest.mark.slow
def test_one_core_is_enough(model, tmp_path):
    """A process of its own: GPTQModel makes its threads once."""
    script = (
        "import sys; from pathlib import Path; from legal_tasks.compression.gptq import quantise;"
        "quantise(Path(sys.argv[1]), Path(sys.argv[2]), [[1, 5, *range(264, 284), 3]] * 8, act_order=False, workers=1)"
    )
    subprocess.run([sys.executable, "-c", script, str(model), str(tmp_path / "out")], check=True)
    assert unpack(tmp_path / "out")(IDS).logits.isfinite().all()


def test_shapes_that_do_not_fit_the_groups_are_refused(model, tmp_path):
    check_shapes(model, 128)
    with pytest.raises(StepError, match="does not divide the model's hidden_size 64"):
        check_shapes(make_base(tmp_path / "small", hidden=64), 128)
