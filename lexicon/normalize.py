"""Normalize: raw text -> the words in it, each with its place and a plain key.

Knows characters (apostrophes, hyphens, accents, zero-width marks, line ends), no pronunciations;
what a word's neighbours make of it, context.py knows. The validator, kigo and kireji read text
through it and through nothing else.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, replace

from . import context

APOSTROPHES = "'\u2019\u2018\u02bc\u02b9\u02bb\u2032\uff07\u00b4`"
HYPHENS = "-\u2010\u2011"
INVISIBLE = "\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\u2061\u2062\u2063\u2064\ufeff\ufe0e\ufe0f"
# Words that begin with an apostrophe, and words that end with one.
_LEADING = """
'tis 'twas 'twere 'twill 'twould 'til 'till 'em 'cause 'round 'neath 'gainst 'bout 'cross
'mid 'midst 'mongst 'tween 'tho 'nother 'fraid 'n 'cuz 'ere 'ave 'ome 'im 'er 'pon 'scape
'bye 'course 'kay 'mum 'nuff 'nam 'prentice 'sup 'tude 'tisn't 'twasn't 'tain't 'twon't
'twouldn't 'tweren't
"""
LEADING = frozenset(_LEADING.split())
_TRAILING = """
o' th' an' wi' lil' ol' tha' mo' po' t' d' l' ha' fo' n' 'n'
"""
TRAILING = frozenset(_TRAILING.split())
TITLES = (
    "Mr|Mrs|Ms|Dr|St|Mt|Jr|Sr|Prof|Inc|Ltd|Ft|Gen|Capt|Sgt|Rev|Hon|Lt|Col|Maj|Gov|Sen|"
    "vs|etc|approx|dept|misc|incl|attn|Esq|Ave|Blvd|Rd|Ln|Hwy|Co|Corp|Bros"
)
# Read in full before a number alone: No. 5, vol. 2, p. 7.
_NUMBERED = "[Nn]os?|[Vv]ols?|[Ff]igs?|[Cc]h|pp?|pg|[Oo]p|ca?|est|[Aa]pt|[Ee]xt|Ste|Tel"
# Words with a stroke inside, or after them: w/o, w/ milk, km/h.
_STROKES = r"w/(?:out|o)?|b/c|c/o|n/a|k?m/h|m/s|mi/h|I/O|A/C|N/A"
MONTHS_AND_DAYS = (
    "Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec|Mon|Tues?|Wed|Thu|Thurs|Fri|Sat|Sun"
)
SPAN = f"{MONTHS_AND_DAYS}|May|June|July"  # Mon\u2013Fri, Mar\u2013May

_SUFFIXES = "js|py|md|txt|html?|css|php|rb|rs|ts|json|ya?ml|com|org|net|io|edu|gov|dev|co|uk|exe"

_A = "[" + re.escape(APOSTROPHES) + "]"
_H = "[" + re.escape(HYPHENS) + "]"
_I = "[" + re.escape(INVISIBLE) + "]"
_MARKS = "\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0900-\u0dff\u0e31-\u0e4e"
_L = r"(?:[^\W_][" + _MARKS + re.escape(INVISIBLE) + r"]*)"
_R = "[^\\W\\d_]"  # a letter and no figure
_CURRENCY = "$\u20ac\u00a3\u00a5\u20b9"
_SIGNS = "\u2212\u00b1<>\u2264\u2265~\u2248"  # before a figure
_DASHES = re.escape(HYPHENS + "\u2013")
_AFTER = re.escape("%\u2030\u00a2" + _CURRENCY)

TOKEN = re.compile(
    rf"""
    &(?:quot|lt|gt|nbsp|mdash|ndash|hellip|\#\d+);     # an HTML mark: no word
  | <(?:3+(?!\d)|/?(?:br|p|i|b|em)\s*/?>)             # <3  <br>: no words either
  | (?<![^\s:]):[a-z0-9]+(?:_[a-z0-9]+)*:(?![^\s:])    # :smile:
  | (?:{_A}(?=[^\W_]))?                               # 'twas, '90s
    (?:
      (?:[^\W\d_]\.){{2,}}(?:[^\W\d_](?![^\W_]))?     # a.m.  U.S.A.  e.g
    | (?:{TITLES})\.(?!\.)                            # Dr.  etc.
    | (?:{MONTHS_AND_DAYS})\.(?=,|\s+\d)             # Dec. 3
    | (?:{SPAN})[{_DASHES}](?:{SPAN})(?![^\W_])     # Mon\u2013Fri
    | (?=[NVFCOSTAEnvfcpoae]\w{{0,3}}\.)           # No. 5  vol. IV  apt. 3
      (?:{_NUMBERED})\.(?=\s*(?:\d|[IVX]{{2,}}\b))
    | (?=..?/)(?:{_STROKES})(?![^\W_])              # w/o
    | &c\b\.?                                         # &c.
    | (?:AT|[A-Z])(?:&[A-Z])+(?:{_A}?s)?(?![^\W_])    # Q&A  AT&T's
    | \d{_A}\d{{1,2}}(?:["\u201d\u2033]|{_A}{{2}})?(?!\w)  # 5'10"
    | [{re.escape(_CURRENCY)}]?\.(?<![\w.]\.)\d+%?    # .5  $.50
    | (?:(?<![^\s(\["\u201c\u2018*])[-{_SIGNS}])?       # -5  >5  ~5
      (?:[{re.escape(_CURRENCY)}\u2116\u00a7]\s?|\#)?  # $5  $ 5  #1
      \d+(?:[.,:/]\d+)*                               # 1,000.50  10:30  24/7
      (?:[{_AFTER}]|[\u00b0\u00ba]{_L}?|{_A}s\b|k?mi?/hr?\b|{_L}*)  # 50%  1st  20\u00b0C  1950's
      (?:[{_DASHES}]\d+(?:[.,:/]\d+)*{_L}*            # 1914\u20131918  9am-5pm
        |{_H}(?:{_L})+)*                              # 20-year-old
    | (?=[^\s.]{{1,60}}\.\w)                           # node.js  www.haiku.com
      (?:www\.)?(?:{_L})+(?:\.(?:{_SUFFIXES})\b)+
    | \({_R}{{1,4}}\){_R}+                            # (s)now
    | (?:{_L})+(?:(?:{_A}|{_H}|{_A}{_H})(?:{_L})+)*   # don't  snow-covered
      (?:\({_R}{{1,4}}\){_R}*)?                       # frog(s)  w(h)ole
      (?:\+\+|\#(?!\w))?                              # C++  C#
      {_A}?                                           # goin'  birds'
    )
    | (?<=\d\s)[{re.escape(_CURRENCY)}\u00a2](?![^\W_])  # 5 \u20ac
    | (?<![&+=@%])[&+=@%](?![&+=@%])                    # one: a ruler ===== says nothing
  | [\u00b0\u00bc-\u00be\u2150-\u215e\u00d7\u00f7\u266d-\u266f]  # a degree, a half, times, flat
    """,
    re.VERBOSE,
)
_LINE_END = re.compile("\r\n|[\n\r\x0b\x0c\x85\u2028\u2029]")
_SPACE = re.compile(rf"(?:\s|{_I})*\Z")

_FOLD = str.maketrans(
    {"\u00f8": "o", "\u00df": "ss", "\u00e6": "ae", "\u0153": "oe", "\u0142": "l", "\u0111": "d",
     "\u0131": "i", "\u00f0": "d", "\u00fe": "th"}
)  # fmt: skip
_DASH = "\u2013"  # inside a word it stands between figures alone
_STRAIGHT = str.maketrans(
    {
        **dict.fromkeys(APOSTROPHES, "'"),
        **dict.fromkeys(HYPHENS + _DASH, "-"),
        **{chr(0x2080 + n): str(n) for n in range(10)},  # H\u2082O
        **dict(zip("\u02b0\u02b3\u02e2\u1d48\u1d57\u207f", "hrsdtn", strict=True)),  # 1\u02e2\u1d57
    }
)
_EDGES = frozenset(APOSTROPHES + INVISIBLE)
_BRACKETS = dict.fromkeys(map(ord, "()"))
_UNSEEN = dict.fromkeys(map(ord, INVISIBLE))


@dataclass(frozen=True)
class Word:
    """One written word.

    text is text[start:end] of the whole; line counts every line from 0; key is the plain form;
    gap is True if only white space stands between this word and the one before in its line;
    said is what its neighbours make of it (the-eighth for VIII after Henry), "" as a rule.
    """

    text: str
    start: int
    end: int
    line: int
    key: str
    gap: bool
    said: str = ""


def line_spans(text: str) -> list[tuple[int, int]]:
    """(start, end) of every line, line ends left out; any convention of line ends."""
    spans = []
    start = 0
    for match in _LINE_END.finditer(text):
        spans.append((start, match.start()))
        start = match.end()
    spans.append((start, len(text)))
    return spans


def plain(word: str) -> str:
    """NFC, straight apostrophes and hyphens, nothing invisible; case and accents stay."""
    if "(" in word:  # frog(s)
        word = word.translate(_BRACKETS)
    if word.isascii():
        return word.replace("`", "'")
    word = unicodedata.normalize("NFC", word.translate(_UNSEEN))
    return unicodedata.normalize("NFC", word.translate(_STRAIGHT))


def fold(word: str) -> str:
    """Without accents: caf\u00e9 -> cafe, na\u00efve -> naive."""
    if word.isascii():
        return word
    bare = unicodedata.normalize("NFKD", word.translate(_FOLD))
    return "".join(c for c in bare if not unicodedata.combining(c)).translate(_FOLD)


def key_of(word: str) -> str:
    """The plain key of a written word: lower case, no accents, apostrophes only where they belong.

    >>> [key_of(w) for w in ("Don\u2019t", "'Twas", "birds'", "Caf\u00e9", "goin'")]
    ["don't", "'twas", 'birds', 'cafe', "goin'"]
    """
    key = fold(plain(word).lower())
    if "'" in key:
        if key[0] == "'" and key not in LEADING and key not in TRAILING:
            key = key.lstrip("'")
        if key.endswith("'") and key not in TRAILING and not key.endswith("in'"):
            key = key.rstrip("'")
    return key


def words(text: str) -> list[Word]:
    """Every word of a text in order, with its place.

    >>> [(w.key, w.line, w.gap) for w in words("First snow\u2014\\nthe crow's")]
    [('first', 0, False), ('snow', 0, True), ('the', 1, False), ("crow's", 1, True)]
    """
    if not isinstance(text, str):
        raise TypeError(f"words() reads a str, not {type(text).__name__}; decode bytes first")
    result: list[Word] = []
    for number, (start, end) in enumerate(line_spans(text)):
        before = -1
        for match in TOKEN.finditer(text, start, end):
            first, last = match.span()
            written = match.group()
            key = key_of(written)
            mark = written[0] == "<" and not written.strip("<3").isdigit()  # <3, and no <30
            if not key or mark or written[0] == ":" or (written[0] == "&" and written[-1] == ";"):
                continue
            # A leading quotation mark is no part of the word unless the key kept it.
            quoted = False
            while written[0] in _EDGES and key[0] != "'" and len(written) > 1:
                quoted = quoted or written[0] in APOSTROPHES
                written, first = written[1:], first + 1
            if written[-1] in APOSTROPHES and key[-1] != "'" and (quoted or key[-1] != "s"):
                while written[-1] in APOSTROPHES:  # 'kiss', and no boss'
                    written, last = written[:-1], last - 1
            gap = before >= 0 and _SPACE.match(text, before, first) is not None
            result.append(Word(written, first, last, number, key, gap))
            before = last
    return _settled(result) if context.hinted(text) else result


def _settled(found: list[Word]) -> list[Word]:
    """The words, each with what its neighbours make of it."""
    result = []
    for place, word in enumerate(found):
        if context.HINT.search(word.text):
            before = found[place - 1].text if word.gap else ""
            after = found[place + 1] if place + 1 < len(found) else None
            follows = after.text if after is not None and after.gap else ""
            word = replace(word, said=context.said(before, word.text, follows))
        for at, phrase, said in context.FOREIGN.get(word.key, ()):
            company = found[max(place - at, 0) : place - at + len(phrase)]
            if [w.key for w in company if w.line == word.line] == phrase:
                word = replace(word, said=said)
        result.append(word)
    return result
