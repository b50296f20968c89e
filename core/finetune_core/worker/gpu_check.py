"""A tiny computation on each GPU: `python -P -m finetune_core.worker.gpu_check`.

Writes one message (`finetune_core.child_messages`):
`{"done": {"failures": {uuid: error or null}, "problem": text or null}}`.
"""

from __future__ import annotations

from typing import Any

from finetune_core.child_messages import say
from finetune_core.text import one_line

_SIDE = 64


def main() -> None:
    """Compute, and say what became of it."""
    say({"done": try_gpus()})


def try_gpus() -> dict[str, Any]:
    """Errors by the UUID of each GPU torch sees, None where the result is right; or why torch sees none."""
    try:
        import torch

        # Where no GPU can be used this raises with the reason; `is_available` would only say no.
        torch.zeros(1, device="cuda")
        count = torch.cuda.device_count()
    except Exception as error:  # noqa: BLE001 - whatever keeps torch from a GPU is the answer
        return {"failures": {}, "problem": _words(error)}
    if count == 0:
        return {"failures": {}, "problem": f"torch {torch.__version__} sees no GPU"}
    return {"failures": dict(_try(number) for number in range(count)), "problem": None}


def _try(number: int) -> tuple[str, str | None]:
    """(UUID, error) of one GPU: a product by the matrix library, and a sum by torch's own code."""
    import torch

    uuid = f"GPU-{number}"
    try:
        uuid = f"GPU-{torch.cuda.get_device_properties(number).uuid}"
        ones = torch.ones(_SIDE, _SIDE, device=f"cuda:{number}")
        found = float((ones @ ones + 1).sum())
    except Exception as error:  # noqa: BLE001 - as above
        return uuid, _words(error)
    return uuid, None if found == _SIDE**2 * (_SIDE + 1) else f"it computes wrong results: {found}"


def _words(error: BaseException) -> str:
    first = str(error).strip().partition("\n")[0]
    return one_line(first or type(error).__name__, 300)


if __name__ == "__main__":
    main()
