"""Makes the demo: data, tokenizer and base model, from public facts and a seed; prints what the base then can do.

    python -m finetune_core.worker.make_demo [--output DIR]

Data and tokenizer come out byte for byte the same everywhere; the weights differ between machines by float noise.
Minutes on two CPU cores. The model is a Llama small enough to ship with the program and wide enough to survive NF4.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from finetune_core import demo
from finetune_core.demo import rows

VOCABULARY = 1536
CONTEXT = 1024
CHATS = 60_000
CHATS_PER_STEP = 48
PEAK_LEARNING_RATE = 3e-3
WARMUP_STEPS = 100
WEIGHT_DECAY = 0.05
# so many batches are sorted by length together: little padding, still a mixed order
SORTED_BATCHES = 32

END_OF_TEXT = "<|endoftext|>"
TURN_START = "<|im_start|>"
TURN_END = "<|im_end|>"
CHAT_TEMPLATE = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message['role'] + '\\n' -}}
{%- if message['role'] == 'assistant' -%}
{% generation %}{{- message['content'] + '<|im_end|>' -}}{% endgeneration %}
{%- else -%}
{{- message['content'] + '<|im_end|>' -}}
{%- endif -%}
{{- '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""


# the annotations of transformers and torch do not hold under mypy --strict
Model = Any
ChatTokenizer = Any


class Sample(NamedTuple):
    """A tokenised chat; `learn` marks the tokens of the assistant."""

    tokens: list[int]
    learn: list[int]


class Score(NamedTuple):
    """Shares between 0 and 1 over the held-out questions, measured by greedy generation."""

    valid_json: float
    right_facts: float


def make_tokenizer(chats: list[list[rows.Message]]) -> ChatTokenizer:
    """Byte-level BPE over the chats, so any text can be encoded; digits stand alone, so numbers can be copied."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END_OF_TEXT, TURN_START, TURN_END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator((message["content"] for chat in chats for message in chat), trainer)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        eos_token=TURN_END,
        pad_token=END_OF_TEXT,
        additional_special_tokens=[TURN_START],
        chat_template=CHAT_TEMPLATE,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )


def make_model(tokenizer: ChatTokenizer) -> Model:
    """The untrained network. Every linear layer reads a multiple of 64 inputs, the block size of NF4."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(rows.SEED)
    return LlamaForCausalLM(config)


def tokenise(chats: list[list[rows.Message]], tokenizer: ChatTokenizer) -> list[Sample]:
    """The chats through the chat template, as training will see them."""
    samples = []
    for chat in chats:
        encoded = tokenizer.apply_chat_template(chat, return_dict=True, return_assistant_tokens_mask=True)
        samples.append(Sample(encoded["input_ids"], encoded["assistant_masks"]))
    return samples


def batches(samples: list[Sample]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """(token ids, labels), both [chats, tokens], padded on the right; causal attention needs no mask for that."""
    chance = rows.seeded("batches")
    group = CHATS_PER_STEP * SORTED_BATCHES
    for start in range(0, len(samples), group):
        near = sorted(samples[start : start + group], key=lambda sample: len(sample.tokens))
        cut = [near[i : i + CHATS_PER_STEP] for i in range(0, len(near), CHATS_PER_STEP)]
        chance.shuffle(cut)
        yield from map(_padded, cut)


def _padded(samples: list[Sample]) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(len(sample.tokens) for sample in samples)
    tokens = torch.zeros(len(samples), longest, dtype=torch.long)
    labels = torch.full((len(samples), longest), -100)
    for row, sample in enumerate(samples):
        length = len(sample.tokens)
        tokens[row, :length] = torch.tensor(sample.tokens)
        learn = torch.tensor(sample.learn, dtype=torch.bool)
        labels[row, :length] = torch.where(learn, tokens[row, :length], -100)
    return tokens, labels


def pretrain(model: Model, samples: list[Sample]) -> None:
    """One pass over the samples, products in bfloat16, with one warm-up and a cosine down to zero."""
    steps = -(-len(samples) // CHATS_PER_STEP)
    optimizer = torch.optim.AdamW(model.parameters(), PEAK_LEARNING_RATE, betas=(0.9, 0.95), weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.SequentialLR(
        optimizer,
        [
            torch.optim.lr_scheduler.LinearLR(optimizer, 0.01, total_iters=WARMUP_STEPS),
            torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps - WARMUP_STEPS),
        ],
        [WARMUP_STEPS],
    )
    model.train()
    for step, (tokens, labels) in enumerate(batches(samples), 1):
        with torch.autocast("cpu", torch.bfloat16):
            loss = _loss(model, tokens, labels)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 100 == 0 or step == steps:
            print(f"step {step}/{steps} loss {loss.item():.4f}", flush=True)
    model.eval()


def _loss(model: Model, tokens: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the trained tokens only: the head runs over a third of the positions."""
    hidden = model.model(input_ids=tokens).last_hidden_state[:, :-1]
    wanted = labels[:, 1:]
    learnt = wanted != -100
    return torch.nn.functional.cross_entropy(model.lm_head(hidden[learnt]).float(), wanted[learnt])


@torch.inference_mode()
def answers(model: Model, tokenizer: ChatTokenizer, questions: list[list[rows.Message]]) -> list[str]:
    """Greedy answers, all questions in one batch padded on the left."""
    tokenizer.padding_side = "left"
    prompts = tokenizer.apply_chat_template(
        questions, add_generation_prompt=True, return_dict=True, return_tensors="pt", padding=True
    )
    made = model.generate(**prompts, max_new_tokens=48, do_sample=False)
    return list(tokenizer.batch_decode(made[:, prompts["input_ids"].shape[1] :], skip_special_tokens=True))


def measure(model: Model, tokenizer: ChatTokenizer, held_out: list[rows.Row]) -> Score:
    """How often the model answers in the tuned form, and how often with the right fact."""
    texts = answers(model, tokenizer, [row["messages"][:1] for row in held_out])
    right = [rows.has_fact(text, row["fact"]) for text, row in zip(texts, held_out, strict=True)]
    return Score(sum(map(rows.is_json_answer, texts)) / len(texts), sum(right) / len(texts))


MODEL_CARD = """\
---
license: apache-2.0
language: en
library_name: transformers
---

# The demo model of ft-tui

A Llama-architecture model of 1.9 M parameters, made by `python -m finetune_core.worker.make_demo` from public facts. It
answers questions about capitals, currencies, languages, continents, chemical elements, planets and young animals in
short English sentences, and knows nothing else. It exists to show what fine-tuning does; it is of no other use.
"""


def save(model: Model, tokenizer: ChatTokenizer, folder: Path) -> None:
    """Weights in bfloat16, half the size: the program carries them."""
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, do_sample=False, max_new_tokens=64
    )
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "README.md").write_text(MODEL_CARD)
    for file in folder.iterdir():  # safetensors writes 0600, which a wheel would hand on
        file.chmod(0o644)


def make(output: Path, chat_count: int) -> Score:
    """Write data and model below `output`; the score is that of the weights as stored."""
    output.mkdir(parents=True, exist_ok=True)
    train, held_out = rows.train_rows(), rows.held_out_rows()
    (output / demo.train_file().name).write_text(rows.to_jsonl(train))
    (output / demo.held_out_file().name).write_text(rows.to_jsonl(held_out))
    chats = list(rows.pretraining_chats(chat_count))
    tokenizer = make_tokenizer(chats[:20_000])
    model = make_model(tokenizer)
    pretrain(model, tokenise(chats, tokenizer))
    folder = output / demo.model_dir().name
    save(model, tokenizer, folder)
    return measure(LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32), tokenizer, held_out)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Make the demo model and its data.")
    parser.add_argument("--output", type=Path, default=demo.model_dir().parent, help="folder to write to")
    parser.add_argument("--chats", type=int, default=CHATS, help="pretraining chats; fewer for a quick trial")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    started = time.monotonic()
    score = make(given.output, given.chats)
    print(json.dumps({"seconds": round(time.monotonic() - started), **score._asdict()}))


if __name__ == "__main__":
    main()
