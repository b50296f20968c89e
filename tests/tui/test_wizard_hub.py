"""A model of the hub is asked for what describes it: its memory, rows and tokens are shown before its weights come."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from finetune_core.recipe.check import with_values
from tests.core.worker.faults import answering
from tests.core.worker.model_hub import Hub, serving_the_demo
from tests.tui.sizes import assert_inside, plain
from tests.tui.wizard_driver import WizardApp, demo_recipe, ready, sees, session, types, until


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving_the_demo(monkeypatch) as hub:
        yield hub


def holding(text: str, folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


def app() -> WizardApp:
    return WizardApp("wizard", recipe=with_values(demo_recipe(), {"model.source": "some/tiny"}))


async def test_memory_template_and_tokens_are_known_before_the_weights_come(hub: Hub) -> None:
    async with app().run_test(size=(120, 40)) as pilot:
        await ready(pilot)
        await pilot.press("2")
        await sees(pilot, "some/tiny, not on this machine")
        await sees(pilot, "has a chat template")
        await until(pilot, lambda: session(pilot).memory is not None, "the memory is estimated")
        await pilot.press("3")
        await until(pilot, lambda: session(pilot).token_lengths() is not None, "tokens are counted")
    assert not any(path.endswith(".safetensors") for path in hub.got)


async def test_a_hub_that_refuses_is_told_where_the_model_is_chosen_and_asked_again(hub: Hub) -> None:
    hub.gated = True
    async with app().run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: session(pilot).found.get("model.source"), "it is refused")
        await pilot.press("2")
        await sees(pilot, "it is gated (403)")
        await sees(pilot, "HF_TOKEN")
        await sees(pilot, "What is wrong with it stands above")
        hub.gated = False
        await pilot.press("3")
        await pilot.press("2")
        await until(pilot, lambda: not session(pilot).problems().get("model.source"), "it is let through")
        await until(pilot, lambda: session(pilot).memory is not None, "the memory is estimated")


async def test_a_hub_that_fails_is_told_and_keeps_nobody_from_going_on(hub: Hub) -> None:
    hub.fault = answering(500, at="/api/")
    async with app().run_test(size=(120, 40)) as pilot:
        await ready(pilot)
        await pilot.press("2")
        await sees(pilot, "the hub fails at present (500)")
        assert session(pilot).problems().get("model.source", ()) == ()


async def test_a_model_that_cannot_be_tuned_is_refused_where_it_is_chosen(hub: Hub) -> None:
    hub.files["config.json"] = hub.files["config.json"].replace(b'"model_type": "', b'"model_type": "never-')
    async with app().run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: session(pilot).found.get("model.source"), "it is refused")
        await pilot.press("2")
        await sees(pilot, "never-")
    assert not any(path.endswith(".safetensors") for path in hub.got)


async def test_a_token_typed_in_the_model_step_is_not_shown_and_opens_a_gated_model(hub: Hub, home: Path) -> None:
    token = "hf_CANARYcanaryCANARYcanary0123456789"
    hub.gated, hub.users, hub.accepted = True, {token: "ada"}, {"ada"}
    async with app().run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: session(pilot).found.get("model.source"), "it is refused")
        await pilot.press("2")
        await sees(pilot, f"open {hub.address}/some/tiny")
        await pilot.press("h")
        await sees(pilot, "Token of the model hub")
        await types(pilot, token)
        assert "CANARY" not in plain(pilot.app)
        assert_inside(pilot.app)
        await pilot.press("enter")
        await until(pilot, lambda: not session(pilot).problems().get("model.source"), "it is let through")
        await until(pilot, lambda: session(pilot).memory is not None, "the memory is estimated")
    assert holding(token, home) == []


async def test_a_wrong_token_is_told_in_the_dialog_which_stays(hub: Hub) -> None:
    hub.users = {"hf_right": "ada"}
    async with app().run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("2", "h")
        await sees(pilot, "Token of the model hub")
        await pilot.press("enter")
        await sees(pilot, "Paste a token first")
        await types(pilot, "hf_wrongwrongwrong")
        await pilot.press("enter")
        await sees(pilot, "does not accept this token")
        await pilot.press("escape")
        await sees(pilot, "some/tiny")
