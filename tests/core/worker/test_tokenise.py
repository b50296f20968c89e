from __future__ import annotations

import pytest

from finetune_core.data.rows import Conversation, Message, Text, ToolCall
from finetune_core.errors import FtError
from finetune_core.worker.rows.chat_template import training_template
from finetune_core.worker.rows.tokenise import Encoded, Encoder
from tests.core.data.tokenizers_made_here import CHATML, make_tokenizer, shipped_template

USER, ANSWER = Message("user", "What is it?"), Message("assistant", "It is a fox.")
SECOND = (Message("user", "And now?"), Message("assistant", "A lazy dog."))
ONE_TURN = Conversation(1, (USER, ANSWER))
TWO_TURNS = Conversation(1, (USER, ANSWER, *SECOND))


def learnt(encoded: Encoded) -> list[str]:
    """The stretches of text the loss is taken on."""
    places: list[tuple[int, int]] = []
    before = False
    for trained, (begin, end) in zip(encoded.trained, encoded.offsets, strict=True):
        if trained and before:
            places[-1] = (places[-1][0], end)
        elif trained:
            places.append((begin, end))
        before = trained
    return [encoded.text[begin:end] for begin, end in places]


@pytest.mark.parametrize(
    ("name", "stop", "think"),
    [
        ("qwen2_5", "<|im_end|>", ""),
        ("qwen3", "<|im_end|>", "<think>\n\n</think>\n\n"),
        ("qwen3_5_think", "<|im_end|>", "\n</think>\n\n"),
        ("qwen3_instruct_2507", "<|im_end|>", ""),
        ("llama3", "<|eot_id|>", ""),
        ("llama3_1", "<|eot_id|>", ""),
        ("llama3_2", "<|eot_id|>", ""),
        ("gemma", "<end_of_turn>", ""),
        ("gemma3", "<end_of_turn>", ""),
        ("gemma4", "<turn|>", ""),
        ("deepseekv3", "<\uff5cend▁of▁sentence\uff5c>", ""),
        ("lfm2", "<|im_end|>", ""),
        ("lfm2_2_5", "<|im_end|>", ""),
        ("cohere", "<|END_OF_TURN_TOKEN|>", ""),
        ("cohere2", "<|END_RESPONSE|><|END_OF_TURN_TOKEN|>", ""),
    ],
)
def test_exactly_the_answers_and_the_token_that_ends_each_are_learnt(name: str, stop: str, think: str) -> None:
    encoded = Encoder(make_tokenizer(shipped_template(name))).encode(TWO_TURNS)
    assert learnt(encoded) == [f"{think}It is a fox.{stop}", f"{think}A lazy dog.{stop}"]


def test_marks_that_leave_the_stop_token_out_are_mended() -> None:
    template = (
        "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
        "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] }}{% endgeneration %}"
        "{% else %}{{ message['content'] }}{% endif %}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    encoded = Encoder(make_tokenizer(template)).encode(TWO_TURNS)
    assert learnt(encoded) == ["It is a fox.<|im_end|>", "A lazy dog.<|im_end|>"]


def test_a_template_that_never_ends_an_answer_gets_the_end_token_behind_the_last() -> None:
    template = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    encoded = Encoder(make_tokenizer(template)).encode(ONE_TURN)
    assert encoded.text.endswith("It is a fox.\n</s>")
    assert encoded.trained[-1]
    assert learnt(encoded)[-1].endswith("</s>")


def test_the_stop_token_that_the_next_turn_writes_is_learnt_with_the_answer_before_it() -> None:
    template = (
        "{% for m in messages %}{% if m['role'] == 'user' %}{% if not loop.first %}</s>{% endif %}[U]{{ m['content'] }}"
        "{% else %}[A]{% generation %}{{ m['content'] }}{% endgeneration %}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}[A]{% endif %}"
    )
    encoded = Encoder(make_tokenizer(template, special=["[U]", "[A]"])).encode(TWO_TURNS)
    assert learnt(encoded) == ["It is a fox.</s>", "A lazy dog.</s>"]


def test_a_template_that_rewrites_earlier_turns_is_refused_with_several_answers_and_works_with_one() -> None:
    template = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
        "{% if m['role'] == 'assistant' and loop.last %}<|think|>{% endif %}{{ m['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    encoder = Encoder(make_tokenizer(template))
    assert learnt(encoder.encode(ONE_TURN)) == ["<|think|>It is a fox.<|im_end|>"]
    with pytest.raises(FtError, match="rewrites earlier turns"):
        encoder.encode(TWO_TURNS)
    everything = Encoder(make_tokenizer(template), "all").encode(TWO_TURNS)
    assert all(everything.trained)


def test_a_template_that_loses_a_turn_is_refused_by_the_turns_name() -> None:
    template = "{% for m in messages if m['role'] != 'system' %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    conversation = Conversation(1, (Message("system", "Be brief."), USER, ANSWER))
    with pytest.raises(FtError, match=r"system \(turn 1\)"):
        Encoder(make_tokenizer(template)).encode(conversation)


def test_what_a_template_raises_is_told_in_its_own_words() -> None:
    conversation = Conversation(1, (Message("system", "Be brief."), USER, ANSWER))
    with pytest.raises(FtError, match="System role not supported"):
        Encoder(make_tokenizer(shipped_template("gemma"))).encode(conversation)


def test_a_template_that_writes_without_end_is_refused() -> None:
    template = "{% for m in messages %}{{ m['content'] }}{{ 'x' * 3000000 }}{% endfor %}"
    with pytest.raises(FtError, match="far more than the row holds"):
        Encoder(make_tokenizer(template)).encode(ONE_TURN)


def test_a_model_without_a_chat_template_is_refused_for_conversations_and_takes_completions() -> None:
    encoder = Encoder(make_tokenizer(None))
    with pytest.raises(FtError, match="no chat template") as caught:
        encoder.encode(ONE_TURN)
    assert "Instruct" in caught.value.problems[0].remedy
    assert learnt(encoder.encode(completion("Q: What is it?\nA:", " It is a fox."))) == [" It is a fox.</s>"]


def completion(prompt: str, answer: str) -> Conversation:
    return Conversation(1, (Message("user", prompt), Message("assistant", answer)), completion_only=True)


def test_a_completion_begins_where_the_prompt_ends_even_when_one_token_would_span_both() -> None:
    encoded = Encoder(make_tokenizer(None)).encode(completion("It is a f", "ox."))
    assert learnt(encoded) == ["ox.</s>"]
    assert encoded.text == "It is a fox.</s>"


def test_an_end_token_that_is_there_already_is_not_written_twice() -> None:
    tokenizer = make_tokenizer(None)
    encoded = Encoder(tokenizer).encode(completion("What is it?", " A dog.</s>"))
    assert encoded.input_ids.count(tokenizer.eos_token_id) == 1


def test_without_an_end_token_the_answer_could_not_be_ended_and_is_refused() -> None:
    with pytest.raises(FtError, match="where an answer ends"):
        Encoder(make_tokenizer(None, eos=None)).encode(completion("What is it?", " A dog."))


def test_the_begin_token_is_written_once_by_template_or_tokenizer() -> None:
    tokenizer = make_tokenizer(shipped_template("llama3"), adds_bos=True)
    encoder = Encoder(tokenizer)
    for row in (ONE_TURN, completion("What is it?", " A dog.")):
        encoded = encoder.encode(row)
        assert encoded.input_ids[0] == tokenizer.bos_token_id
        assert encoded.input_ids.count(tokenizer.bos_token_id) == 1
        assert not encoded.trained[0]


def test_everything_is_learnt_when_asked_for() -> None:
    for row in (TWO_TURNS, completion("What is it?", " A dog.")):
        encoded = Encoder(make_tokenizer(CHATML), "all").encode(row)
        assert all(encoded.trained)
        assert len(encoded.trained) == len(encoded.input_ids) == len(encoded.offsets)


def test_an_answer_marked_as_context_is_not_learnt() -> None:
    context = Message("assistant", "It is a fox.", trained=False)
    for template in (CHATML, shipped_template("qwen2_5")):
        encoded = Encoder(make_tokenizer(template)).encode(Conversation(1, (USER, context, *SECOND)))
        assert learnt(encoded) == ["A lazy dog.<|im_end|>"]


def test_preview_and_chat_template_give_the_same_tokens() -> None:
    tokenizer = make_tokenizer(CHATML)
    turns = [{"role": turn.role, "content": turn.content} for turn in TWO_TURNS.messages]
    expected = tokenizer.apply_chat_template(turns, tokenize=True, return_dict=False)
    assert Encoder(tokenizer).encode(TWO_TURNS).input_ids == expected


def test_text_of_several_bytes_a_character_is_marked_whole() -> None:
    row = Conversation(1, (USER, Message("assistant", "Ein Füchschen 🦊 — 狐")))
    assert learnt(Encoder(make_tokenizer(CHATML)).encode(row)) == ["Ein Füchschen 🦊 — 狐<|im_end|>"]


def test_training_templates_are_those_that_trl_itself_would_use() -> None:
    from trl.chat_template_utils import get_training_chat_template

    for name in ("qwen2_5", "qwen3", "llama3", "gemma3", "phi3_5", "gptoss", "deepseekv3"):
        template = shipped_template(name)
        assert training_template(template) == get_training_chat_template(make_tokenizer(template))
    assert training_template(CHATML) is None


WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
CALLING = Conversation(
    1,
    (
        Message("user", "Rain in Oslo?"),
        Message("assistant", "", tool_calls=(ToolCall("weather", {"city": "Oslo"}),)),
        Message("tool", "heavy rain", name="weather"),
        Message("assistant", "It rains."),
    ),
    tools=(WEATHER,),
)


@pytest.mark.parametrize(
    ("name", "stop"), [("qwen2_5", "<|im_end|>"), ("qwen3", "<|im_end|>"), ("llama3_1", "<|eot_id|>")]
)
def test_calls_are_learnt_with_their_end_and_what_tools_answer_is_not(name: str, stop: str) -> None:
    encoded = Encoder(make_tokenizer(shipped_template(name))).encode(CALLING)
    call, answer = learnt(encoded)
    assert '"weather"' in call
    assert "Oslo" in call
    assert call.endswith(stop)
    assert answer.endswith(f"It rains.{stop}")
    assert "heavy rain" in encoded.text
    assert "Weather of a city" in encoded.text


def test_a_template_that_leaves_tools_out_is_refused() -> None:
    with pytest.raises(FtError, match="the tools"):
        Encoder(make_tokenizer(CHATML)).encode(CALLING)


def test_reasoning_is_learnt_where_the_template_writes_it() -> None:
    row = Conversation(1, (USER, Message("assistant", "A fox.", reasoning="It barks.")))
    (answer,) = learnt(Encoder(make_tokenizer(shipped_template("qwen3"))).encode(row))
    assert answer == "<think>\nIt barks.\n</think>\n\nA fox.<|im_end|>"


def test_of_raw_text_every_token_is_learnt_and_pieces_lose_none() -> None:
    encoded = Encoder(make_tokenizer(None, adds_bos=True)).encode(Text(1, "The quick brown fox. " * 30))
    assert all(encoded.trained)
    assert encoded.text.startswith("<s>The quick")
    assert encoded.text.endswith("</s>")
    pieces = list(encoded.pieces(16))
    assert [token for piece in pieces for token in piece.input_ids] == encoded.input_ids
    assert max(len(piece.input_ids) for piece in pieces) == 16
