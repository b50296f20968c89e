"""Personal data and secrets in a text, found by their form and check digits, and shown masked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Final

_EMAIL: Final = re.compile(r"[A-Za-z0-9][\w.+-]{0,63}@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,24}\b")
_NOBODY: Final = re.compile(
    r"@(?:[\w-]+\.)*(?:example|test|invalid|localhost|email|domain)\b|noreply|no-reply", re.IGNORECASE
)
_PHONE: Final = re.compile(
    r"(?<![\w.+-])(?:\+\d{1,3}[\s.-]?(?:\(?\d{1,5}\)?[\s.-]?){2,5}|\(\d{3}\)\s?\d{3}-\d{4})(?![\w-])"
)
_CARD: Final = re.compile(r"(?<![\w.,-])[3-6]\d{3}(?:[ -]?\d{4}){2}[ -]?\d{1,7}(?![\w-])")
_IBAN: Final = re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?!\w)")
_IPV4: Final = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.]*\d)")
_IPV6: Final = re.compile(r"(?<![\w:])(?:[0-9a-fA-F]{1,4}:){7}[0-9a-fA-F]{1,4}(?![\w:])")
_VERSION: Final = re.compile(r"(?:\bv|version|release|build)\s*\.?\s*$", re.IGNORECASE)
_SECRET: Final = re.compile(
    r"\bsk-(?:[a-z]+-)*[A-Za-z0-9_-]{20,}|\bhf_[A-Za-z0-9]{30,}|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36,}"
    r"|\bxox[abprs]-[A-Za-z0-9-]{10,}|\bAIza[0-9A-Za-z_-]{35}|\bglpat-[A-Za-z0-9_-]{20,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----|\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}"
)
_SECRET_SIGNS: Final = ("sk-", "hf_", "AKIA", "gh", "xox", "AIza", "glpat-", "PRIVATE KEY", "eyJ")
_DIGITS: Final = re.compile(r"\d.*?\d.*?\d.*?\d")


def secrets(text: str) -> Iterator[str]:
    """Keys and passwords of well-known forms, masked."""
    if any(sign in text for sign in _SECRET_SIGNS):
        for found in _SECRET.finditer(text):
            yield masked(found.group())


def personal(text: str) -> Iterator[str]:
    """E-mail addresses, phone and card numbers, IBANs and public IP addresses, masked; never those of examples."""
    if "@" in text:
        for found in _EMAIL.finditer(text):
            if not _NOBODY.search(found.group()):
                yield f"e-mail {masked(found.group())}"
    if _DIGITS.search(text) is None:
        return
    for name, pattern, is_one in _NUMBERS:
        for found in pattern.finditer(text):
            if is_one(found.group()) and not (name == "IP" and _VERSION.search(text[: found.start()][-12:])):
                yield f"{name} {masked(found.group())}"


def hide(text: str) -> str:
    """The text with every secret and everything personal in it masked, for showing."""
    if any(sign in text for sign in _SECRET_SIGNS):
        text = _SECRET.sub(lambda found: masked(found.group()), text)
    if "@" in text:
        text = _EMAIL.sub(lambda found: masked(found.group()), text)
    for _, pattern, is_one in _NUMBERS:
        for one in {found.group() for found in pattern.finditer(text)}:
            text = text.replace(one, masked(one)) if is_one(one) else text
    return text


def masked(text: str) -> str:
    """Enough to find a text again, too little to use it."""
    kept = 2 if len(text) > 8 else 1
    return f"{text[:kept]}***{text[-kept:]}"


def is_card(text: str) -> bool:
    """Whether digits are a card number: 13 to 19 of them, with the check digit of ISO/IEC 7812 (Luhn)."""
    digits = [int(sign) for sign in text if sign.isdigit()]
    if not 13 <= len(digits) <= 19 or len(set(digits)) < 4:
        return False
    doubled = [sum(divmod(2 * digit, 10)) if place % 2 else digit for place, digit in enumerate(reversed(digits))]
    return sum(doubled) % 10 == 0


def is_iban(text: str) -> bool:
    """Whether a text is an IBAN: 15 to 34 signs with the check digits of ISO 7064 (mod 97)."""
    plain = text.replace(" ", "")
    if not 15 <= len(plain) <= 34:
        return False
    return int("".join(str(int(sign, 36)) for sign in plain[4:] + plain[:4])) % 97 == 1


def _is_phone(text: str) -> bool:
    digits = "".join(sign for sign in text if sign.isdigit())
    # Numbers kept for films and examples: 555-01xx.
    return 9 <= len(digits) <= 15 and "55501" not in digits and len(set(digits)) > 3


def _is_public_ip(text: str) -> bool:
    try:
        return ip_address(text).is_global and text not in {"8.8.8.8", "8.8.4.4", "1.1.1.1"}
    except ValueError:
        return False


_NUMBERS: Final = (
    ("IBAN", _IBAN, is_iban), ("card", _CARD, is_card), ("phone", _PHONE, _is_phone),
    ("IP", _IPV4, _is_public_ip), ("IP", _IPV6, _is_public_ip),
)  # fmt: skip
