"""YAML of users is refused in words before it costs anything."""

import ast

import pytest

from legal_tasks import settings, yamls
from legal_tasks.data import sources
from legal_tasks.serving import cost
from legal_tasks.step import StepError


def laughs(levels=40, wide=9):
    """Lists of aliases of lists of aliases: `wide` to the power of `levels` values in a few lines."""
    lines = ["a0: &a0 [" + ", ".join(["x"] * wide) + "]"]
    lines += [f"a{n}: &a{n} [" + ", ".join([f"*a{n - 1}"] * wide) + "]" for n in range(1, levels)]
    return "\n".join(lines) + "\n"


def merges(levels=40):
    """The same by merge keys, which PyYAML itself expands."""
    lines = ["a0: &a0 {k: 1}", *(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}" for n in range(1, levels))]
    return "\n".join(lines) + "\n"


def chain(levels=60):
    return "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, levels))


BOMBS = {
    "laughs": (laughs(), "with its aliases .* expanded it holds .* at most 100,000"),
    "merges": (merges(), "with its aliases .* expanded it holds .* at most 100,000"),
    "chain": (chain(), "with its aliases .* expanded it is nested 51 deep, at most 50"),
    "itself": ("a: &a [*a]\n", r"the alias \*a stands for what it is in \(line 1"),
    "brackets": ("a: " + "[" * 200_000, "nested more than 50 deep"),
    "dashes": ("- " * 100_000 + "x", "nested more than 50 deep"),
    "large": ("#" * (1 << 20) + "\na: 1", "larger than 1,048,576 bytes"),
    "text": ("a: " + "x" * 200_000, "a text is longer than 100,000"),
    "number": ("a: 1" + ":1" * 20_000, "a number is longer than 100"),
    "date": ("a: 2026-99-99", "month must be in"),
    "zero byte": ("a: \0", "special characters are not allowed"),
    "bytes": (b"a: \xff\xfe", "no UTF-8"),
    "program": ("a: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
}


@pytest.fixture(params=BOMBS)
def bomb(request, tmp_path):
    """(the file, words of what is wrong with it)"""
    content, words = BOMBS[request.param]
    (tmp_path / "own.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    return tmp_path / "own.yaml", words


def test_whatever_a_user_gives_as_yaml_is_read_within_bounds(bomb):
    path, words = bomb
    with pytest.raises(yamls.YamlError, match=words):
        yamls.read_file(path)
    with pytest.raises(settings.SettingsError, match=words) as profile:
        settings.load(str(path))
    with pytest.raises(StepError, match=words) as listed:
        sources.load(path, ("MIT",))
    with pytest.raises(StepError, match=words):
        cost.read_prices(path)
    assert str(path) in str(profile.value) and str(path) in str(listed.value)


def test_a_file_of_very_many_values_is_not_read_to_its_end():
    with pytest.raises(yamls.YamlError, match="more than 100,000 keys and values"):
        yamls.read("[" + "a," * 200_000 + "]")


@pytest.mark.parametrize("value", ["{a: &a [1], b: *a}", "[" * 1500, laughs(12, 3).replace("\n", " "), "1" * 1500])
def test_a_value_of_an_override_is_read_within_bounds(value):
    with pytest.raises(settings.SettingsError, match="the value is not valid YAML|at most 2000 characters"):
        settings.parse_override(f"training.lora.remote_code={value}")


def test_aliases_within_bounds_are_what_they_stand_for():
    text = "a: &a {x: [1, 2.5, 2026-11-01, true, null], 名: 文}\nb: *a\nc: {<<: *a, y: 1}\n"
    import datetime

    same = {"x": [1, 2.5, datetime.date(2026, 11, 1), True, None], "名": "文"}
    assert yamls.read(text) == {"a": same, "b": same, "c": {**same, "y": 1}}
    with pytest.raises(yamls.YamlError, match=r"alias of an anchor \(\*name\) \(line 2, column 4\)"):
        yamls.read(text, aliases=False)
    assert yamls.read("") is None


OWN = {  # what they read comes with the package, or was written by it
    *("legal_tasks/yamls.py", "legal_tasks/data/subjects.py", "legal_tasks/data/statutes.py", "legal_tasks/tracking/names.py"),
    *("legal_tasks/data/citing.py", "legal_tasks/data/lawnames.py", "legal_tasks/data/names.py"),
    *("legal_tasks/training/llamafactory_child.py",),
}


def test_no_other_module_reads_yaml_by_itself(repository):
    found = set()
    for folder in ("legal_tasks", "plugins", "dags"):
        for path in (repository / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Attribute) and node.attr in (
                    "safe_load",
                    "load",
                    "full_load",
                    "SafeLoader",
                    "unsafe_load",
                ):
                    if isinstance(node.value, ast.Name) and node.value.id == "yaml":
                        found.add(path.relative_to(repository).as_posix())
    assert found == OWN
