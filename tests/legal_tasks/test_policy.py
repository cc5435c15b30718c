"""Who may set what: whoever triggers a run tightens the installation's bounds and cannot loosen them, by whatever name."""

import importlib

import pytest
import yaml

from legal_tasks import settings
from legal_tasks.settings import SettingsError, form, policy
from legal_tasks.step import Input, Output, StepError, build_params, describe_params

GATE = "evaluation.gate"


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """installed("small") or installed({...}): the installation's profile, and a worker that runs a DAG run's step."""

    def install(profile, **variables):
        if isinstance(profile, dict):
            path = tmp_path / "own.yaml"
            path.write_text(yaml.safe_dump(profile))
            profile = str(path)
        monkeypatch.setenv("LEXLOOP_PROFILE", profile)
        monkeypatch.setenv("LEXLOOP_DAG_RUN", "manual__1")
        monkeypatch.delenv("LEXLOOP_FAULTS", raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return profile

    yield install


def fields(step):
    return [
        spec
        for spec in describe_params(importlib.import_module(f"legal_tasks.{step}").Params)
        if not isinstance(spec.option, Input | Output)
    ]


@pytest.mark.parametrize("step", {**policy.SETTINGS, **policy.SERVICES})
def test_every_setting_of_every_step_has_one_line_that_says_who_may_set_it(step):
    parts = {**policy.SETTINGS, **policy.SERVICES}[step]
    assert sorted(" ".join(parts.values()).split()) == sorted(spec.name for spec in fields(step))
    assert parts.keys() <= policy.MEANING.keys()


@pytest.mark.parametrize("step", policy.SERVICES)
def test_no_run_sets_what_the_services_read(installed, step):
    installed("small")
    for spec in fields(step):
        (said,) = form.check({"overrides": [f"{step}.{spec.name}=1"]})
        assert f"no task of a retrain runs the step '{step}'" in said


def test_the_steps_are_those_of_the_two_dags(repository):
    text = (repository / "plugins" / "retraining.py").read_text("utf-8")
    import re

    assert set(re.findall(r'"((?:data|training|evaluation|compression|serving)\.\w+)"', text)) <= policy.SETTINGS.keys()
    called = set(re.findall(r'step\(\s*"([\w.]+)"', text))
    assert called == policy.SETTINGS.keys()


def test_a_setting_without_a_line_is_the_installations(installed):
    installed("small")
    setting = policy.Setting(GATE, "unheard_of", None, policy.find(GATE, "p95_s").spec)
    with pytest.raises(SettingsError, match="only the installation"):
        policy.check(setting, 3.0)


# A value that asks for less than small does, of every bound of the gate; and one that asks for more.
BOUNDS = {
    "domain_bound": (0, 0.9),
    "ratchet_months": (1, 24),
    "refusal_bound": (0, 0.95),
    "formed_bound": (0.1, 0.95),
    "min_items": (1, 200),
    "min_prompts": (1, 60),
    "min_citing": (1, 60),
    "success_bound": (0.1, 1),
    "replace_margin": (1, 0.01),
    "ratchet_margin": (1, 0.01),
    "general_drop": (1, 0.01),
    "general_lower": (1, 0.01),
    "over_refusal_bound": (1, 0.05),
    "loss_gptq": (1, 0.01),
    "loss_gguf": (1, 0.01),
    "p95_s": (1e9, 0.5),
    "cost_bound_cny": (1e9, 100),
    "parity_bound": (0.5, 1.0),
    "mode": ("replace", "improve"),
}


def test_the_table_of_this_test_holds_every_bound():
    numbers = {spec.name for spec in fields(GATE) if policy.find(GATE, spec.name).who in policy.TIGHTER}
    assert numbers == BOUNDS.keys() | {"domain_by"}  # its default is the loosest


@pytest.mark.parametrize(("name", "loose", "tight"), [(name, *values) for name, values in BOUNDS.items()])
def test_a_bound_of_the_gate_can_be_tightened_and_not_loosened(installed, name, loose, tight):
    installed("small")
    (said,) = form.check({"overrides": [f"{GATE}.{name}={loose}"]})
    own = policy.value_of("small", policy.find(GATE, name))
    assert f"{GATE}.{name}={type(own)(loose)}" in said and str(own) in said and "two people" in said and "Legal models" in said
    assert form.check({"overrides": [f"{GATE}.{name}={tight}"]}) == []
    with pytest.raises(SettingsError, match=name):  # and where nobody has asked before, in the step itself
        settings.section("small", GATE, [f"{GATE}.{name}={loose}"])
    settings.section("small", GATE, [f"{GATE}.{name}={tight}"])


@pytest.mark.parametrize(
    "text",
    [
        *(f"{GATE}.{rest}" for rest in ("profile_name=faults", "domain_suite=general", "reason=person", "card=CPU")),
        *(f"{GATE}.{rest}" for rest in ("history=/tmp/none.json", "proof=/tmp/p", "as_of=2000-01-01", "p95_s=.inf")),
        *(f"{GATE}.{rest}" for rest in ("general_drop=.nan", " p95_s = 2", "p95_s=1e400", "triggered_by=bob")),
        *(f"evaluation.harness.{rest}" for rest in ("skip=[general]", "limit=100", "rank_texts=[]", "free_answers=0")),
        *(f"evaluation.harness.{rest}" for rest in ("standing=/tmp", "base=embedded-small", "champion=none", "shots=5")),
        *(f"evaluation.harness.{rest}" for rest in ("endpoint=http://x/v1", "new_tokens=1", "generate=[general]")),
        *("evaluation.compare.seed=1", "evaluation.compare.judge=http://x/v1", "evaluation.compare.category_items=1"),
        *(f"serving.prove.{rest}" for rest in ("prompts=1", "requests=1", "formats=[gptq]", "rate=0.1", "prices=/tmp/p.yaml")),
        *("compression.compress.limit=10", "compression.compress.suites=[general]", "serving.release.decision=/tmp/d"),
        *("data.clean.salt=x", "data.clean.rewrite_url=http://x/v1", "data.clean.leak=0.99", "data.check.most_personal_data=9"),
        *("training.lora.remote_code={a.py: b}", "training.merge.remote_code={a.py: b}", "training.lora.environment=chatglm3"),
        *(
            "training.lora.checkpoints=/tmp",
            "training.merge.tolerance=1",
            "training.merge.prompts=1",
            "data.collect.licences=[x]",
        ),
    ],
)
def test_what_changes_how_a_model_is_judged_or_runs_code_or_sends_a_key_is_not_the_triggers(installed, text):
    installed("small")
    assert len(form.check({"overrides": [text]})) == 1
    step, _, _ = text.strip().rpartition("=")[0].strip().rpartition(".")
    with pytest.raises((SettingsError, StepError)):
        module = importlib.import_module(f"legal_tasks.{step}")
        given = {spec.name: "." for spec in describe_params(module.Params) if spec.default.__class__.__name__ == "_MISSING_TYPE"}
        given |= {name: "2026-11-01" for name in given if name == "as_of"}
        build_params(module, f"legal_tasks.{step}", given, "small", [text])
        if step == "evaluation.harness":  # the base is the one setting that only the whole run can judge
            raise SettingsError("it follows training.lora.base")


def test_a_salt_or_an_address_of_the_installation_is_not_told(installed):
    installed({"data.clean": {"salt": "pepper", "rewrite_url": "https://inside.example/v1", "rewrite_model": "m"}})
    said = form.check({"overrides": ["data.clean.salt=x", "data.clean.rewrite_url=http://y/v1"]})
    assert len(said) == 2 and "pepper" not in str(said) and "inside" not in str(said)


def test_training_and_cleaning_are_free(installed):
    installed("small")
    given = [
        "training.lora.epochs=2",
        "data.clean.near_duplicate=0.8",
        "training.lora.targets=[q_proj]",
        "data.check.drift_mix=1",
    ]
    assert form.check({"overrides": given, "learning_rate": "2e-4", "base": "embedded-small", "seed": 3}) == []


def test_the_base_of_the_comparison_follows_the_one_that_is_trained_on(installed):
    installed("small")
    assert form.check({"overrides": ["training.lora.base=/m/a", "evaluation.harness.base=/m/a"]}) == []
    for conf in (
        {"overrides": ["training.lora.base=/m/a", "evaluation.harness.base=/m/b"]},
        {"base": "/m/a", "overrides": ["training.merge.base=embedded"]},
    ):
        (said,) = form.check(conf)
        assert "follows training.lora.base" in said and "/m/a" in said


@pytest.mark.parametrize(
    ("own", "profile", "says"),
    [
        ("qwen3_8b", "small", "evaluation.harness.standing|domain_bound|domain_suite|rank_texts"),
        ("small", "qwen3_8b", "LEXLOOP_PROFILE=qwen3_8b"),
        ("small", "faults", "LEXLOOP_FAULTS=1"),
        ("small", "qwen3", "nearest: qwen3_8b"),
        ("small", "/tmp/x.yaml", "A file can only be the installation's own"),
        ("small", "small.yaml", "no such profile"),
        ("small", "../settings/small", "no such profile"),
    ],
)
def test_a_profile_that_asks_for_less_is_not_taken_from_a_run(installed, own, profile, says):
    import re

    installed(own)
    (said,) = form.check({"profile": profile})
    assert re.search(says, said)


def test_with_the_word_for_fault_injections_their_profile_still_loosens_nothing(installed):
    installed("small", LEXLOOP_FAULTS="1")
    assert form.check({"profile": "faults"}) and "faults" not in policy.offered()
    installed("faults", LEXLOOP_FAULTS="1")
    assert form.check({"profile": "faults"}) == [] and policy.offered() == ["faults"]


def test_profiles_that_judge_alike_can_be_chosen(installed):
    installed("qwen3_8b")
    assert set(policy.offered()) == {"qwen3_8b", "llama2_7b", "chatglm3_6b"}
    assert form.check({"profile": "llama2_7b", "overrides": [f"{GATE}.domain_bound=0.8"]}) == []
    settings.section("llama2_7b", GATE, [])
    with pytest.raises(SettingsError, match="profile small would set evaluation.gate"):
        settings.section("small", GATE, [])


def test_an_installation_may_loosen_in_its_own_profile_and_a_person_at_a_shell_may(installed, monkeypatch):
    own = installed({GATE: {"p95_s": 9.0, "general_drop": 0.2}})
    assert form.check({"p95_s": "8 s", "general_drop": "10 points"}) == []
    assert settings.section(own, GATE, [f"{GATE}.p95_s=8"])["p95_s"] == 8
    monkeypatch.delenv("LEXLOOP_DAG_RUN")
    assert settings.section("small", GATE, [f"{GATE}.p95_s=1e9"])["p95_s"]


def test_the_gate_itself_refuses_looser_bounds_of_a_run_and_takes_them_from_a_shell(installed, monkeypatch, tmp_path):
    from legal_tasks.evaluation import gate

    installed("small")
    small = policy.settings.load("small")[GATE]
    common = {"comparison": tmp_path, "output": tmp_path, **small}
    for change in ({"general_drop": 1.0}, {"domain_suite": "general"}, {"profile_name": "small", "p95_s": 99.0}):
        with pytest.raises(StepError, match=next(iter(change.keys() - {"profile_name"}))):
            gate.run(gate.Params(**common | change))
    gate.check_bounds(gate.Params(**common, p95_s=0.5))
    monkeypatch.delenv("LEXLOOP_DAG_RUN")
    gate.check_bounds(gate.Params(**common, general_drop=1.0))


def test_the_decision_names_what_a_run_tightened_and_who_triggered_it(installed, tmp_path):
    from legal_tasks.evaluation import gate

    installed("small")
    params = gate.Params(tmp_path, tmp_path, **policy.settings.load("small")[GATE], p95_s=0.5, triggered_by="alice")
    found = gate.set_for_this_run(params)
    assert found == [{"setting": f"{GATE}.p95_s", "value": 0.5, "installation": 1.0, "by": "alice"}]


@pytest.mark.parametrize(
    ("conf", "says"),
    [
        ({"learning_rat": 1}, "did you mean learning_rate"),
        ({"p95": 1}, "did you mean p95_s"),
        ({"Profile": "small"}, "did you mean profile"),
        ({"overrides": [f"{GATE}.p95=1"]}, "nearest: p95_s"),
        ({"overrides": ["evaluation.gat.p95_s=1"]}, "nearest: evaluation.gate"),
        ({"overrides": ["data.works.x=1"]}, "no task of a retrain runs"),
        ({"overrides": ["training.lora.r=many"]}, "--r must be int"),
        ({"overrides": ["training.lora.schedule=steep"]}, "--schedule must be one of"),
        ({"overrides": ["epochs=2"]}, "write area.module.field=value"),
        ({"overrides": "training.lora.r=8"}, "must be a list of texts"),
        ({"overrides": [1]}, "must be a list of texts"),
        ({"overrides": ["training.lora.r=8"] * 101}, "at most 100"),
        ({"overrides": ["training.lora.r=" + "[" * 1900]}, "valid YAML"),
        ({"overrides": ["training.lora.template=[&a [x,x],&b [*a,*a],*b]"]}, "alias"),
        ({"overrides": ["training.lora.base=!!python/object/apply:os.system [id]"]}, "valid YAML"),
        ({"recompute": ["trian"]}, "nearest: train"),
        ({"uses_period": "yes"}, "true or false"),
        ({"base": ["a"]}, "must be a text"),
        ({"base": "x" * 3000}, "at most 2000 characters"),
        ({"base": "a\x00b"}, "cannot be printed"),
        ({"base": "\ud800"}, "cannot be printed"),
        ({"\ud800": 1}, "no such field"),
        ({"learning_rate": "fast"}, "learning_rate: must be a number"),
        ({"seed": float("nan")}, "seed: must be a whole number"),
        ({"month": "2026-13"}, "YYYY-MM"),
        ({"month": "2999-01"}, "in the future"),
        ([], "must be an object"),
    ],
)
def test_a_conf_that_cannot_work_says_which_field_and_why(installed, conf, says):
    installed("small")
    (said,) = form.check(conf)
    assert says in said and len(said) < 900
    said.encode()


def test_a_key_goes_to_the_host_that_the_installation_names_and_nowhere_else(installed, monkeypatch):
    installed({"evaluation.compare": {"judge": "https://judge.example/v1", "judge_model": "m"}})
    policy.check_host("LEXLOOP_JUDGE_API_KEY", "https://JUDGE.example:443/v1/other")
    for url in ("http://judge.example/v1", "https://judge.example:8443/v1", "https://judge.example.evil/v1", "https://a@evil/v1"):
        with pytest.raises(SettingsError, match="is not sent to"):
            policy.check_host("LEXLOOP_JUDGE_API_KEY", url)
    with pytest.raises(SettingsError, match="names no host"):
        policy.check_host("LEXLOOP_REWRITE_KEY", "https://judge.example/v1")
    monkeypatch.delenv("LEXLOOP_DAG_RUN")
    policy.check_host("LEXLOOP_REWRITE_KEY", "https://anything.example/v1")


def test_every_field_says_what_it_is_in_every_profile_while_it_is_empty(installed):
    installed("small")
    assert "Empty = small: 2e-3; chatglm3_6b, llama2_7b, qwen3_8b: 2e-4." in form.FIELDS["learning_rate"].words()
    assert "small: 60 %; chatglm3_6b, llama2_7b, qwen3_8b: 75 %" in form.FIELDS["domain_bound"].words()
    for name, field in form.FIELDS.items():
        step, _, setting = field.setting.rpartition(".")
        for profile in form.profiles():
            value = settings.load(profile).get(step, {}).get(setting, policy.find(step, setting).spec.default)
            assert field.kind.show(value) in field.words(), (name, profile)
            assert field.kind.parse(value) == value
        assert all(field.kind.parse(example) is not None for example in field.examples)
    assert "faults" not in str([field.words() for field in form.FIELDS.values()])


def test_the_docs_hold_the_table_as_it_is(repository):
    text = (repository / "docs" / "settings.md").read_text("utf-8")
    assert text.endswith("\n\n" + policy.table())


def test_the_examples_of_the_docs_are_read_as_they_say(installed):
    installed("small")
    for field, texts, value in (
        ("learning_rate", ("2e-4", "0.0002"), 2e-4),
        ("domain_bound", ("80 %", "80", "0.8", 0.8, 80), 0.8),
        ("general_drop", ("2 points", "2 个百分点", "2 %", "2", 0.02, 2), 0.02),
        ("p95_s", ("0.9 s", "0.9", "900 ms", "900 毫秒"), 0.9),
    ):
        assert {form.FIELDS[field].kind.parse(text) for text in texts} == {value}
        assert form.check({field: texts[0]}) == []
    assert form.check({"domain_bound": "1"}) and form.check({"general_drop": "0.5"})
