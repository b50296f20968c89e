"""Kinds of data that are known by name and cannot be trained on, each with the way out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Refusal:
    """A kind of data that cannot be trained on; `name` completes "rows are ..."."""

    kind: str
    name: str
    why: str
    remedy: str


TOKENISED = Refusal(
    "tokenised",
    "rows of tokens (input_ids)",
    "tokens fit one tokenizer only, and the text behind them cannot be checked",
    "use the texts these tokens were made from",
)
MULTIMODAL = Refusal(
    "multimodal",
    "rows with images, video or sound",
    "only text is trained, and an answer about a picture nobody shows teaches the model to make things up",
    "keep the rows without media, or take the media columns, parts and marks such as <image> out",
)
ONE_TURN = Refusal(
    "not-rows",
    "single turns (role and content), not conversations",
    "trained one by one they would teach questions and answers alike, each without what stood before it",
    "put the turns of each conversation into one row: "
    "jq -sc 'group_by(.conversation_id)[] | {messages: map({role, content})}' turns.jsonl > rows.jsonl",
)
TREE = Refusal(
    "not-rows",
    "single messages of a tree (parent_id), not conversations",
    "trained one by one they would teach text without its question",
    "follow parent_id from each last message to its root, and write each path as one row of messages",
)
