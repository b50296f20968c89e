"""Small tokenizers and model folders made on the spot, without torch and without a hub."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SENTENCES = ("The quick brown fox jumps over the lazy dog.", "What is it? It is a fox.", "And now? A lazy dog.")


def shipped_template(name: str) -> str:
    """One of the chat templates TRL ships, by its file's name."""
    spec = find_spec("trl")
    assert spec is not None
    assert spec.origin is not None
    return (Path(spec.origin).parent / "chat_templates" / f"{name}.jinja").read_text(encoding="utf-8")


def make_tokenizer(
    template: str | None,
    *,
    eos: str | None = "</s>",
    adds_bos: bool = False,
    special: Sequence[str] = (),
) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer that knows the special tokens its template writes."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    found = re.findall(r"<[|\uff5c][^<>]*?[|\uff5c]>|<(?:start|end)_of_turn>|<turn\|>|<\|turn>", template or "")
    names = sorted({*found, *special, "<s>", *([eos] if eos else [])})
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=names,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES * 3, trainer)
    if adds_bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
        )
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token=eos)
    made.chat_template = template
    return made


def make_model_folder(folder: Path, template: str | None = CHATML) -> Path:
    """A model folder with everything but weights."""
    make_tokenizer(template).save_pretrained(str(folder))
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "num_attention_heads": 4}
    (folder / "config.json").write_text(json.dumps(config))
    return folder
