"""Where transformers puts code that comes with a model before it imports it: a folder that only this user writes to."""

from __future__ import annotations

from functools import cache
from typing import Any

from finetune_core.paths import cache_root, private_folder


@cache
def use_private_modules() -> None:
    """Have code of models imported from a folder of this program; raises FtError where others may write there.

    By default it is imported from the hub's cache, which is often shared: what somebody put there would run in the
    place of what was looked at.
    """
    from transformers import dynamic_module_utils

    modules: Any = dynamic_module_utils
    modules.HF_MODULES_CACHE = str(private_folder(cache_root() / "modules"))
