"""Spoken: written forms that are no plain words -> the plain words people say for them.

Knows figures, symbols, abbreviations, initials, camel case and file names; counts nothing.
syllables.py asks it for forms with digits, signs or capitals inside.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from pathlib import Path

from .context import ROMAN, roman
from .normalize import plain
from .numbers import (
    MAX_WAYS,
    Said,
    amount,
    cardinal,
    decade,
    figure,
    integer,
    named_fraction,
    ordinal,
)

DATA = Path(__file__).with_name("data") / "abbreviations.tsv"

_SYMBOLS: dict[str, list[Said]] = {
    "&": [("and",)],
    "+": [("plus",), ("and",)],
    "=": [("equals",), ("is",)],
    "@": [("at",)],
    "%": [("percent",)],
    "\u2030": [("per", "mill")],
    "\u00b0": [("degrees",), ("degree",)],
    "\u266d": [("flat",)],
    "\u266f": [("sharp",)],
    "\u266e": [("natural",)],
    "\u00d7": [("times",), ("by",)],
    "\u00f7": [("divided", "by"), ("over",)],
    "$": [("dollars",)],
    "\u20ac": [("euros",)],
    "\u00a3": [("pounds",)],
    "\u00a5": [("yen",)],
    "\u20b9": [("rupees",)],
    "\u00a2": [("cents",)],
}
# What is said of a sign before a figure; before a tilde's perhaps nothing.
_BEFORE_FIGURE: dict[str, list[Said]] = {
    "#": [("number",)],
    "\u2116": [("number",)],
    "\u00a7": [("section",)],
    "\u00b1": [("plus", "or", "minus")],
    ">": [("greater", "than"), ("more", "than"), ("over",)],
    "<": [("less", "than"), ("under",)],
    "\u2265": [("at", "least"), ("greater", "than", "or", "equal", "to")],
    "\u2264": [("at", "most"), ("less", "than", "or", "equal", "to")],
    "~": [("about",), ("roughly",), ()],
    "\u2248": [("about",), ("roughly",)],
}
_POWERS: dict[str, list[Said]] = {
    "\u00b2": [("squared",)],
    "\u00b3": [("cubed",)],
    **{chr(0x2070 + n): [("to", "the", *ordinal(cardinal(n)))] for n in range(4, 10)},
}
_PARTS: dict[str, list[Said]] = {
    "\u00bd": [("half",), ("one", "half"), ("a", "half")],
    "\u00bc": [("quarter",), ("one", "quarter"), ("a", "quarter")],
    "\u00be": [("three", "quarters"), ("three", "fourths")],
}
for _part in map(chr, range(0x2150, 0x215F)):  # a third, two thirds ...
    _above, _below = map(int, unicodedata.normalize("NFKC", _part).split("\u2044"))
    _named = named_fraction(_above, _below)
    _PARTS[_part] = [_named[1:], ("one", *_named[1:]), _named] if _above == 1 else [_named]
_SYMBOLS.update(_PARTS)
_FIGURE = re.compile(r"([$\u20ac\u00a3\u00a5\u20b9]?(?:\d+|(?=\.\d))(?:[.,:/]\d+)*)(.*)", re.DOTALL)
_POWER = re.compile(r"([A-Za-z]{1,2})([\u00b2\u00b3])")  # x\u00b2; after a word a note's mark
_HEIGHT = re.compile(r"(\d)'(\d{1,2})(?:[\"\u201d\u2033]|'')?")  # 5'10"
_RUNS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z']+|\d+|[^A-Za-z\d]")
_AFTER_FIGURE: dict[str, list[Said]] = {
    "s": [()], "'s": [()], "k": [("kay",), ("thousand",)], "x": [("ex",), ("times",)],
    "m": [("million",), ("em",), ("meters",)], "b": [("billion",), ("bee",)], "d": [("dee",)],
    "g": [("gee",), ("grams",)], "h": [("hours",), ("aitch",)], "am": [("ay", "em")],
    "pm": [("pee", "em")], "c": [("see",), ("celsius",)], "f": [("ef",), ("fahrenheit",)],
    "%": [("percent",)], "\u2030": [("per", "mill")], "\u00a2": [("cents",)],
    "$": [("dollars",)], "\u20ac": [("euros",)], "\u00a3": [("pounds",)], "\u00a5": [("yen",)],
    "\u20b9": [("rupees",)], "p": [("pence",), ("pee",)], "w": [("watts",), ("doubleyou",)],
    "l": [("liters",), ("liter",), ("el",)], "v": [("volts",), ("vee",)],
    "in": [("inches",), ("inch",)], "mi": [("miles",)], "ha": [("hectares",)],
    "hp": [("horse", "power"), ("aitch", "pee")],
}  # fmt: skip
_UNITS = frozenset({"%", "b", "g", "h", "ha", "hp", "in", "l", "mi", "w"})  # no 747s, no 500k
LETTERS = {
    "a": "ay", "b": "bee", "c": "see", "d": "dee", "e": "ee", "f": "ef", "g": "gee", "h": "aitch",
    "i": "eye", "j": "jay", "k": "kay", "l": "el", "m": "em", "n": "en", "o": "oh", "p": "pee",
    "q": "cue", "r": "are", "s": "ess", "t": "tee", "u": "you", "v": "vee", "w": "doubleyou",
    "x": "ex", "y": "why", "z": "zee",
}  # fmt: skip


def letters(run: str) -> Said:
    """The names of the letters of an ASCII word."""
    return tuple(LETTERS[c] for c in run.lower() if c in LETTERS)


@lru_cache(maxsize=1)
def abbreviations() -> dict[str, list[Said]]:
    """Abbreviation -> the ways to say it (data/abbreviations.tsv)."""
    table: dict[str, list[Said]] = {}
    for line in DATA.read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        form, ways = line.split("\t")
        for way in ways.split("|"):
            said: list[str] = []
            for word in way.split():
                bare = word.removesuffix("'s")
                said.extend(letters(bare) if bare.isupper() else (word,))
            table.setdefault(form, []).append(tuple(said))
    return table


def _product(first: list[Said], second: list[Said]) -> list[Said]:
    return [(*a, *b) for a in first for b in second][:MAX_WAYS]


def _figure(text: str) -> list[Said]:
    """A form that starts with a figure: 1st, 10am, 50%, 1990s, 20-year-old."""
    match = _FIGURE.fullmatch(text)
    if match is None:
        return []
    ways, rest = figure(match[1]), match[2]
    if rest[:1] in _PARTS:  # 8½
        return _product(ways, [("and", *said) for said in _PARTS[rest[0]] if len(said) > 1])
    low = rest.lower()
    if low in ("st", "nd", "rd", "th"):
        if "/" in match[1]:  # 1/16th
            return ways
        return [ordinal(way) for way in figure(match[1])[:4] if way]
    if low in ("s", "'s") and decade(match[1]):  # 1980s
        return decade(match[1])
    if low == "k" and not match[1][0].isdigit():  # $10k: ten kay, ten thousand dollars
        return _product(ways, [("thousand",)]) + _product(figure(match[1][1:]), [("kay",)])
    if low in ("am", "pm") and "." in match[1]:  # 7.30pm
        ways = ways + figure(match[1].replace(".", ":"))
    if low in _UNITS:
        ways = amount(ways)
    if low in _AFTER_FIGURE:
        return _product(ways, _AFTER_FIGURE[low])
    if rest in _POWERS:  # 10\u00b2
        return _product(ways, _POWERS[rest])
    if low[:1] in ("\u00b0", "\u00ba"):  # people take the ordinal sign for the degree's
        after: list[Said] = [(), ("celsius",), ("fahrenheit",), letters(low[1:])]
        return _product(_product(ways, _SYMBOLS["\u00b0"]), after if low[1:] else [()])
    if low in abbreviations():
        return _product(amount(ways), abbreviations()[low])
    return _product(ways, spoken(rest.lstrip("-")) or _runs(rest)) if rest else ways


def _runs(text: str) -> list[Said]:
    """Camel case and mixtures of letters and digits, run by run: H2O, iPhone, mp3, YouTube."""
    ways: list[Said] = [()]
    runs = _RUNS.findall(text)
    for place, run in enumerate(runs):
        if run.isascii() and run.isdigit():
            ways = _product(ways, integer(run))
        elif run.isalpha() and (len(run) == 1 or (run.isupper() and len(run) < 6)):
            known = abbreviations().get(run) or abbreviations().get(run.lower())
            ways = _product(ways, known or [letters(run)])
        elif run.isalpha() or "'" in run:
            short = len(run) <= 3 and place + 1 < len(runs) and runs[place + 1].isdigit()
            ways = _product(ways, [letters(run)] if short else [(run.lower(),)])
        elif run in _SYMBOLS:
            ways = _product(ways, _SYMBOLS[run])
    return [way for way in ways if way]


def spoken(written: str) -> list[Said]:
    """The ways to say a written form in plain words; [] if it is a plain word itself."""
    text = plain(written)
    height = _HEIGHT.fullmatch(text)
    if height:
        feet, inches = integer(height[1]), integer(height[2])
        ways = _product(_product(feet, [("foot",), ()]), inches)
        return ways + _product(ways[:1], [("inches",)])
    text = text.strip("'")
    if text in _SYMBOLS:
        return _SYMBOLS[text]
    power = _POWER.fullmatch(text)
    if power and text not in abbreviations():
        return [(*letters(power[1]), "squared" if power[2] == "\u00b2" else "cubed")]
    if text[1:2].isspace() and text[2:3].isdigit():  # $ 5
        text = text[0] + text[2:]
    if text[:1] in _BEFORE_FIGURE and (text[1:2].isdigit() or text[2:3].isdigit()):  # #1, >$5
        return _product(_BEFORE_FIGURE[text[0]], _figure("".join(text[1:].split())))
    if text[:1] in ("-", "\u2212") and text[1:]:  # minus five; with a plain dash perhaps just five
        unsigned = _figure(text[1:])
        signed = _product([("minus",), ("negative",)], unsigned)
        if "\u00b0" in text:  # below freezing, and no dash
            return signed
        return signed + unsigned if text[0] == "-" else signed
    if "&" in text and not text.startswith("&c"):  # Q&A, R&B, B&Bs
        parts = text.removesuffix("s").removesuffix("'").split("&")
        return [tuple(name for part in parts for name in ("and", *letters(part)))[1:]]
    if re.match(r"[$\u20ac\u00a3\u00a5\u20b9]\.\d", text):  # $.50
        return _figure(f"{text[0]}0{text[1:]}")
    table = abbreviations()
    bare = text.rstrip(".")
    for form in (text, bare, text.lower(), bare.lower()):
        if form in table:
            return table[form]
    if len(text) > 1 and ROMAN.fullmatch(text) and (text.strip("IVX") == "" or len(text) > 3):
        value = roman(text)
        number = integer(str(value)) if value > 1000 else [cardinal(value)]  # a year
        return [*number, letters(text)] if text in ("IV", "XX", "XXX") else number
    if text[:1].isdigit() or (len(text) > 1 and text[1].isdigit() and not text[0].isalpha()):
        return _figure(text)
    if text.endswith(("++", "#")):
        tail: Said = ("plus", "plus") if text.endswith("++") else ("sharp",)
        name = text.rstrip("+#")  # C++, notepad++
        return _product([letters(name)] if len(name) < 3 else [(name.lower(),)], [tail])
    if "." in bare:
        parts = bare.split(".")
        if all(len(p) <= 2 and not p.isdigit() for p in parts):
            return [tuple(name for p in parts for name in letters(p))]
        ways = [()]
        for place, part in enumerate(parts):
            ways = _product(ways, spoken(part) or [(part.lower(),)])
            if place + 1 < len(parts):
                ways = _product(ways, [("dot",), ()])
        return ways
    plural = re.fullmatch(r"([A-Z]{2,6})('?s|'d)", text)
    if plural:  # DVDs, OK'd, YOLO'd
        return table.get(plural[1].lower()) or [letters(plural[1])]
    if any(c.isdigit() or c in _SYMBOLS for c in text) or re.search(r"[a-z][A-Z]", text):
        return _runs(text)
    return []
