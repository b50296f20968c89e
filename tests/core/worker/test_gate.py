from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tokenizers import processors

from finetune_core.data.rows import Conversation, Message, ToolCall
from finetune_core.data.tokens.gate_report import GateReport
from finetune_core.errors import FtError
from finetune_core.worker.rows.chat_template import use_template
from finetune_core.worker.rows.gate import Gate, ends_of, stretches
from finetune_core.worker.rows.tokenise import Encoded, Encoder
from tests.core.data.tokenizers_made_here import CHATML, make_tokenizer, shipped_template
from tests.core.worker import tiny

ROW = Conversation(
    7,
    (
        Message("user", "What is it, this animal?"),
        Message("assistant", "It is a fox."),
        Message("user", "And now, over there?"),
        Message("assistant", "A lazy dog."),
    ),
)


def gate_of(
    template: str | None, *rows: Conversation, limit: int | None = None, train_on: str = "assistant"
) -> GateReport:
    tokenizer = make_tokenizer(template)
    encoder = Encoder(tokenizer, "all" if train_on == "all" else "assistant")
    gate = Gate(ends_of(tokenizer), train_on, limit, encoder.unlike_prompts)
    for row in rows or (ROW,):
        gate.look(row, encoder.encode(row))
    return gate.report()


def failing(report: GateReport) -> set[str]:
    return {check.name for check in report.checks if not check.ok}


@pytest.mark.parametrize(
    "name",
    ["qwen2_5", "qwen3", "qwen3_instruct_2507", "llama3", "llama3_1", "llama3_2", "gemma", "gemma3", "gemma4", "phi3",
     "deepseekv3", "lfm2", "cohere", "cohere2", "glm4moe", "gptoss"],
)  # fmt: skip
def test_the_templates_people_use_pass(name: str) -> None:
    report = gate_of(shipped_template(name))
    # The end token of the tokenizer made here is no model's own; DeepSeek's prompt opens a thought.
    more = {"deepseekv3": {"answer-opened"}, "qwen3": {"earlier-turns-alike"}}.get(name, set())
    assert more <= failing(report) <= {"stop-known", *more}
    assert report.passed
    assert report.compared == 1


def test_an_answer_that_is_asked_with_a_thought_and_learnt_without_one_is_told() -> None:
    report = gate_of(shipped_template("deepseek_r1_distill"))
    found = next(check for check in report.checks if check.name == "answer-opened")
    assert (found.rows, report.passed) == (1, True)
    assert "asked with '<think>\\n', trained as 'It is a fox." in found.examples[0][1]


COUNTING = "{{ messages | length }} turns\n" + CHATML


def test_a_template_that_rewrites_what_stands_before_an_answer_keeps_the_run_from_starting() -> None:
    template = COUNTING.replace(
        "{{ message['content'] }}", "{% generation %}{{ message['content'] }}{% endgeneration %}"
    )
    report = gate_of(template)
    assert "context-kept" in {check.name for check in report.failed}
    (problem,) = (one for one in report.problems() if one.kind == "gate-context-kept")
    assert "turn 2: asked with '1 turns" in problem.why


def test_a_training_form_that_writes_earlier_turns_otherwise_is_told_where_there_are_any() -> None:
    alone = Conversation(1, ROW.messages[:2])
    report = gate_of(shipped_template("qwen3"), ROW, alone)
    found = next(check for check in report.checks if check.name == "earlier-turns-alike")
    assert (found.rows, report.passed) == (1, True)
    assert "turn 4: asked with" in found.examples[0][1]


def test_tokens_that_join_prompt_and_completion_are_told() -> None:
    tokenizer = make_tokenizer(None)
    encoder = Encoder(tokenizer)
    row = Conversation(3, (Message("user", "What is it"), Message("assistant", " then? A fox.")), completion_only=True)
    encoded = encoder.encode(row)
    assert list(encoder.unlike_prompts(row, encoded)) == []
    other = replace(encoded, input_ids=[encoded.input_ids[0] + 1, *encoded.input_ids[1:]])
    (found,) = encoder.unlike_prompts(row, other)
    assert found.how == "joined"


def test_reasoning_that_a_template_leaves_out_is_told() -> None:
    row = Conversation(4, (Message("user", "What is it?"), Message("assistant", "A fox.", reasoning="It barks.")))
    assert "reasoning-written" in failing(gate_of(CHATML, row))
    assert "reasoning-written" not in failing(gate_of(shipped_template("qwen3"), row))


def test_prompts_are_compared_for_the_first_rows_and_for_every_further_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finetune_core.worker.rows.gate._COMPARED", 2)
    short = Conversation(5, ROW.messages[:2])
    assert gate_of(CHATML, ROW, ROW, ROW, short, short, ROW).compared == 3


# Templates of models that see images want a list of parts in each turn.
REFUSED = {f"{name}{form}" for name in ("idefics3", "llava_next", "smolvlm") for form in ("", "_training")}


def all_shipped() -> list[str]:
    import trl

    folder = Path(trl.__file__).parent / "chat_templates"
    return sorted(path.stem for path in folder.glob("*.jinja"))


@pytest.mark.parametrize("name", all_shipped())
def test_every_template_that_ships_with_trl_passes_or_is_refused_in_words(name: str) -> None:
    if name in REFUSED:
        with pytest.raises(FtError, match="chat template"):
            gate_of(shipped_template(name))
        return
    report = gate_of(shipped_template(name))
    assert report.rows == 1
    assert report.passed, [check.name for check in report.failed]


def broken(change: str) -> GateReport:
    """The gate over a mask or a text that went wrong on the way."""
    tokenizer = make_tokenizer(CHATML)
    right = Encoder(tokenizer, "assistant").encode(ROW)
    text, ids, trained, offsets = right.text, right.input_ids, list(right.trained), right.offsets
    if change == "inverted":
        trained = [not one for one in trained]
    elif change == "everything":
        trained = [True] * len(trained)
    elif change == "no end":
        trained[len(trained) - 1 - trained[::-1].index(True)] = False
    elif change == "one answer lost":
        first = trained.index(True)
        trained[first : first + 4] = [False] * 4
    elif change == "turn lost":
        text = text.replace("And now, over there?", " " * len("And now, over there?"))
    gate = Gate(ends_of(tokenizer), "assistant", None)
    gate.look(ROW, Encoded(ids, trained, text, offsets))
    return gate.report()


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ("inverted", "answers-learnt"),
        ("inverted", "nothing-else-learnt"),
        ("everything", "nothing-else-learnt"),
        ("no end", "stop-learnt"),
        ("one answer lost", "answers-learnt"),
        ("turn lost", "turns-written"),
    ],
)
def test_each_way_to_go_wrong_is_caught_by_its_name_and_keeps_the_run_from_starting(change: str, name: str) -> None:
    report = broken(change)
    assert name in failing(report)
    assert not report.passed
    found = next(problem for problem in report.problems() if problem.kind == f"gate-{name}")
    assert "row 7" in found.why
    assert "override" in found.remedy


def test_a_template_that_leaves_the_system_turn_out_is_refused() -> None:
    template = CHATML.replace(
        "{% for message in messages %}", "{% for message in messages if message['role'] != 'system' %}"
    )
    row = Conversation(1, (Message("system", "Answer briefly, please."), *ROW.messages))
    with pytest.raises(FtError, match="system"):
        gate_of(template, row)


def test_what_max_length_cuts_is_told_with_what_raising_it_would_keep() -> None:
    long = Conversation(8, (Message("user", "What is it?"), Message("assistant", "A fox. " * 40)))
    asked = Conversation(9, (Message("user", "What is it? " * 40), Message("assistant", "A fox.")))
    report = gate_of(CHATML, ROW, long, asked, limit=120)
    assert failing(report) >= {"end-kept", "something-learnt"}
    assert report.passed
    by_name = {check.name: check for check in report.checks}
    assert (by_name["end-kept"].rows, by_name["something-learnt"].rows) == (2, 1)
    assert report.keep_all > 120
    assert report.tokens_all > report.tokens > 0
    words = report.raising_words()
    assert f"{report.keep_all} keeps all rows whole and adds {report.tokens_all - report.tokens} tokens" in words
    assert gate_of(CHATML, ROW, limit=120).raising_words() == ""


def test_characters_of_several_tokens_and_blanks_outside_a_tokens_place_are_no_fault() -> None:
    row = Conversation(1, (Message("user", "What is it 🦊?"), Message("assistant", "A fox 🦊 é, 日本.")))
    tokenizer = make_tokenizer(CHATML)
    assert gate_of(CHATML, row).passed
    # As GPT-2's and Llama 3's tokenizers do.
    tokenizer.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    gate = Gate(ends_of(tokenizer), "assistant", None)
    for one in (row, ROW):
        encoded = Encoder(tokenizer).encode(one)
        gate.look(one, encoded)
        assert stretches(encoded, trained=True).startswith(one.messages[1].content)
        assert "".join(encoded.text[slice(*span)] for span in encoded.offsets).startswith("<|im_start|>user\nWhat is")
    assert gate.report().passed


def test_thoughts_that_a_template_sets_anew_or_leaves_out_are_no_fault() -> None:
    thought = Message("assistant", "<think>It barks, so\n\n\nit is one.</think>It is a fox.")
    row = Conversation(1, (Message("user", "What is it?"), thought, Message("user", "Sure?"), thought))
    assert gate_of(shipped_template("qwen3"), row).passed


def test_learning_from_everything_asks_nothing_of_the_mask() -> None:
    assert "nothing-else-learnt" not in failing(gate_of(CHATML, train_on="all"))


def test_a_report_survives_the_way_through_json() -> None:
    report = broken("everything")
    assert GateReport.from_json(report.to_json()) == report


def test_the_templates_that_ship_teach_the_answers_and_their_end() -> None:
    plain = use_template(make_tokenizer(None), "plain")
    marked = use_template(make_tokenizer(None, special=("<|im_start|>", "<|im_end|>")), "chatml")
    for tokenizer, stop in ((plain, "</s>"), (marked, "<|im_end|>")):
        encoded = Encoder(tokenizer, "assistant").encode(ROW)
        gate = Gate(ends_of(tokenizer), "assistant", None)
        gate.look(ROW, encoded)
        assert gate.report().passed
        assert tokenizer.eos_token == stop
        ends = [encoded.text[slice(*span)] for span, one in zip(encoded.offsets, encoded.trained, strict=True) if one]
        assert ends.count(stop) == 2


def test_a_template_whose_marks_the_tokenizer_does_not_know_is_refused_with_the_plain_one_offered(
    tmp_path: Path,
) -> None:
    with pytest.raises(FtError, match=r"<\|im_start\|>") as caught:
        use_template(make_tokenizer(None), "chatml")
    assert "plain" in caught.value.problems[0].remedy
    with pytest.raises(FtError, match="cannot be read"):
        use_template(make_tokenizer(None), str(tmp_path / "none.jinja"))
    (tmp_path / "large.jinja").write_text("{# é #}" * 60_000)
    with pytest.raises(FtError, match="too large"):
        use_template(make_tokenizer(None), str(tmp_path / "large.jinja"))
    (tmp_path / "own.jinja").write_text(CHATML)
    assert use_template(make_tokenizer(None), str(tmp_path / "own.jinja")).chat_template == CHATML


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make_model(tmp_path_factory.mktemp("model"))


def test_a_base_model_without_a_template_is_tuned_with_the_plain_one_which_its_result_keeps(
    model: Path, tmp_path: Path
) -> None:
    (model / "chat_template.jinja").unlink()
    recipe = tiny.make_recipe(
        model,
        tiny.write_rows(tmp_path / "rows.jsonl", tiny.rows(16)),
        model__chat_template="plain",
        training__epochs=1.0,
    )
    run = tiny.make_run(tmp_path, recipe)
    assert tiny.train(run) == 0
    (gate,) = tiny.events(run, "gate")
    assert gate["passed"]
    assert "User: " in (run.result / "chat_template.jinja").read_text()
    assert "User" not in tiny.events(run, "verdict")[0]["words"]


def test_a_run_that_fails_the_gate_is_not_started_unless_that_is_overridden_and_recorded(
    model: Path, tmp_path: Path
) -> None:
    # Marks that close before the words: what is learnt is not what the rows say.
    bad = (
        "{% for message in messages %}{{ message['role'] + ': ' }}{% if message['role'] == 'assistant' %}"
        "{% generation %}{{ message['content'][:3] }}{% endgeneration %}{{ message['content'][3:] }}{% else %}"
        "{{ message['content'] }}{% endif %}{{ '<|end|>' }}{% endfor %}"
    )
    template = tmp_path / "bad.jinja"
    template.write_text(bad)
    data = tiny.write_rows(tmp_path / "rows.jsonl", tiny.rows(16))
    changes = {"model__chat_template": str(template), "training__epochs": 1.0}
    refused = tiny.make_run(tmp_path / "a", tiny.make_recipe(model, data, **changes))
    assert tiny.train(refused) != 0
    assert not tiny.events(refused, "step")
    assert tiny.events(refused, "gate")[0]["passed"] is False
    overridden = tiny.make_run(tmp_path / "b", tiny.make_recipe(model, data, data__template_gate="override", **changes))
    assert tiny.train(overridden) == 0
    assert any("overridden" in alarm["text"] for alarm in tiny.events(overridden, "alarm"))


def test_a_template_that_never_ends_ends_the_run_and_names_the_row(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finetune_core.worker.rows.encode.RENDER_SECONDS", 0.2)
    template = tmp_path / "endless.jinja"
    inner = "{% for i in range(9999) %}" * 3 + "{% endfor %}" * 3
    template.write_text("{% if messages[0]['content'] == 'endless' %}" + inner + "{% endif %}" + CHATML)
    rows = tiny.rows(16)
    rows[3]["messages"][0]["content"] = "endless"
    data = tiny.write_rows(tmp_path / "rows.jsonl", rows)
    recipe = tiny.make_recipe(model, data, model__chat_template=str(template), data__held_out_share=0.0)
    run = tiny.make_run(tmp_path, recipe)
    assert tiny.train(run) != 0
    assert "row 4 took too long to turn into tokens" in tiny.ended(run)["cause"]


@pytest.mark.parametrize("name", ["llama3_1", "qwen3", "gptoss"])
@pytest.mark.parametrize("answer", ['{"tide": "high", "at": "noon"}', 'It says "noon".\nThat is high.', "At noon."])
def test_a_tools_answer_counts_as_written_in_a_text_of_json_too(name: str, answer: str) -> None:
    call = ToolCall("tide", {"at": "Ostend"})
    tool = {"type": "function", "function": {"name": "tide", "description": "The tide.", "parameters": {
        "type": "object", "properties": {"at": {"type": "string", "description": "Where."}}}}}  # fmt: skip
    turns = (
        Message("user", "When is high tide?"),
        Message("assistant", "", tool_calls=(call,)),
        Message("tool", answer, name="tide"),
        Message("assistant", "The tide is high when the sun stands highest."),
    )
    report = gate_of(shipped_template(name), Conversation(1, turns, tools=(tool,)))
    assert "turns-written" not in failing(report)
    lost = Conversation(1, (*turns[:2], replace(turns[2], content="Something else"), turns[3]), tools=(tool,))
    gate = Gate(ends_of(tokenizer := make_tokenizer(shipped_template(name))), "assistant", None, lambda *_: iter(()))
    gate.look(lost, Encoder(tokenizer).encode(Conversation(1, turns, tools=(tool,))))
    assert "turns-written" in failing(gate.report())
