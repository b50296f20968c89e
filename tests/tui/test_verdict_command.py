"""`ft-tui verdict`: to read, and for scripts that go on only with a better model."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from finetune_core.runs.directory import RunDir
from finetune_tui.cli import cli
from tests.tui.listed_runs import finished_events, make_run

CHANGE = {"name": "worse", "what": "lower the rate", "why": "it got worse", "set": {"training.learning_rate": 1e-4}}
SHARE = {
    "name": "exact", "base": 0.0, "tuned": 0.95, "rows": 100, "base_interval": [0.0, 0.037],
    "tuned_interval": [0.888, 0.978], "p": 1e-9, "p_corrected": 2e-9, "sign": 1, "decides": True,
}  # fmt: skip


@pytest.fixture(autouse=True)
def own_home(home: Any) -> None:
    """Runs of this test alone."""


def ft(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments, prog_name="ft-tui")


def judged(**fields: Any) -> RunDir:
    verdict = {"path": "eval/verdict.json", "rows": 100, "base": {"exact": 0.0}, "tuned": {"exact": 0.95}, **fields}
    events = [event for event in finished_events(3) if event[0] != "verdict"]
    return make_run("judged", events=[*events[:-1], ("verdict", verdict), events[-1]], state="done")


@pytest.mark.parametrize(
    ("outcome", "better", "code"),
    [
        ("better", True, 0),
        ("not better", None, 1),
        ("worse", False, 1),
        ("not usable", None, 1),
        ("too few rows to tell", None, 4),
        ("of a later version", None, 4),
    ],
)
def test_a_script_goes_on_only_with_a_result_that_is_better(outcome: str, better: bool | None, code: int) -> None:
    judged(outcome=outcome, better=better, words=f"The reason: {outcome}.")
    found = ft("verdict", "--require", "better")
    assert found.exit_code == code
    assert f"The reason: {outcome}." in found.stdout
    assert ft("verdict").exit_code == 0, "without a requirement a verdict is only shown"
    data = json.loads(ft("verdict", "--require", "better", "--json").stdout)
    assert (data["outcome"], data["better"], data["met"]) == (outcome, better, {0: True, 1: False, 4: None}[code])


def test_a_verdict_is_shown_with_its_figures_intervals_chances_and_what_to_change() -> None:
    run = judged(outcome="worse", better=False, words="Worse.", measures=[SHARE], next=CHANGE)
    shown = ft("verdict", run.name).stdout
    assert shown.startswith(f"{run.name}: worse\nWorse.\n")
    assert "0.0%  0.0%-3.7%      95.0%  88.8%-97.8%                           2e-09" in shown
    assert shown.endswith("next: lower the rate: it got worse\n")
    data = json.loads(ft("verdict", "--json").stdout)
    assert data["measures"] == [SHARE]
    assert data["next"]["set"] == {"training.learning_rate": 1e-4}


def test_the_same_words_stand_in_the_status_the_list_and_the_end_of_a_followed_run() -> None:
    run = judged(outcome="not usable", better=None, words="Not usable yet: 14 of 15.", next=CHANGE)
    for command in (("status",), ("attach", "--plain"), ("verdict",)):
        shown = ft(*command).stdout
        assert "Not usable yet: 14 of 15." in shown
        assert "lower the rate: it got worse" in shown
    assert json.loads(ft("status", "--json").stdout)["verdict"]["outcome"] == "not usable"
    assert json.loads(ft("attach", "--plain", "--json").stdout)["verdict"]["outcome"] == "not usable"
    make_run("listed", state="done", verdict="not usable")
    assert "✗ not usable" in ft("runs").stdout
    assert {row["verdict"] for row in json.loads(ft("runs", "--json").stdout)} == {None, "not usable"}
    assert run.name in ft("runs").stdout


def test_a_run_without_a_verdict_cannot_be_told() -> None:
    run = make_run("young", state="stopped")
    found = ft("verdict", "--require", "better")
    assert (found.exit_code, found.stdout) == (4, f"{run.name}: no verdict (■ stopped)\n")
    assert ft("verdict").exit_code == 4
    assert json.loads(ft("verdict", "--json").stdout) == {
        "run": run.name, "state": "stopped", "required": None, "met": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"better": True, "changes": {"exact": 1, "held_out_loss": 1}}, 0),
        ({"better": True, "changes": {"exact": 0, "held_out_loss": 1}}, 4),
        ({"better": True}, 0),
        ({"better": True, "tuned": {"exact": 0.0, "held_out_loss": 1.0}}, 4),
        ({"better": False, "changes": {"exact": -1}}, 1),
        ({"better": None}, 4),
        ({"better": "yes", "base": 7, "measures": 3, "faults": [], "next": "x"}, 4),
    ],
)
def test_an_earlier_verdict_counts_as_far_as_it_rests_on_answers(fields: dict[str, Any], code: int) -> None:
    judged(words="Better than the base.", **fields)
    found = ft("verdict", "--require", "better")
    assert found.exit_code == code
    assert "Better than the base." in found.stdout
    alone = fields["better"] is True and code == 4
    assert ("by the loss alone" in found.stdout) is alone
    assert ("by the loss alone" in ft("status").stdout) is alone


def test_help_tells_the_exit_codes_of_a_requirement() -> None:
    shown = ft("verdict", "--help").stdout
    assert all(words in shown for words in ("0  met", "1  not met", "4  cannot tell"))
    assert ft("verdict", "--require", "worse").exit_code == 2
