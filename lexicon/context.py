"""Context: words whose neighbours decide how they are read, as in Henry VIII, 1 1/2 or Dr. Who.

Knows written forms and plain words, no characters and no pronunciations. normalize.py asks it for
texts that are hinted to hold some; most texts have nothing of the kind.
"""

from __future__ import annotations

import re
import unicodedata

from .numbers import cardinal, named_fraction, ordinal

_MONTHS = {
    "Jan": "january", "Feb": "february", "Apr": "april", "Jun": "june", "Jul": "july",
    "Aug": "august", "Sep": "september", "Sept": "september", "Oct": "october",
    "Nov": "november", "Dec": "december",
}  # fmt: skip
# Names that kings, queens and popes bear a number with.
_REGNAL = """
Adrian Albert Alexander Alfonso Benedict Boniface Carl Catherine Charles Christian Clement Edward
Elizabeth Ferdinand Francis Franz Frederick Friedrich George Gregory Gustav Haakon Harald Henry
Innocent Isabella Ivan James Joan John Joseph Julius Karl Leo Leopold Louis Ludwig Margaret Mary
Maximilian Napoleon Nicholas Olaf Otto Paul Pedro Peter Philip Pius Ptolemy Rameses Ramses Richard
Robert Rudolf Sixtus Stephen Thutmose Umberto Urban Victor Vittorio Wilhelm William Xerxes
"""
REGNAL = frozenset(_REGNAL.split())
# What is numbered with plain numbers: Chapter IV is "four", and no drip.
_NUMBERED = """
act apollo appendix article book bowl canto chapter class episode figure grade ii lesson level mark
no ode part phase plate psalm scene section sonnet stage symphony table title type verse volume war
"""
NUMBERED = frozenset(_NUMBERED.split())
# A Roman number that stands for itself; I alone is the pronoun, and C, D, L, M are letters.
ROMAN = re.compile(
    r"(?=[IVX]|[IVXLCDM]{2})M{0,3}(?:CM|CD|D?C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})(?<!\bI)"
)
_DIGITS = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}
_ROMAN = re.compile(ROMAN.pattern + "(['\u2019]s)?")
_FRACTION = re.compile(r"(\d{1,2})/(\d{1,2})|([\u00bc-\u00be\u2150-\u215e])")
# English words that are none in foreign company, and how they are said there.
_PHRASES = """
mono no aware=awar\u00e9
ave=av\u00e9 maria
ave=av\u00e9 verum
ave=av\u00e9 atque vale=val\u00e9
dies=dee-ace irae
cave=cav\u00e9 canem
requiescat in pace=pac\u00e9
et tu brute=brut\u00e9
canes=can\u00e9s venatici
"""
# Of each phrase a word that gives it away; signs of money, which may be parted from the sum.
_TELLING = (
    *"$\u20ac\u00a3\u00a5\u20b9\u00a2\u2116\u00a7",
    "aware",
    "maria",
    "verum",
    "atque",
    "irae",
    "canem",
    "requiescat",
    "brute",
    "venatici",
)
FOREIGN: dict[str, list[tuple[int, list[str], str]]] = {}  # word: place in a phrase, phrase, said
for _line in _PHRASES.strip().splitlines():
    _phrase = [_word.partition("=") for _word in _line.split()]
    for _place, (_key, _, _said) in enumerate(_phrase):
        if _said:
            FOREIGN.setdefault(_key, []).append((_place, [_word for _word, *_ in _phrase], _said))
# What a chunk without its neighbours cannot settle: the forms below, or a name before a number.
HINT = re.compile(
    r"(?=[A-Zcdefopv\d\u00bc-\u00be\u2150-\u215e])(?:"  # most places are passed at once
    r"\b(?:(?:Jan|Feb|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec|D[Rr]|AM|PM|AD|IT|DO)\b|dr\."
    r"|(?!I\b)[IVXLCDM]+\b"
    r"|(?:Mon|Tues?|Wed|Thu|Thurs|Fri|Sat|Sun|Mar|No|Nos|[Vv]ols?|[Ff]igs?|[Cc]h|pp?|pg"
    r"|[Oo]p|ca?|est|Apt|[Ee]xt|Ste|Tel)\.)"
    r"|\d/\d|[\u00bc-\u00be\u2150-\u215e])|apt\."
)


def hinted(text: str) -> bool:
    """Whether a text holds, or a chunk of it may be, a word that its neighbours decide."""
    low = text.lower()
    return HINT.search(text) is not None or any(word in low for word in _TELLING)


def roman(text: str) -> int:
    """The value of a Roman number.

    >>> roman("VIII"), roman("XIV"), roman("MCMXCIX")
    (8, 14, 1999)
    """
    values = [_DIGITS[c] for c in text]
    following = [*values[1:], 0]
    return sum(-a if a < b else a for a, b in zip(values, following, strict=True))


def _loud(word: str) -> bool:
    return len(word) > 1 and word.isupper() and word.isalpha()


def said(before: str, text: str, after: str) -> str:
    """How a word is said between its neighbours, hyphens between the words; "" if as it stands.

    before and after are the words that only white space parts from it, "" if there is none.

    >>> said("Henry", "VIII", ""), said("", "Jan", "1"), said("1", "1/2", "cups")
    ('the-eighth', 'january', 'and-a-half')
    """
    if text in _MONTHS:
        dated = after[:1].isdigit() or (before[:1].isdigit() and len(before) <= 4)
        return _MONTHS[text] if dated else ""
    if (text in ("AM", "PM", "AD") and before[-1:].isdigit()) or (text == "AD" and after.isdigit()):
        return "-".join(text)
    if text in ("AM", "IT", "DO"):  # capitals say nothing among capitals
        return text.lower() if _loud(before) or _loud(after) else ""
    if text in ("Dr.", "dr.", "DR.", "Dr", "DR"):
        if after[:1].isupper():
            return "doctor"
        return "drive" if before[:1].isupper() else "doctor"
    fraction = _FRACTION.fullmatch(text)
    if fraction:
        whole = unicodedata.normalize("NFKC", text).split("\u2044" if fraction[3] else "/")
        named = named_fraction(*map(int, whole)) if before.isdigit() else ()
        return "-".join(("and", *named)) if named else ""
    if text in ("IV", "XX", "XXX") and before[:1].isupper():  # letters elsewhere, too
        return "-".join(cardinal(roman(text)))
    number = _ROMAN.fullmatch(text)
    if number and (before in REGNAL or before.lower() in NUMBERED):
        owner = number[1] or ""
        value = roman(text.removesuffix(owner))
        if before not in REGNAL:
            return "-".join(cardinal(value)) + owner.replace("\u2019", "'")
        return "-".join(("the", *ordinal(cardinal(value)))) + owner.replace("\u2019", "'")
    return ""
