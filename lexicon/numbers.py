"""Numbers: digits -> the ways people say them, as plain words.

Knows cardinals, ordinals, years, times, decimals and money; nothing of syllables. spoken.py
calls it.
"""

from __future__ import annotations

import re
from itertools import product

Said = tuple[str, ...]

_UNITS = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen
fifteen sixteen seventeen eighteen nineteen
"""
_ONES = _UNITS.split()  # fmt: skip
_DECADES = """
zero ten twenty thirty forty fifty sixty seventy eighty ninety
"""
_TENS = _DECADES.split()
_SCALES = ("", "thousand", "million", "billion", "trillion", "quadrillion")
_IRREGULAR = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth",
    "nine": "ninth", "twelve": "twelfth",
}  # fmt: skip
_MONEY = {
    "$": ("dollar", "cent"), "\u20ac": ("euro", "cent"), "\u00a3": ("pound", "penny"),
    "\u00a5": ("yen", ""), "\u20b9": ("rupee", ""),
}  # fmt: skip
_DIGITS = frozenset({*_ONES[:10], "oh"})
MAX_DIGITS = 18
MAX_WAYS = 24


def _below_hundred(n: int) -> Said:
    if n < 20:
        return (_ONES[n],)
    return (_TENS[n // 10],) if n % 10 == 0 else (_TENS[n // 10], _ONES[n % 10])


def cardinal(n: int, joined: bool = False) -> Said:
    """n in words; joined says "and" as many readers do: one hundred and five."""
    if n < 100:
        return _below_hundred(n)
    if n < 1000:
        head: Said = (_ONES[n // 100], "hundred")
        rest = n % 100
        if not rest:
            return head
        return (*head, *(("and",) if joined else ()), *_below_hundred(rest))
    groups: list[Said] = []
    scale, rest = 0, n
    while rest:
        rest, group = divmod(rest, 1000)
        if group:
            said = cardinal(group, joined)
            if joined and scale == 0 and group < 100 and rest:
                said = ("and", *said)
            groups.append((*said, _SCALES[scale]) if scale else said)
        scale += 1
    return tuple(word for said in reversed(groups) for word in said)


def _pair(two: str) -> list[Said]:
    """Two digits inside a year, a time or a number said in pairs."""
    if two == "00":
        return [("hundred",)]
    if two[0] == "0":
        return [("oh", _ONES[int(two[1])]), ("zero", _ONES[int(two[1])])]
    return [_below_hundred(int(two))]


def _spelled(digits: str) -> list[Said]:
    plain = tuple(_ONES[int(d)] for d in digits)
    return [plain, tuple("oh" if w == "zero" else w for w in plain)] if "0" in digits else [plain]


def integer(digits: str) -> list[Said]:
    """The ways to say a run of digits, the usual one first."""
    if not (digits.isascii() and digits.isdigit()):
        return []
    if len(digits) > MAX_DIGITS:
        return _spelled(digits) if len(digits) <= 40 else []
    n = int(digits)
    ways: list[Said] = []
    if len(digits) == 4 and digits[0] != "0" and n % 1000 and (1010 <= n < 2000 or n >= 2010):
        ways += [(*_below_hundred(int(digits[:2])), *rest) for rest in _pair(digits[2:])]
    if digits[0] != "0" or n == 0:
        ways += [cardinal(n), cardinal(n, joined=True)]
    if n == 0:
        ways += [("oh",)]
    if len(digits) == 4 and digits[0] != "0" and n % 1000:
        ways += [(*_below_hundred(int(digits[:2])), *rest) for rest in _pair(digits[2:])]
    if len(digits) == 3 and digits[0] != "0" and n % 100:
        ways += [(_ONES[n // 100], *rest) for rest in _pair(digits[1:])]
    if len(digits) == 3 and digits[:2] == "00" and n:
        ways += [("double", "oh", _ONES[n])]
    year = len(digits) == 4 and 1100 <= n < 2100
    odd = (len(digits) > 2 and n % 100) or (len(digits) > 1 and digits[0] == "0")
    if odd and not year:
        ways += _spelled(digits)
    return list(dict.fromkeys(ways))


def amount(ways: list[Said]) -> list[Said]:
    """Of the ways to say a figure, those before what it counts: none digit by digit."""
    return [way for way in ways if len(way) < 3 or not _DIGITS.issuperset(way)] or ways


def ordinal(said: Said) -> Said:
    """The ordinal of a cardinal in words."""
    last = said[-1]
    if last in _IRREGULAR:
        last = _IRREGULAR[last]
    elif last.endswith("y"):
        last = last[:-1] + "ieth"
    else:
        last += "th"
    return (*said[:-1], last)


def _join(*parts: list[Said]) -> list[Said]:
    ways = [tuple(w for part in chosen for w in part) for chosen in product(*parts)]
    return list(dict.fromkeys(ways))[:MAX_WAYS]


def decade(digits: str) -> list[Said]:
    """Digits before a plural -s, where they name years: 1980s, 1800s, 2010s; [] if they do not."""
    if len(digits) != 4 or digits[0] not in "12" or digits[3] != "0":
        return []
    if digits[1:] == "000":
        return [cardinal(int(digits))]
    century = _below_hundred(int(digits[:2]))
    return [(*century, *rest) for rest in _pair(digits[2:])]


def named_fraction(above: int, below: int) -> Said:
    """A part of one in words: a half, two thirds; () for what is no such part."""
    if not 0 < above < below:
        return ()
    part: Said = {2: ("half",), 4: ("quarter",)}.get(below) or ordinal(cardinal(below))
    if above == 1:
        return ("an", *part) if part[0][0] in "aeiou" else ("a", *part)
    return (*cardinal(above), *part[:-1], part[-1] + "s")


def _decimal(text: str) -> list[Said]:
    """1,000  3.14  2.0.1  .5"""
    if text[:1] == ".":
        return _join([("point",)], _spelled(text[1:]) + integer(text[1:]))
    if re.fullmatch(r"\d{1,3}(,\d{3})+(\.\d+)?", text):
        text = text.replace(",", "")
        if "." not in text:
            if len(text) > MAX_DIGITS:
                return []
            ways = [cardinal(int(text)), cardinal(int(text), joined=True)]
            if len(text) == 4 and text[1] != "0" and text[2:] == "00":  # twenty-five hundred
                ways += [(*_below_hundred(int(text[:2])), "hundred")]
            return ways
    parts = re.split(r"[.,]", text)
    ways = integer(parts[0])
    for part in parts[1:]:
        after = _spelled(part) if len(part) <= 40 else []
        if len(part) <= 3:
            after = after + integer(part)
        ways = _join(ways, [("point",)], after)
    if parts[0] == "0" and len(parts) == 2:  # 0.5: point five
        ways += _join([("point",)], _spelled(parts[1]) + integer(parts[1]))
    return ways


def _time(text: str) -> list[Said]:
    parts = text.split(":")
    ways = integer(str(int(parts[0]))) if len(parts[0]) <= 2 else integer(parts[0])
    for part in parts[1:]:
        if part == "00":
            ways = ways + _join(ways, [("o'clock",), ("hundred",)])
        elif len(part) == 2:
            ways = _join(ways, _pair(part))
        else:  # no time: 2:1, Luke 2:7
            ways = _join(ways, [("to",), ()], integer(part))
    return ways


def _fraction(text: str) -> list[Said]:
    parts = text.split("/")
    plain = _join(*(integer(p) for p in parts))
    if len(parts) == 2 and all(len(p) <= 3 for p in parts) and int(parts[1]) > 1:
        over = int(parts[1])
        below: Said = ("half",) if over == 2 else ordinal(cardinal(over))
        below = ("quarter",) if over == 4 else below
        named = _join([cardinal(int(parts[0]))], [below])
        if int(parts[0]) == over:  # 50/50
            return plain
        if over in (24, 7) or int(parts[0]) > over:
            return plain + named
        alone = [below] if parts[0] == "1" else []
        fourths = _join([cardinal(int(parts[0]))], [("fourth",)]) if over == 4 else []
        if over <= 10:  # 3/4 may be a date, and is never said "three over four"
            return named + alone + fourths + plain
        return named + alone + plain + _join(integer(parts[0]), [("over",)], integer(parts[1]))
    return plain


def figure(text: str) -> list[Said]:
    """The ways to say a figure: digits with , . : / between them, perhaps a sign of money first."""
    sign = text[0] if text[:1] in _MONEY else ""
    body = text[len(sign) :]
    parts = re.split(r"[.,:/]", body.removeprefix("."))
    if not body or not body.isascii() or not all(p.isdigit() for p in parts):
        return []
    if not sign:
        if ":" in body:
            return _time(body) if "." not in body and "," not in body and "/" not in body else []
        return _fraction(body) if "/" in body else _decimal(body)
    unit, small = _MONEY[sign]
    match = re.fullmatch(r"([\d,]+)\.(\d\d)", body)
    named: list[Said]
    if match is None:
        named = [(unit if body == "1" or unit == "yen" else unit + "s",)]
        return _join(amount(_decimal(body)), named)
    whole = _decimal(match[1])
    named = [(unit if match[1] == "1" else unit + "s",)]
    if match[2] == "00":
        return _join(whole, named)
    cents = _join(integer(str(int(match[2]))))
    small_sum: list[Said] = [("pence" if small == "penny" else small + "s",)]
    alone = _join(cents, small_sum) if match[1] == "0" else []  # $0.99: ninety-nine cents
    return (
        alone
        + _join(whole, [(), named[0]], _pair(match[2]))
        + _join(whole, named, [(), ("and",)], cents, small_sum)
    )
