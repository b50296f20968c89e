"""Where the program begins: a system it does not run on is named before anything of it is imported."""

from __future__ import annotations

import sys
from typing import Final

_WRONG_USE: Final = 2
_ELSEWHERE: Final = "Install it on the Linux machine with the GPU, and use it from here over ssh: ssh -t HOST ft-tui"
_TODO: Final = {
    "win32": f"Use it inside WSL 2, which is Linux (in Windows: wsl --install). {_ELSEWHERE}",
    "cygwin": f"Use it inside WSL 2, which is Linux (in Windows: wsl --install). {_ELSEWHERE}",
    "darwin": f"Apple's GPUs (MPS) are not used by this version. {_ELSEWHERE}",
}
_NAMES: Final = {"win32": "Windows", "cygwin": "Windows", "darwin": "macOS"}


def why_not_here() -> str | None:
    """Why the program does not run on this system, and what to do; None on Linux."""
    if sys.platform == "linux":
        return None
    name = _NAMES.get(sys.platform, sys.platform)
    return f"ft-tui runs on Linux; this is {name}. {_TODO.get(sys.platform, _ELSEWHERE)}"


def main() -> None:
    """Entry point of the console script."""
    reason = why_not_here()
    if reason is not None:
        sys.stderr.write(reason + "\n")
        sys.exit(_WRONG_USE)
    from finetune_tui.cli import main as run

    run()


if __name__ == "__main__":
    main()
