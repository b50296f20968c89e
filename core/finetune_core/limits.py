"""What a stranger's file may take: every limit on bytes, counts and seconds, with why it is where it is.

They are far above anything real, and low enough that a file made to exhaust a machine is refused within seconds.
"""

from __future__ import annotations

from typing import Final

MIB: Final = 2**20
GIB: Final = 2**30

# JSON files of models: the largest real index (of 163 shards) has 9 MB, and nothing nests deeper than 6 levels.
JSON_BYTES: Final = 16 * MIB
JSON_DEPTH: Final = 32
# The longest chat templates in use have less than 30 KiB.
TEMPLATE_BYTES: Final = 256 * 1024
# Of one safetensors file. The library itself allows 100 MB of header; mixtures of experts with packed weights have up
# to 80,000 tensors in a file, of some 120 bytes each. Parsing the most allowed takes about a second.
HEADER_BYTES: Final = 32 * MIB
HEADER_TENSORS: Final = 200_000
SHARDS: Final = 10_000
# One row of text as JSON or CSV, and one value of a table.
ROW_BYTES: Final = 64 * MIB
# Text that an archive or a table may hold for each of its bytes, where it is more than a GiB in all: deflate cannot
# pack 1,032 times, and rows of repeated text are packed 20 to 100 times.
UNPACKED_TIMES: Final = 300
UNPACKED_BYTES: Final = GIB
# A chat template at work on one row: its memory beside what the process has, and its time.
RENDER_BYTES: Final = GIB
RENDER_SECONDS: Final = 10.0
# A recipe.
YAML_BYTES: Final = 256 * 1024
YAML_DEPTH: Final = 32
YAML_PARTS: Final = 10_000


def unpacks_too_far(unpacked: int, packed: int) -> bool:
    """Whether so many bytes came out of so few that the file was made to exhaust the machine."""
    return unpacked > max(UNPACKED_BYTES, UNPACKED_TIMES * packed)
