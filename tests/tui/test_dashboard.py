"""The dashboard on runs in every state, at every size."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest

from finetune_core.runs.directory import RunDir
from finetune_tui.widgets.pager import Pager
from finetune_tui.wizard.screen import WizardScreen
from tests.tui.dashboard_driver import Driver, dashboard
from tests.tui.made_runs import CAPITALS, START, Clock, MadeRun, finished, running
from tests.tui.sizes import SIZES, assert_inside, assert_snapshot

HOSTILE = "\x1b]0;owned\x07\x1b[31m[bold red]x[/] [@click=app.quit]y[/] \u202eback\u2066 \r\n\ttab"


@pytest.fixture(autouse=True)
def fixed_place(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clock times and paths that are the same on every machine."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    home.mkdir()
    monkeypatch.chdir(home)


def relative(made: MadeRun) -> MadeRun:
    made.dir = RunDir(made.dir.path.relative_to(Path.cwd()))
    return made


def preparing() -> MadeRun:
    made = MadeRun()
    made.phase("importing")
    made.phase("downloading", 40_000_000, 2_500_000_000, "bytes")
    made.phase("loading model")
    made.phase("tokenising", 1200, 40_000, "rows")
    return made


def failed() -> MadeRun:
    made = running()
    made.dir.log_file.write_text("Traceback (most recent call last):\ntorch.OutOfMemoryError: CUDA out of memory.\n")
    return made.end(
        "failed",
        cause="The GPU ran out of memory: 1.2 GiB more were asked for than were free.",
        remedy="halve training.micro_batch and double training.accumulation",
        last_lines=["torch.OutOfMemoryError: CUDA out of memory."],
    )


def crashed() -> MadeRun:
    made = running()
    made.live = False
    made.status("training", total=60)
    made.dir.log_file.write_text("step 35\nstep 36\nKilled\n")
    return made


def two_gpus() -> MadeRun:
    return running(gpus=2)


def with_nan() -> MadeRun:
    made = running(steps=20)
    made.train(10, nan_at=range(21, 31))
    made.write("alarm", name="nan_loss", text="The loss is NaN since step 21.")
    return made


MADE = {
    "preparing": preparing, "running": running, "two-gpus": two_gpus, "nan": with_nan, "finished": finished,
    "failed": failed, "crashed": crashed,
}  # fmt: skip


@pytest.mark.parametrize("name", MADE)
async def test_every_state_fits_every_size(name: str) -> None:
    async with dashboard(relative(MADE[name]()), SIZES[0]) as driver:
        for size in SIZES:
            await driver.resize(size)
            assert_inside(driver.pilot.app)
            await assert_snapshot(driver.pilot, f"dashboard-{name}")


async def test_the_essential_is_on_the_first_screen_of_a_running_run_at_every_size() -> None:
    async with dashboard(running(), SIZES[0]) as driver:
        for size in SIZES:
            await driver.resize(size)
            await driver.sees(
                "● training", "step 36/60", "60 %", "left", "Loss", "held-out 1.31", "tokens/s", "GiB", "Oslo"
            )


async def test_preparing_tells_its_phases_in_words_with_progress() -> None:
    async with dashboard(preparing()) as driver:
        await driver.sees("✓ downloading", "▸ tokenising 1200/40000 rows", "3 %", "◔ preparing")


async def test_how_far_a_preparation_came_is_no_progress_of_a_run_that_ended_in_it() -> None:
    made = MadeRun()
    made.phase("tokenising", 300, 400, "rows")
    async with dashboard(made) as driver:
        await driver.sees("75 %")
        made.end("stopped", cause="stopped on request")
        await driver.look()
        await driver.sees("■ stopped", "took")
        assert "75 %" not in driver.words


async def test_every_curve_of_the_rates_has_its_name_and_its_range_on_the_smallest_screen() -> None:
    async with dashboard(running(), SIZES[0]) as driver:
        await driver.press("2")
        await driver.sees("learning rate 3.45e-4", "0–0.001│", "gradient norm 0.772", "0.5–2│")  # noqa: RUF001
        await driver.sees("tokens/s 10.3k", "0–15k│")  # noqa: RUF001


async def test_a_growing_run_grows_on_the_screen() -> None:
    made = running()
    async with dashboard(made) as driver:
        await driver.sees("step 36/60")
        made.train(4).evaluate(0.77)
        await driver.look()
        await driver.sees("step 40/60", "held-out 0.770")


async def test_charts_take_the_place_of_the_phases_at_the_first_step() -> None:
    made = preparing().prepare()
    async with dashboard(made) as driver:
        await driver.sees("✓ tokenising", "▸ base samples")
        made.train(2)
        await driver.look()
        await driver.sees("1 Loss", "train")
        assert "base samples" not in driver.words


async def test_a_nan_loss_is_said_in_words() -> None:
    async with dashboard(with_nan()) as driver:
        await driver.sees("train NaN", "✗")
        await driver.press("4")
        await driver.sees("The loss is NaN since step 21.")


async def test_each_gpu_has_its_memory_use_heat_and_power() -> None:
    async with dashboard(two_gpus()) as driver:
        await driver.sees("GPU 0", "17.6/24.0 GiB", "98 %", "71 °C", "312 W", "GPU 1", "23.0/24.0 GiB!", "97 %")
        await driver.press("3")
        await driver.sees("3 Memory", "24.0 GiB┤")


async def test_a_gpu_that_tells_nothing_but_its_memory_is_shown_with_dashes() -> None:
    made = MadeRun(gpus=1).prepare()
    made.train(1)
    step = made._step(None)
    gpu = {"index": 0, "uuid": "GPU-0", "memory_used": 5 * 2**30, "memory_total": 24 * 2**30}
    made.write("step", **{**step, "step": 2, "gpus": [{**gpu, "utilisation": None, "temperature": None}]})
    async with dashboard(made) as driver:
        await driver.sees("5.0/24.0 GiB - - -")


async def test_a_finished_run_shows_verdict_adapter_and_how_to_load_it() -> None:
    made = finished()
    async with dashboard(made, (80, 24)) as driver:
        await driver.sees("✓ Better", "valid JSON 0 % → 100 %", "held-out loss 4.90 → 0.410", "The adapter (743 kB)")
        await driver.sees("from peft import PeftModel", "from_pretrained('models/demo')", "took 38 s")


async def test_the_table_of_the_verdict_calls_better_only_what_the_verdict_does() -> None:
    base, tuned = {"exact": 0.2, "held_out_loss": 4.901}, {"exact": 0.204, "held_out_loss": 4.899}
    known = {"path": "eval/verdict.json", "rows": 250, "better": None, "words": "No clear change.", "base": base}
    for fields in ({"changes": {"exact": 0, "held_out_loss": 0}}, {}):
        made = MadeRun(name=f"20260531-101500-{len(fields)}").prepare().train(2)
        made.write("verdict", **known, tuned=tuned, **fields)
        made.end("done")
        async with dashboard(made, (120, 40)) as driver:
            await driver.sees("No clear change.", "20 % 20.4 %", "4.90 4.90")
            assert "better" not in driver.words
    made = MadeRun().prepare().train(2)
    made.write("verdict", **known, tuned={**tuned, "held_out_loss": 5.2}, changes={"exact": 1, "held_out_loss": -1})
    made.end("done")
    async with dashboard(made, (120, 40)) as driver:
        await driver.sees("20 % 20.4 % better", "4.90 5.20 higher")


@pytest.mark.parametrize(
    ("outcome", "mark"),
    [("better", "✓"), ("not better", "="), ("worse", "✗"), ("not usable", "✗"), ("too few rows to tell", "?")],
)
async def test_every_outcome_of_a_verdict_has_its_own_mark_and_says_its_reason(outcome: str, mark: str) -> None:
    made = judged(outcome=outcome, better=None, words=f"The reason of {outcome}.")
    async with dashboard(made, (120, 40)) as driver:
        await driver.sees(f"{mark} The reason of {outcome}.", "answers that repeat 0 14", "loss 9.70 5.30 lower")
        assert "better" not in driver.words.replace(f"of {outcome}", "")
        await driver.press("4")
        await driver.sees(f"{mark} The reason of {outcome}.")


async def test_c_sets_up_a_run_with_the_change_that_the_verdict_proposes() -> None:
    change = {"name": "repeats", "what": "lower the rate", "why": "answers repeat", "set": {"adapter.dropout": 0.25}}
    made = judged(outcome="not usable", words="Not usable yet.", next=change)
    async with dashboard(made, (120, 40)) as driver:
        await driver.sees("Next (c): lower the rate: answers repeat", "c Change")
        await driver.press("c")
        await driver.until(lambda: isinstance(driver.pilot.app.screen, WizardScreen))
        await driver.sees("Lower the rate: answers repeat.")
        assert driver.pilot.app.screen.session.recipe.adapter.dropout == 0.25


async def test_c_says_why_where_nothing_is_proposed_or_what_is_cannot_be_read() -> None:
    async with dashboard(finished()) as driver:
        await driver.press("c")
        await driver.sees("The verdict proposes no change.")
    change = {"name": "few-rows", "what": "add rows to x.jsonl", "why": "five are few", "set": {}}
    made = judged("20260531-121500-demo", outcome="too few rows to tell", words="Too few.", next=change)
    async with dashboard(made) as driver:
        await driver.sees("? Too few.", "Next: add rows to x.jsonl: five are few")
        await driver.press("c")
        await driver.sees("That is no change of the recipe: add rows to x.jsonl.")
    change = {"name": "x", "what": "break it", "why": "to see", "set": {"adapter.rank": -4}}
    made = judged("20260531-111500-demo", outcome="worse", words="Worse.", next=change)
    async with dashboard(made) as driver:
        await driver.sees("✗ Worse.")
        await driver.press("c")
        await driver.sees("This cannot be done", "adapter.rank")


def judged(name: str = "20260531-101500-demo", **verdict: object) -> MadeRun:
    """A run that ended with this verdict over 15 rows."""
    made = MadeRun(name=name).prepare().train(2)
    sides = {"base": {"held_out_loss": 9.7}, "tuned": {"held_out_loss": 5.3}, "changes": {"held_out_loss": 1}}
    faults = {"base": {"repeating": 0}, "tuned": {"repeating": 14, "empty": 0}}
    made.write("verdict", path="eval/verdict.json", rows=15, faults=faults, **sides, **verdict)
    return made.end("done")


def told(driver: Driver) -> str:
    """All words of the result's pane, in view or not."""
    lines = driver.screen.query_one("#result", Pager).content
    return " ".join(" ".join("".join(text for text, _ in line) for line in lines).split())


async def test_a_stopped_run_says_how_to_go_on_here_and_from_the_command_line() -> None:
    made = running().end("stopped", cause="stopped on request after step 36; base and tuned model were not compared")
    async with dashboard(made) as driver:
        await driver.sees("■ stopped", "r continues from the checkpoint of step 18.")
        assert f"ft-tui resume {made.name}" in told(driver)
    made = MadeRun(name="20260531-101500-early").prepare().end("stopped", cause="stopped on request")
    async with dashboard(made) as driver:
        await driver.sees("No checkpoint was written")
        assert "r begins it again from its first step" in told(driver)
        assert f"ft-tui resume {made.name}" in told(driver)


@pytest.mark.parametrize("state", ["stopped", "failed"])
async def test_the_result_of_an_earlier_stop_is_dated_after_the_run_went_on(state: str) -> None:
    made = running(steps=20)
    made.write("result", path="result", bytes=742_512, kind="adapter", base="models/demo", step=20)
    made.end("stopped", cause="stopped on request")
    async with dashboard(made) as driver:
        await driver.sees("The adapter (743 kB) lies in")
        made.clock.now += 3600
        made.phase("starting")
        made.train(5).end(state, cause="ended at once")
        await driver.look()
        await driver.sees("ended at once")
        assert "The adapter (743 kB) of an earlier stop at step 20 (2026-05-28 20:26), without what came" in told(
            driver
        )


async def test_a_failed_run_shows_cause_remedy_and_last_words() -> None:
    async with dashboard(failed()) as driver:
        await driver.sees("✗ failed", "ran out of memory", "What to do: halve", "torch.OutOfMemoryError")
        await driver.sees("r continues from the checkpoint of step 18")


async def test_a_crashed_run_says_so_and_shows_the_end_of_its_log() -> None:
    async with dashboard(crashed()) as driver:
        await driver.sees("✗ crashed", "Killed", "r continues from the checkpoint of step 18")
        await driver.sees("processes are gone without a word", "ft-tui resume")


async def test_a_run_that_crashes_while_it_is_watched_changes_on_the_screen() -> None:
    made = running()
    async with dashboard(made) as driver:
        await driver.sees("● training")
        made.live = False
        made.status("training", total=60)
        await driver.sees("✗ crashed")


async def test_a_resumed_run_goes_on_from_its_checkpoint_without_the_lost_steps() -> None:
    made = failed()
    async with dashboard(made) as driver:
        await driver.sees("✗ failed", "step 36/60")
        made.step = 18
        made.clock.now += 60
        made.write("state", state="preparing", phase="loading model", done=None, total=None, unit=None, step=18)
        made.state("training")
        made.train(1)
        await driver.look()
        await driver.sees("● training", "step 19/60", "31 % 29 s")
        assert driver.screen.reader.view.series["loss"].steps == list(range(1, 20))


async def test_ended_time_stands_still_while_running_time_goes_on() -> None:
    async with dashboard(finished()) as driver:
        took = driver.screen.reader.view
        driver.made.clock.now += 3600
        await driver.look()
        await driver.sees("took 38 s")
        assert took.end is not None
    async with dashboard(running_again()) as driver:
        driver.made.clock.now += 60
        await driver.look()
        await driver.sees("1 min 26 s")


def running_again() -> MadeRun:
    made = MadeRun(name="20260531-120000-again", clock=Clock(START)).prepare()
    return made.train(36)


async def test_hostile_text_from_the_run_is_shown_and_never_obeyed() -> None:
    made = MadeRun().prepare()
    made.sample([(HOSTILE, HOSTILE, HOSTILE)], reference=HOSTILE)
    made.train(3)
    made.phase(HOSTILE)
    made.state("training", HOSTILE)
    made.write("alarm", name=HOSTILE, text=HOSTILE)
    made.write("control", id=HOSTILE, request=HOSTILE, ok=False, text=HOSTILE)
    made.write(
        "verdict", path=HOSTILE, base={HOSTILE: 0.5}, tuned={HOSTILE: 1}, rows=HOSTILE, better=None, words=HOSTILE
    )
    made.write("result", path=HOSTILE, bytes=1, kind=HOSTILE, base=HOSTILE)
    made.end("failed", cause=HOSTILE, remedy=HOSTILE, last_lines=[HOSTILE])
    made.dir.log_file.write_bytes(HOSTILE.encode() + b"\xff\xfe\n")
    async with dashboard(made, (120, 40)) as driver:
        for keys in ("4", "l", "l", "v", "v"):
            await driver.press(keys)
            await driver.look()
            strips = driver.screen._compositor.render_strips()
            everything = "".join(strip.text for strip in strips)
            assert all(character.isprintable() for character in everything)
            assert not [s for strip in strips for s in strip if s.style and s.style.meta.get("@click")]
        await driver.sees("[bold red]x[/]")


async def test_hostile_names_in_the_code_stay_inside_their_quotes() -> None:
    made = running(steps=60)
    made.write("result", path="a'); import os; os.system('x", bytes=1, kind="adapter", base="b\n')\nimport os")
    made.end("done")
    async with dashboard(made) as driver:
        from finetune_tui.widgets.outcome import load_lines

        code = load_lines(driver.screen.reader.view)
        assert len(code) == 3
        for line in code:
            compile(line, "shown", "exec")
        assert code[1] == r"""base = AutoModelForCausalLM.from_pretrained("b\n')\nimport os")"""


async def test_a_very_long_answer_is_cut_with_a_word_on_it() -> None:
    made = running()
    made.sample([("long?", "short", "word " * 40_000)])
    async with dashboard(made) as driver:
        await driver.sees("long?")
        await driver.press("end")
        await driver.sees("more characters")


async def test_damaged_samples_are_named_with_what_to_do() -> None:
    made = running()
    made.sample(CAPITALS)
    for file in made.dir.samples.iterdir():
        file.write_text("{")
    async with dashboard(made) as driver:
        await driver.sees("why: it is not whole JSON", "fix: ask for new ones")


async def test_a_run_without_any_event_opens_and_says_what_it_waits_for() -> None:
    async with dashboard(MadeRun()) as driver:
        await driver.sees("○ created", "The worker has not written anything yet")


async def test_infinite_and_missing_figures_do_no_harm() -> None:
    made = MadeRun().prepare()
    made.train(2)
    made.write("step", step=3, loss=math.inf, learning_rate=None, grad_norm=-math.inf, tokens="x", gpus="y", memory=3)
    made.write("step", step="four", loss={})
    made.write("eval", step=3, loss=None)
    made.write("checkpoint")
    made.write("verdict", base=None, tuned=[1], words=None)
    async with dashboard(made, (120, 40)) as driver:
        for keys in "1234":
            await driver.press(keys)
        await driver.press("1")
        await driver.sees("step 3/60", "train inf")


async def test_ascii_terminals_get_ascii_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FT_TUI_ASCII", "1")
    async with dashboard(running(), (120, 40)) as driver:
        assert driver.shown.isascii()
        await driver.sees("* training", "+-")
