"""Which build of torch computes on which card with which driver: one table, and the sentence that follows from it.

Builds and the cards they hold code for: the CUDA support matrix in pytorch/pytorch RELEASE.md and its changes for 2.11
(pull request 175253), 2.12 (182849), 2.13 (187075) and 2.14 (194367); for 2.15 issue 190385. Code for 8.0 runs on 8.6
and 8.9 too, never on 9.0 (CUDA C++ Programming Guide, "Binary Compatibility").
Drivers: NVIDIA's "CUDA Compatibility", table 1 of "Minor Version Compatibility"; Blackwell came with driver 570 (CUDA
12.8 release notes).
bitsandbytes: its installation guide for 0.50, "NVIDIA CUDA".
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import Final

from finetune_core.hardware.installed_torch import TorchBuild, numbers

Capability = tuple[int, int]

# Lowest compute capability that bitsandbytes quantises on.
NF4_CAPABILITY: Final[Capability] = (6, 0)
INT8_CAPABILITY: Final[Capability] = (7, 5)

# First driver that runs programs of a CUDA major version, and first one that knows cards of a major capability.
_DRIVER_FOR_CUDA: Final = {11: 450, 12: 525, 13: 580}
_DRIVER_FOR_CARD: Final = {10: 570, 11: 580, 12: 570}
_ADVISED_DRIVER: Final = 580

_TURING_ON: Final[tuple[Capability, ...]] = ((7, 5), (8, 0), (8, 6), (9, 0))
_ARM: Final[tuple[Capability, ...]] = ((8, 0), (9, 0))
_OLD: Final[tuple[Capability, ...]] = ((5, 0), (6, 0), (7, 0), *_TURING_ON)
_BLACKWELL: Final[tuple[Capability, ...]] = ((10, 0), (12, 0))
_ARM_13: Final[tuple[Capability, ...]] = (*_ARM, (10, 0), (11, 0), (12, 0))


@dataclass(frozen=True)
class Wheel:
    """A wheel of torch that can be installed: its version, its CUDA, and the capabilities it holds code for."""

    torch: str
    cuda: str
    cards: tuple[Capability, ...]
    arm_cards: tuple[Capability, ...]


# What this program supports, the builds that are advised first.
WHEELS: Final = (
    Wheel("2.13.0", "13.0", (*_TURING_ON, *_BLACKWELL), _ARM_13),
    Wheel("2.13.0", "12.6", _OLD, _ARM),
    Wheel("2.11.0", "12.8", (*_TURING_ON, *_BLACKWELL), (*_ARM, *_BLACKWELL)),
    Wheel("2.13.0", "13.2", (*_TURING_ON, *_BLACKWELL), _ARM_13),
    Wheel("2.12.0", "13.0", (*_TURING_ON, *_BLACKWELL), _ARM_13),
    Wheel("2.12.0", "12.6", _OLD, _ARM),
    Wheel("2.12.0", "13.2", (*_TURING_ON, *_BLACKWELL), _ARM_13),
    Wheel("2.11.0", "13.0", (*_TURING_ON, *_BLACKWELL), _ARM_13),
    Wheel("2.11.0", "12.6", _OLD, _ARM),
    Wheel("2.14.0", "13.2", (*_TURING_ON, *_BLACKWELL), _ARM_13),
    Wheel("2.14.0", "13.0", (*_TURING_ON, *_BLACKWELL), _ARM_13),
    Wheel("2.14.0", "12.6", _OLD, _ARM),
    Wheel("2.15.0", "13.2", (*_TURING_ON, *_BLACKWELL), _ARM_13),
    Wheel("2.15.0", "13.0", (*_TURING_ON, *_BLACKWELL), _ARM_13),
)
OLDEST: Final = "2.11"


def holds_code(cards: tuple[Capability, ...], card: Capability) -> bool:
    """Whether one of these capabilities is the card's own, or an older one of the same major number."""
    return any(major == card[0] and minor <= card[1] for major, minor in cards)


def driver_number(driver: str | None) -> int | None:
    """The branch of a driver: 570 of `570.86.15`."""
    found = numbers(driver or "")
    return found[0] if found else None


def advised(card: Capability, driver: str | None, machine: str | None = None) -> Wheel | None:
    """The build to install for a card and a driver; None where no build that this program supports fits both.

    `machine` is the processor's name as `platform.machine` gives it; an unknown driver counts as new enough.
    """
    return next((wheel for wheel in WHEELS if _fits(wheel, card, driver, machine)), None)


def _fits(wheel: Wheel, card: Capability, driver: str | None, machine: str | None) -> bool:
    branch = driver_number(driver)
    enough = branch is None or branch >= needed_driver(wheel, card)
    return enough and holds_code(cards_of(wheel, machine), card)


def cards_of(wheel: Wheel, machine: str | None = None) -> tuple[Capability, ...]:
    """What a wheel holds code for on this processor, or on `machine`."""
    return wheel.arm_cards if (machine or platform.machine()) in {"aarch64", "arm64"} else wheel.cards


def needed_driver(wheel: Wheel, card: Capability) -> int:
    """The first driver branch with which a wheel runs on a card."""
    return max(_DRIVER_FOR_CUDA[numbers(wheel.cuda)[0]], _DRIVER_FOR_CARD.get(card[0], 0))


def driver_for(build: TorchBuild) -> int:
    """The first driver branch that runs an installed build; 0 for one without CUDA or of an unknown CUDA."""
    return _DRIVER_FOR_CUDA.get(numbers(build.cuda)[0], 0) if build.cuda else 0


def lacks_code(build: TorchBuild, card: Capability, machine: str | None = None) -> bool:
    """Whether an installed build is known to hold no code for a card.

    A build that PyTorch does not publish (NVIDIA's images, one of one's own) is judged by what its CUDA can compile.
    """
    if build.cuda is None:
        return False
    series, cuda = numbers(build.version)[:2], numbers(build.cuda)[:2]
    known = next((one for one in WHEELS if (numbers(one.torch)[:2], numbers(one.cuda)) == (series, cuda)), None)
    if known is not None and build.published:
        return not holds_code(cards_of(known, machine), card)
    newest_before_blackwell = (9, 0)
    return (cuda >= (13, 0) and card < (7, 5)) or (cuda < (12, 8) and card > newest_before_blackwell)


def nothing_fits(card: Capability, driver: str | None, machine: str | None = None) -> tuple[str, str]:
    """(cause, remedy) where no build fits: the driver is too old for every one, or no build has code for the card."""
    mine = [wheel for wheel in WHEELS if holds_code(cards_of(wheel, machine), card)]
    shown = ".".join(map(str, card))
    if not mine:
        return (
            f"no build of torch from {OLDEST} on holds code for a card of compute capability {shown}",
            "take another GPU (7.5 or newer is best), or set hardware.device to cpu",
        )
    needed = min(needed_driver(wheel, card) for wheel in mine)
    wanted = max(needed, _ADVISED_DRIVER)
    cause = f"no build of torch from {OLDEST} on runs on this card with driver {driver}: it needs {needed} or newer"
    update = f"update the driver to {wanted} or newer; a container or rented box cannot: take a host that has it"
    return cause, update
