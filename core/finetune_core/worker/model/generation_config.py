"""The generation config a base comes with: transformers loads what it refuses to write again."""

from __future__ import annotations

import re
from typing import Final

from transformers import GenerationConfig

from finetune_core.text import one_line

_ISSUE: Final = re.compile(r"^- `(\w+)`", re.MULTILINE)
_IDS: Final = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")


def repair(config: GenerationConfig) -> str | None:
    """Unset what has no effect beside the other values, such as a temperature where nothing is sampled.

    What stands in the way otherwise is unset too, all but the token ids. In words what was unset; None where nothing
    had to be.
    """
    before = config.to_dict()  # type: ignore[no-untyped-call, unused-ignore]
    why = _invalid(config)
    if why is None:
        return None
    for name in _ISSUE.findall(why):
        setattr(config, name, None)
    if _invalid(config) is not None:
        kept = {name: getattr(config, name, None) for name in _IDS}
        config.__dict__.update(GenerationConfig(**kept).__dict__)  # type: ignore[no-untyped-call, unused-ignore]
    now = config.to_dict()  # type: ignore[no-untyped-call, unused-ignore]
    gone = [f"{name} {value}" for name, value in before.items() if value is not None and now.get(name) != value]
    return one_line(", ".join(gone), 200)


def _invalid(config: GenerationConfig) -> str | None:
    try:
        config.validate(strict=True)  # type: ignore[no-untyped-call, unused-ignore]
    except (ValueError, TypeError) as error:
        return str(error) or type(error).__name__
    return None
