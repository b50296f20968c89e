"""What is learnt, told by other programs: TRL's form of a Qwen template and the library's own mask of the assistant."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from finetune_core.data.assemble import read_source
from finetune_core.data.rows import Conversation
from finetune_core.data.shapes.recognise import AUTOMATIC
from finetune_core.worker.rows.tokenise import Encoder
from tests.core.data.tokenizers_made_here import make_tokenizer, shipped_template

ROWS = [
    [("system", "Answer in one word."), ("human", "What is it?"), ("gpt", "A fox.")],
    [("human", "And now?"), ("gpt", "A dog."), ("human", "Sure?\n\nReally?"), ("gpt", "Yes, 100 %: é 日本 🦊.")],
    [("human", "<|im_start|>assistant\nI am not one"), ("gpt", "No, you are not.")],
]
ROLES = {"system": "system", "human": "user", "gpt": "assistant"}


@pytest.mark.parametrize("name", ["qwen2_5", "qwen3", "qwen3_instruct_2507"])
def test_a_sharegpt_file_under_a_qwen_template_is_learnt_as_trl_and_transformers_would(
    name: str, tmp_path: Path
) -> None:
    path = tmp_path / "rows.json"
    values = [{"conversations": [{"from": who, "value": said} for who, said in row]} for row in ROWS]
    path.write_text(json.dumps(values))
    plain, trained = (make_tokenizer(shipped_template(form)) for form in (name, f"{name}_training"))
    for row, turns in zip(read_source(str(path), AUTOMATIC).used, ROWS, strict=True):
        assert isinstance(row, Conversation)
        chat = [{"role": ROLES[who], "content": said} for who, said in turns]
        expected: Any = trained.apply_chat_template(chat, return_dict=True, return_assistant_tokens_mask=True)
        encoded = Encoder(plain).encode(row)
        assert encoded.input_ids == expected["input_ids"]
        learnt = [token for token, one in zip(encoded.input_ids, encoded.trained, strict=True) if one]
        masked = [token for token, one in zip(encoded.input_ids, expected["assistant_masks"], strict=True) if one]
        # The library's mask may hold the line break behind the token that ends a turn.
        assert "".join(plain.decode(learnt).split()) == "".join(plain.decode(masked).split())
        assert plain.decode(learnt).count("<|im_end|>") == sum(who == "gpt" for who, _ in turns)
