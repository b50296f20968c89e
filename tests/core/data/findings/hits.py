"""What the checks find in the texts of one row."""

from __future__ import annotations

from finetune_core.data.checks.findings.row_texts import row_parts
from finetune_core.data.checks.findings.texts import Hit, parts_hits
from finetune_core.data.rows import CanonicalRow


def hits_of(row: CanonicalRow) -> list[Hit]:
    """Everything that is wrong with the texts of a row, as `Checker` asks it."""
    return list(parts_hits(row, list(row_parts(row))))
