"""Every shipped profile builds the Params of every step it names."""

import importlib

import pytest

from legal_tasks import settings
from legal_tasks.step import StepError, build_params, describe_params


@pytest.mark.parametrize("profile", settings.profiles())
def test_a_shipped_profile_builds_params(profile):
    for step in settings.load(profile):
        if step in settings.PROFILE_KEYS:
            continue
        module = importlib.import_module(f"legal_tasks.{step}")
        given = {s.name: "." for s in describe_params(module.Params) if s.default.__class__.__name__ == "_MISSING_TYPE"}
        for spec in describe_params(module.Params):
            if spec.name in given and spec.kind.__name__ == "date":
                given[spec.name] = "2026-11-01"
        build_params(module, f"legal_tasks.{step}", given, profile, [])


def test_unknown_keys_and_profiles_are_named(tmp_path):
    bad = tmp_path / "bad.yaml"
    bad.write_text("data.nonsense: {a: 1}\n")
    with pytest.raises(settings.SettingsError, match="data.nonsense"):
        settings.load(str(bad))
    with pytest.raises(settings.SettingsError, match="no such profile"):
        settings.load("nowhere")
    with pytest.raises(settings.SettingsError, match="no step"):
        settings.parse_override("data.nonsense.a=1")


def test_an_unknown_setting_of_a_known_step_is_refused(tmp_path):
    module = importlib.import_module("legal_tasks.data.collect")
    with pytest.raises(StepError, match="no_such_field is not a setting"):
        build_params(module, "legal_tasks.data.collect", {"sources": "embedded"}, None, ["data.collect.no_such_field=1"])


REAL = [name for name in settings.profiles() if "base" in settings.load(name)]


def test_the_three_real_bases_have_profiles():
    assert {"llama2_7b", "chatglm3_6b", "qwen3_8b"} <= set(REAL)


@pytest.mark.parametrize("profile", REAL)
def test_a_real_profile_says_where_its_base_is_from_and_names_its_own_domain_suite(profile):
    values = settings.load(profile)
    assert {"hub", "mirror", "modelscope", "licence", "template", "memory", "smaller"} == values["base"].keys()
    gate = values["evaluation.gate"]
    assert gate["domain_suite"] == "own_legal_exam" and gate["profile_name"] == profile
    assert gate.keys() <= {"profile_name", "domain_suite"}  # no threshold is softer than the specification's
    named = {values[step]["base"] for step in ("training.lora", "training.merge", "evaluation.harness")}
    assert named == {values["base"]["hub"]}


def test_the_specification_s_values_are_the_defaults_of_training():
    params = importlib.import_module("legal_tasks.training.lora").Params
    values = {spec.name: spec.default for spec in describe_params(params)}
    assert (values["r"], values["alpha"], values["dropout"], values["learning_rate"]) == (16, 32, 0.05, 2e-4)
    assert (values["batch"], values["accumulation"], values["epochs"], values["warmup"]) == (4, 4, 3.0, 100)
    assert values["targets"] == ("q_proj", "k_proj", "v_proj", "o_proj")
