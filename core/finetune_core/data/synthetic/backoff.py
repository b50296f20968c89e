"""How long to wait before an endpoint is asked again."""

from __future__ import annotations

import math
import random
import time
from email.utils import parsedate_to_datetime
from typing import Final

FIRST: Final = 1.0
LONGEST: Final = 60.0


def retry_after(header: str | None, now: float | None = None) -> float | None:
    """Seconds that a Retry-After header asks for (a number, or a date seen from `now`, Unix time); None without one."""
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(header).timestamp() - (time.time() if now is None else now)
        except (ValueError, TypeError, OverflowError):
            return None
    return max(seconds, 0.0) if math.isfinite(seconds) else None


def backoff(attempt: int, rng: random.Random) -> float:
    """Seconds before attempt number `attempt` + 1 (attempts count from 1): doubling, spread so that askers part."""
    # 2^16 s is far beyond the longest wait, and a float still holds it.
    return float(min(FIRST * 2.0 ** min(attempt - 1, 16), LONGEST) * (0.75 + rng.random() / 2))
