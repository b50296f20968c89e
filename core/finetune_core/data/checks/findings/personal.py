"""Personal data and secrets in a text, found by their form and check digits, and shown masked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Final, NamedTuple

_AROUND_AT: Final = 64
_MOST_ATS: Final = 2000
_EMAIL: Final = re.compile(
    r"(?<![\w.+-])[A-Za-z0-9][\w.+-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.){1,6}[A-Za-z]{2,24}\b(?![:@(])"
)
_NOBODY: Final = re.compile(
    r"@(?:[\w-]+\.)*(?:example|test|invalid|localhost|e?mail|(?:your|my)?-?(?:domain|company|site|website|host|server))\.\w+$"
    r"|\.(?:example|test|invalid|png|jpe?g|gif|svg|webp|py|js|ts|sh|md|txt|json|ya?ml|html|css|pdf|zip|so|service)$"
    r"|^(?:git@|no-?reply)",
    re.IGNORECASE,
)
# Whatever holds enough digits close to each other to be one of the kinds below.
_NUMBER: Final = re.compile(r"[0-9][0-9A-Z ./()-]{5,40}[0-9]")
_PHONE: Final = re.compile(
    r"(?<![\w.+*/=^-])(?:\+[1-9]\d{0,2}[ .-]?(?:\(?\d{1,5}\)?[ .-]?){2,5}(?<=\d)"
    r"|(?:\([2-9]\d\d\) ?|[2-9]\d\d[-.])[2-9]\d\d[-.]\d{4})(?![\w%]|[-.,]\d)"
)
_CARD: Final = re.compile(
    r"(?<![\w.,+/=-])(?:[3-6]\d{3}(?:[ -]?\d{4}){2}[ -]?\d{1,7}|3[47]\d\d[ -]?\d{6}[ -]?\d{5})(?![\w%]|[-.,/]\d)"
)
# Issuers, and how long their numbers are (ISO/IEC 7812).
_ISSUED: Final = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|5[1-5]\d{14}|3[47]\d{13}|3(?:0[0-5]|[68]\d)\d{11}|35\d{14}"
    r"|6(?:011|5\d\d|4[4-9]\d|2\d\d)\d{12}"
)
_IBAN: Final = re.compile(r"(?<![\w+/=-])[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![\w+/=])")
_IBAN_LENGTHS: Final = dict(
    re.findall(
        r"([A-Z]{2})(\d\d)",
        "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DK18 DO28 EE20 EG29 ES24 FI18 "
        "FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LI21 LT20 LU20 "
        "LV21 MC27 MD24 ME22 MK19 MR27 MT31 MU30 NL18 NO15 PK24 PL28 PS29 PT25 QA29 RO24 RS22 SA24 SE24 SI19 SK24 SM27 "
        "TN24 TR26 UA29 VA22 XK20",
    )
)
_IPV4: Final = re.compile(r"(?<![\w.=+-])(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\d)")
_IPV6: Final = re.compile(r"(?<![\w:.])[23][0-9a-fA-F]{3}(?::{1,2}[0-9a-fA-F]{1,4}){2,7}(?:::)?(?![\w:.]\w)")
_VERSION: Final = re.compile(r"(?:\bv|version|release|build|driver|firmware|section|chapter|§)[\s.:]*$", re.IGNORECASE)
_SECRET: Final = re.compile(
    r"\bsk-(?:[a-z]{2,12}\d{0,2}-){0,3}[A-Za-z0-9_-]{20,200}|\b[rs]k_(?:live|test)_[A-Za-z0-9]{16,200}"
    r"|\bhf_[A-Za-z0-9]{30,200}|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36,255}"
    r"|\bgithub_pat_\w{40,255}|\bxox[abeprs]-[A-Za-z0-9-]{10,250}|\bAIza[0-9A-Za-z_-]{35}|\bglpat-[A-Za-z0-9_-]{20,200}"
    r"|\bnpm_[A-Za-z0-9]{36}\b|\bpypi-AgE[\w-]{40,250}|\bgsk_[A-Za-z0-9]{40,200}"
    r"|-----BEGIN (?:[A-Z]{2,10} ){0,2}PRIVATE KEY(?: BLOCK)?-----(?:[\s\w+/=\\]{0,4000}-----END)?"
    r"|\beyJ[\w-]{10,2000}\.eyJ[\w-]{10,4000}\.[\w-]{10,2000}"
)
_SECRET_SIGNS: Final = (
    "sk-", "sk_", "rk_", "gsk_", "hf_", "AKIA", "ASIA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "xox",
    "AIza", "glpat-", "npm_", "pypi-", "PRIVATE KEY", "eyJ",
)  # fmt: skip
_MADE_UP: Final = re.compile(r"([xX*.-])\1{4}|0{10}|your|_here$|-here$", re.IGNORECASE)
_LOOKS_DRAWN: Final = re.compile(r"\d|[A-Za-z0-9]{20}")


class Private(NamedTuple):
    """Something private in a text: what it is, where, and how it may be shown."""

    kind: str
    begin: int
    end: int
    shown: str


def secrets(text: str) -> Iterator[Private]:
    """Keys and passwords of well-known forms; never those that only show the form (`sk-xxxx...`)."""
    if any(sign in text for sign in _SECRET_SIGNS):
        for found in _SECRET.finditer(text):
            if _is_key(found.group()):
                yield _private("secret", "", found)


def personal(text: str) -> Iterator[Private]:
    """E-mail addresses, phone and card numbers, IBANs and public IP addresses; never those of examples."""
    if "@" in text:
        yield from _emails(text)
    if text.count(":") > 2:
        yield from (_private("personal-data", "IP ", one) for one in _IPV6.finditer(text) if _is_public_ip(one.group()))
    if _NUMBER.search(text) is None:
        return
    taken = -1
    for name, pattern, is_one in _NUMBERS:
        for found in pattern.finditer(text):
            if is_one(found.group()) and not (name == "IP" and _VERSION.search(text[: found.start()][-16:])):
                if found.start() == taken:
                    continue
                taken = found.start()
                yield _private("personal-data", f"{name} ", found)


def hidden(text: str) -> str:
    """The text with everything private in it masked."""
    return masked_in(text, [*secrets(text), *personal(text)])


def masked_in(text: str, found: list[Private]) -> str:
    """The text with these private things masked."""
    at, kept = 0, []
    for one in sorted(found, key=lambda item: item.begin):
        if one.begin >= at:
            kept += [text[at : one.begin], masked(text[one.begin : one.end])]
            at = one.end
    return "".join([*kept, text[at:]])


def masked(text: str) -> str:
    """Enough to find a text again, too little to use it."""
    kept = 2 if len(text) > 8 else 1
    return f"{text[:kept]}***{text[-kept:]}"


def is_card(text: str) -> bool:
    """Whether digits are a card number: an issuer's prefix and length, and the check digit of ISO/IEC 7812 (Luhn)."""
    plain = "".join(sign for sign in text if sign.isdigit())
    if not _ISSUED.fullmatch(plain) or len(set(plain)) < 2:
        return False
    digits = [int(sign) for sign in plain]
    doubled = [sum(divmod(2 * digit, 10)) if place % 2 else digit for place, digit in enumerate(reversed(digits))]
    return sum(doubled) % 10 == 0


def is_iban(text: str) -> bool:
    """Whether a text is an IBAN: a country's length, and the check digits of ISO 7064 (mod 97)."""
    plain = text.replace(" ", "")
    if _IBAN_LENGTHS.get(plain[:2]) != str(len(plain)):
        return False
    return int("".join(str(int(sign, 36)) for sign in plain[4:] + plain[:4])) % 97 == 1


def _emails(text: str) -> Iterator[Private]:
    at = text.find("@")
    for _ in range(_MOST_ATS):
        if at < 0:
            break
        # Looked for beside each @ only: a long text costs no more than its @s do.
        begin = max(at - _AROUND_AT - 1, 0)
        for found in _EMAIL.finditer(text, begin, at + 2 * _AROUND_AT):
            if found.start() < at < found.end() and not _NOBODY.search(found.group()):
                yield _private("personal-data", "e-mail ", found)
        at = text.find("@", at + 1)


def _private(kind: str, name: str, found: re.Match[str]) -> Private:
    return Private(kind, found.start(), found.end(), f"{name}{masked(found.group())}")


def _is_key(text: str) -> bool:
    if "PRIVATE KEY" in text:
        return True
    # Names such as `sk-toggleable__label-arrow` have the form, too.
    return not _MADE_UP.search(text) and (not text.startswith("sk-") or _LOOKS_DRAWN.search(text) is not None)


def _is_phone(text: str) -> bool:
    digits = "".join(sign for sign in text if sign.isdigit())
    # Numbers kept for films and examples: 555-01xx.
    least = 10 if text.startswith("+") else 9
    return least <= len(digits) <= 15 and "55501" not in digits and len(set(digits)) > 3


def _is_public_ip(text: str) -> bool:
    try:
        address = ip_address(text)
    except ValueError:
        return False
    # Numbers of versions and sections are small.
    likely = address.version == 6 or sum(int(part) > 31 for part in text.split(".")) >= 2
    return address.is_global and likely


_NUMBERS: Final = (
    ("IBAN", _IBAN, is_iban), ("card", _CARD, is_card), ("phone", _PHONE, _is_phone),
    ("IP", _IPV4, _is_public_ip),
)  # fmt: skip
