"""The environment variables that each kind of process of this program gets."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

# No library reports to anybody what is done here.
_NO_TELEMETRY: Final = {"HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}
# Threads of the tokenizers library would be forked with, and it warns of that at every fork.
_ONE_THREAD: Final = {"TOKENIZERS_PARALLELISM": "false"}
_OFFLINE: Final = {"HF_HUB_OFFLINE": "1"}
# Names of tokens that a process has no use for; what it runs is somebody's chat template.
SECRETS: Final = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY")

# A supervisor and its trainer. What a trainer crashes at stands in its log, whatever bytes it writes there.
RUN: Final = MappingProxyType(
    {
        **_NO_TELEMETRY,
        **_ONE_THREAD,
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",
        "PYTHONIOENCODING": "utf-8:backslashreplace",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    }
)
# What a trainer sets for the libraries it is about to import, unless somebody has.
TRAINER: Final = MappingProxyType(
    {
        **_NO_TELEMETRY,
        **_ONE_THREAD,
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        # Blocks that grow in place leave fewer holes: rows of many lengths would else fragment the GPU's memory.
        "PYTORCH_ALLOC_CONF": "expandable_segments:True",
    }
)
# The process that turns rows into tokens.
TOKENS: Final = MappingProxyType({**_NO_TELEMETRY, **_ONE_THREAD, **_OFFLINE, "TRANSFORMERS_VERBOSITY": "error"})
# A process that traces a step: it needs no device.
TRACE: Final = MappingProxyType({**_NO_TELEMETRY, **_OFFLINE, "CUDA_VISIBLE_DEVICES": ""})
