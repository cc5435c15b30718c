"""The runner of fault injections tells what passed, what failed, and what there is."""

from tests.faults import __main__ as runner


def test_a_fault_that_holds_passes_and_one_that_does_not_fails_with_its_words(capsys):
    def holds(folder):
        assert folder.is_dir() and not list(folder.iterdir())
        return "an empty folder"

    def breaks(folder):
        raise AssertionError("two trainers\nwere seen")

    assert runner.run({"X1": holds, "X2": breaks}) == 1
    assert capsys.readouterr().out.splitlines() == [
        "X1 PASS an empty folder",
        "X2 FAIL AssertionError: two trainers were seen",
        "1 passed, 1 failed",
    ]


def test_an_unknown_group_is_named_with_those_that_exist(capsys):
    assert runner.main(["--name", "weather"]) == 2
    assert "NAME=weather" in capsys.readouterr().err
