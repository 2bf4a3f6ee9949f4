"""Syllables: written word -> the set of counts its readers give it, with the readings behind them.

Knows words one at a time: the dictionary, the reviewed list, the rules and, for the rest, spelled
forms and the estimator. Never one number. Everything that counts calls it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from . import rules
from .context import ROMAN
from .morphology import Part, apostrophes, compound, inflections, possessive, squeezed
from .normalize import SPAN, key_of, plain
from .pronunciations import Phones, pronunciations, vowels
from .spoken import abbreviations, letters, spoken

DATA = Path(__file__).with_name("data")
# What the dictionary has wrong or leaves out; words of verse that it lacks.
LISTS = (DATA / "readings.tsv", DATA / "verse.tsv")
SOURCES = ("dictionary", "reviewed", "rule", "estimate", "user", "uncountable")
_MEMO_LIMIT = 50_000  # words kept, about 1 KB each: more than any text uses often
MAX_WORD = 1000  # letters; what is longer is no word
LIKELY = 0.1  # an estimated count less likely than this is left out
_SPAN = re.compile(SPAN)
_SPLIT = re.compile(r"[-/\u2010\u2011]+")
_ED = re.compile("[\u00e8\u00e9\u00eb]d$")
_FINAL_E = re.compile("(?!\u00e8s$)[\u00e9\u00e8\u00ea\u00eb](es|s|e)?$")
_FINAL_AY = re.compile("\u00e9e?(?=s?$)")
_SPANISH = re.compile("[\u00e1\u00ed\u00f3\u00fa\u00f1].*[^aeiou\u00f1]e$")  # d\u00f3nde
_HIATUS = re.compile("[ao][\u00eb\u00ef\u00f6]|e[\u00ef\u00eb]")
_EY = re.compile("(EY|IY)[012]( Z)?$")
# Figures inside a word that stand for the letters they look like.
_LEET = re.compile(r"(?=.*[a-z].*[a-z])[a-z]+[0134][a-z0134]*[a-z]")
_UNLEET = str.maketrans("0134", "oiea")
_EIGHT = re.compile("[a-z]{2,}8[a-z]*|[a-z]8[a-z]+")  # gr8ful, m8s; no v8
# Noises written without a vowel (hrmph, bzzt, pssh), which initials do not look like.
_NOISE = re.compile(
    r"[bcfghkprstz]*(?:h+m+|r{2,}|z{2,}|s{2,}h|pf+|f+t|s+h+t?|tch|m+ph|s{2,}t|z+t|h{2,}|hw+|[tkph]s{2,})[hmpstk]*"
)
_RANGE = re.compile(r"(?!\d{3}-\d{4})\d{1,4}(?::\d\d)?-\d{1,4}(?::\d\d)?")  # 9-5, 1914-1918
_INITIALS = re.compile(r"([A-Z]{4,6})('?s)")
_PLURAL = re.compile("(?:[szx]|[cs]h)es$")
_NAMES_IN_S = frozenset({"burns", "dickens", "lewis", "thomas"})  # no plurals, as dicken looks
# Initials that may be read as a word: no consonants together that no English word has there.
_SAYABLE = re.compile(
    r"(?:[bcdfghjklmnpqrstvwxz]|[bcfgps]l|[bcdfgpt]r|[cpst]h|s[ckmnptw]|[dt]w|qu|wh|wr|kn|str|spr)?"
    r"[aeiouy]+(?:[bcdfghjklmnprstvwxyz]{1,3}[aeiouy]+)*"
    r"(?:[bcdfgklmnprstvxz]|c[kht]|f[ft]|l[dfklmpt]|mp|n[cdgkst]|p[hst]|r[bcdfgklmnpt]|s[hkpst]|"
    r"t[hsz]|xt|[klr]s|ll|zz|ng|nth|tch)?"
)
# Endings of a family, and what the ending took from the word.
_KIN = (("'s", ""), ("s", ""), ("es", ""), ("es", "e"), ("ed", ""), ("ed", "e"), ("ing", ""),
        ("ing", "e"), ("ly", ""), ("ness", ""), ("less", ""))  # fmt: skip
_ROMAJI = re.compile(
    r"(?!.*(?:ea|oa|ee|oo|aa|eo|oe|gu[aeio]|ie$))(?=.*[aeiou].*[aeiou])(?:(?:[kgnhbpmr]y|s?sh|t?ch|t?ts|"
    r"kk|ss|tt|pp|[kgsztdnhbpmyrwfj])?[aeiou](?:n(?![aeiouy])|m(?=[bp]))?)+"
)
_JAPAN = re.compile("tsu|[kgnhmr]y[aou]|uu")
_OKINA = re.compile("[a-z]*(?:[aeiou]'[aiu]|[aiu]'o|u'e)[a-z']*(?<!')")  # a stop between vowels
_LONG = re.compile("ou|uu|ii|[aeo]i")
_NO_ACCENT = re.compile("[a-z\u0101\u0113\u012b\u014d\u016b]*")  # but for a long vowel's
_FULL_ED = (("IH0",), ("AH0",), ("EH0",))


@dataclass(frozen=True)
class Reading:
    """One way to say a word: its syllables, its phones if known, where it comes from."""

    count: int
    phones: Phones | None
    source: str
    lenient: bool = False


@dataclass(frozen=True)
class Review:
    """What the reviewed list says of one word."""

    exact: frozenset[int] = frozenset()
    add: frozenset[int] = frozenset()
    drop: frozenset[int] = frozenset()
    lenient: frozenset[int] = frozenset()
    phones: tuple[Phones, ...] = ()
    why: tuple[str, ...] = ()


_NO_REVIEW = Review()


@lru_cache(maxsize=1)
def reviews() -> dict[str, Review]:
    """The reviewed lists: word -> what to add, drop or set."""
    result: dict[str, Review] = {}
    names = {"=": "exact", "+": "add", "-": "drop", "~": "lenient"}
    for path in LISTS:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if line.startswith("#") or not line.strip():
                continue
            cells = line.split("\t")
            if len(cells) < 3 or cells[1] not in {*names, "p"}:
                raise ValueError(
                    f"{path.name} line {number}: write word, = + - ~ or p, counts or phones, why"
                )
            word, operation, value, why = (*cells, "")[:4]
            old = result.get(word, Review())
            if operation == "p":
                new = replace(old, phones=(*old.phones, tuple(value.split())))
            else:
                name = names[operation]
                counts = getattr(old, name) | {int(c) for c in value.split(",")}
                new = replace(old, **{name: counts})
            result[word] = replace(new, why=(*old.why, why) if why else old.why)
    return result


def _spelled(word: str) -> Phones:
    return tuple(p for letter in word for p in _LETTERS.get(letter, "AH0").split())


_LETTERS = {
    "a": "EY1", "b": "B IY1", "c": "S IY1", "d": "D IY1", "e": "IY1", "f": "EH1 F", "g": "JH IY1",
    "h": "EY1 CH", "i": "AY1", "j": "JH EY1", "k": "K EY1", "l": "EH1 L", "m": "EH1 M",
    "n": "EH1 N", "o": "OW1", "p": "P IY1", "q": "K Y UW1", "r": "AA1 R", "s": "EH1 S",
    "t": "T IY1", "u": "Y UW1", "v": "V IY1", "w": "D AH1 B AH0 L Y UW0", "x": "EH1 K S",
    "y": "W AY1", "z": "Z IY1",
}  # fmt: skip


def _without_initials(key: str, said: tuple[Phones, ...]) -> tuple[Phones, ...]:
    """Without the readings that spell a short word out (us, id, cod), if any others are left."""
    if len(said) < 2 or not 1 < len(key) < 5:
        return said
    letters = [p.rstrip("012") for p in _spelled(key)]
    kept = tuple(phones for phones in said if [p.rstrip("012") for p in phones] != letters)
    return kept or said


def _kindred(key: str, said: list[Reading]) -> frozenset[int]:
    """Counts that a reviewed word lends its family: average has three too, and so averages four.

    key is a word of the dictionary that the lists do not name, said its readings.
    """
    for ending, old in _KIN:
        base = key.removesuffix(ending) + old
        if base.endswith("ed"):  # doggedly has the syllable that dogged may lack
            continue
        if key.endswith(ending) and base in reviews() and said:
            added = reviews()[base].add
            usual = pronunciations(base)
            if added and usual:
                begun = [p for p in usual if said[0].phones and said[0].phones[: len(p)] == p]
                own = vowels((begun or usual)[0])  # averages ends what average as two begins
                return frozenset(said[0].count + n - own for n in added)
    return frozenset()


def dictionary(key: str, lenient: bool = False) -> list[Reading]:
    """The readings of a plain key that dictionary, reviewed list and rules give; [] if unknown."""
    if key.endswith("'s") and key not in reviews():  # whose the thing is changes none of its counts
        whole = _possessive(dictionary(key[:-2], lenient))
        if len({r.count for r in whole}) > 1:
            return whole
    said = pronunciations(key)
    if key.endswith("s's"):  # brooks's: the dictionary leaves some as they are without 's
        base = [p for p in pronunciations(key[:-2]) if p[-1] in ("S", "Z")]
        said = tuple((*p, "IH0", "Z") if p in base else p for p in said)
    review = reviews().get(key, _NO_REVIEW)
    if review.phones:
        said = (*said, *(p for p in review.phones if p not in said))
    result: list[Reading] = []
    if review.exact:
        kept = [p for p in said if vowels(p) in review.exact]
        result = [Reading(vowels(p), p, "reviewed") for p in kept]
        have = {r.count for r in result}
        result += [Reading(c, None, "reviewed") for c in sorted(review.exact - have)]
    elif said:
        for phones in _without_initials(key, said):
            count = vowels(phones)
            if count == 0 or count in review.drop:
                continue
            source = "reviewed" if phones in review.phones else "dictionary"
            result.append(Reading(count, phones, source))
        have = {r.count for r in result}
        spoken = {r.phones for r in result}
        for reading in list(result):
            assert reading.phones is not None
            for soft in (False, True) if lenient else (False,):
                for phones in rules.variants(key, reading.phones, lenient=soft):
                    count = vowels(phones)
                    if phones not in spoken and count not in review.drop and count > 0:
                        spoken.add(phones)
                        result.append(Reading(count, phones, "rule", soft))
                        have.add(count)
        added = review.add or _kindred(key, result)
        result += [Reading(c, None, "reviewed") for c in sorted(added - have)]
    elif review.add:
        result = [Reading(c, None, "reviewed") for c in sorted(review.add)]
    if lenient:
        have = {r.count for r in result}
        result += [Reading(c, None, "reviewed", True) for c in sorted(review.lenient - have)]
    return result


_memo: dict[str, tuple[Reading, ...]] = {}
_memo_lenient: dict[str, tuple[Reading, ...]] = {}
_sets: dict[str, frozenset[int]] = {}


def readings(word: str, *, lenient: bool = False) -> tuple[Reading, ...]:
    """Every reading of a written word; () if it cannot be counted (emoji, other scripts).

    The first is the usual one. Lenient readings, which some readers refuse, come only if asked for.

    >>> [(r.count, r.source) for r in readings("fire")]
    [(2, 'dictionary'), (1, 'dictionary')]
    """
    if not isinstance(word, str):
        raise TypeError(f"readings() takes one written word as str, not {type(word).__name__}")
    memo = _memo_lenient if lenient else _memo
    found = memo.get(word)
    if found is None:
        found = tuple(_resolve(word, lenient))
        if len(word) < 64:
            if len(memo) > _MEMO_LIMIT:
                memo.clear()
            memo[word] = found
    return found


def syllables(word: str, *, lenient: bool = False) -> frozenset[int]:
    """The syllable counts readers give a written word; empty if it cannot be counted.

    >>> sorted(syllables("fire")), sorted(syllables("blossom")), sorted(syllables("us"))
    ([1, 2], [2], [1])
    """
    if lenient:
        return frozenset(r.count for r in readings(word, lenient=True))
    found = _sets.get(word)
    if found is None:
        found = frozenset(r.count for r in readings(word))
        if len(word) < 64:
            if len(_sets) > _MEMO_LIMIT:
                _sets.clear()
            _sets[word] = found
    return found


def _sum(parts: Iterable[list[Reading]], source: str | None) -> list[Reading]:
    """Readings of words said one after the other."""
    total: list[Reading] = [Reading(0, (), source or "dictionary")]
    for part in parts:
        combined: dict[tuple[int, Phones | None], Reading] = {}
        for a in total:
            for b in part:
                phones = (
                    a.phones + b.phones
                    if a.phones is not None and b.phones is not None
                    else b.phones
                )
                reading = Reading(
                    a.count + b.count, phones, source or _weakest(a, b), a.lenient or b.lenient
                )
                combined.setdefault((reading.count, reading.phones), reading)
        total = list(combined.values())
        if len(total) > 64:  # no count is lost
            first = {r.count: r for r in reversed(total)}
            total = list(dict.fromkeys([*first.values(), *total]))[:64]
    return total


def _weakest(a: Reading, b: Reading) -> str:
    order = ("dictionary", "user", "reviewed", "rule", "estimate")
    return max(a.source, b.source, key=order.index)


def _resolve(word: str, lenient: bool) -> list[Reading]:
    """Every reading of a written word: as it stands, as it is said, taken apart, estimated."""
    if len(word) > MAX_WORD:
        return []
    key = key_of(word)
    short = key in abbreviations()  # b4n
    if not short and _LEET.fullmatch(key) and dictionary(key.translate(_UNLEET)):  # fr0m
        return [replace(r, source="rule") for r in dictionary(key.translate(_UNLEET), lenient)]
    if not short and _EIGHT.fullmatch(key) and not word.isupper():
        for sound in ("ate", "at", "ait", "eat"):  # sk8er, w8ing
            found = dictionary(key.replace("8", sound))
            if found:
                return [replace(r, source="rule") for r in found]
    text = plain(word)
    initials = _INITIALS.fullmatch(text)
    if initials and pronunciations(initials[1].lower()):  # NASA's
        return _possessive(_word(initials[1].lower(), lenient, initials[1]))
    # Keats': as it stands, or Keatses
    if text.endswith("s'") and text[0].isupper() and not _PLURAL.search(key):
        found = dictionary(key, lenient)
        if found and (key in _NAMES_IN_S or not pronunciations(key[:-1])):
            return _distinct(found + _possessive(found))
    if text.endswith(("x'", "z'")) and text[0].isupper():  # Marx', or Marxes
        found = _word(key, lenient)
        return _distinct(found + _possessive(found))
    if text.endswith("ss'"):  # the boss'
        found = dictionary(key, lenient)
        if found:
            return _distinct(found + _possessive(found))
    ways = spoken(text) if _unusual(text, key) else []
    if ways:
        found = [r for way in ways for r in _sum((_word(w, lenient) for w in way), "rule")]
        if found:
            return _distinct(found)
    return _word(key, lenient, text)


def _unusual(text: str, key: str) -> bool:
    """Whether a form is, or may be, said in other words: digits, signs, initials, abbreviations."""
    return (
        (
            not text.isalpha()
            or key in abbreviations()
            or text in abbreviations()
            or (text[-1] == "s" and len(text) > 2 and text[:-1].isupper())  # AIs
            or (len(text) > 1 and ROMAN.fullmatch(text) is not None)
            or (not (text.islower() or text.istitle() or text.isupper()) and not dictionary(key))
        )
        and "-" not in text[1:-1]
    )


def _word(key: str, lenient: bool, text: str = "") -> list[Reading]:
    """The readings of a plain key: dictionary, then its parts, then the estimate."""
    if key.endswith("'s") and not text.isascii():  # bless\u00e8d's
        return _possessive(_resolve(plain(text)[:-2], lenient))
    found = dictionary(key, lenient)
    if found and "-" in key and key not in reviews():  # life-threatening: three, and four
        found = _distinct([*found, *_hyphenate(key, found)])
    if found:
        return _accented(text, found) if text and not text.isascii() else found
    if not key or not any(c.isascii() and c.isalnum() for c in key):
        return []
    parts = [part for part in _SPLIT.split(text or key) if part]
    if len(parts) > 1:
        several = [
            [Reading(1, None, "rule")] if _stuttered(part, parts[-1]) else _resolve(part, lenient)
            for part in parts
        ]
        if not all(several):
            return []
        if len(parts) == 2 and _SPAN.fullmatch(parts[0]) and _SPAN.fullmatch(parts[1]):
            return _distinct([*_span(parts), *_sum(several, None)])  # Mon-Fri
        if _RANGE.fullmatch(key):  # nine to five
            several.insert(1, [Reading(0, (), "dictionary"), *dictionary("to")])
        return _sum(several, None)

    def look(base: str) -> list[Part]:
        return [(r.count, r.phones) for r in dictionary(base, lenient)]

    if "'" in key:
        if _OKINA.fullmatch(key):  # O'ahu; Halema'uma'u, which no dictionary has
            return dictionary(key.replace("'", ""), lenient) or _sum(
                (_word(part, lenient) for part in key.split("'")), "rule"
            )
        pieces = apostrophes(key, look)
        if pieces:
            return [Reading(count, phones, "rule") for count, phones in pieces]
        if key.endswith("in'"):  # ticklin'
            return _word(f"{key[:-1]}g", lenient)
    for base in squeezed(key):
        found = dictionary(base, lenient) if base not in ("s", "ss") else []  # a hiss
        if found:
            return [replace(r, source="rule") for r in found]
    if any(c in "aeiouy" for c in key):  # sloooshy, which no dictionary has
        *_, key = (key, *squeezed(key))
    bare = key.replace("'", "")
    if not bare.isascii() or not bare.isalpha():
        return []
    if not any(c in "aeiouy" for c in bare) or (text.isupper() and 1 < len(text) <= 4):
        if (not text.isupper() or len(bare) > 4) and len(bare) < 16 and _NOISE.fullmatch(bare):
            return [Reading(1, None, "rule")]  # bzzt, BZZZT
        names = _sum((dictionary(name) for name in letters(bare)), "rule")
        if text.isupper() and not _SAYABLE.fullmatch(bare):
            return names
        if len(set(bare)) == 1 or not any(c in "aeiouy" for c in bare):
            drawn = any(bare[i] == bare[i + 1] == bare[i + 2] for i in range(len(bare) - 2))
            return [Reading(1, None, "rule")] if drawn and not text.isupper() else names
        return _distinct(names + _estimated(bare))
    pieces = inflections(bare, look)
    if not pieces:
        pieces = compound(bare, look)
        if pieces:
            likely = {count for count, chance in estimate(bare) if chance >= 0.02}
            # fireant: what one part may be said as, the whole may, if any of it is likely
            pieces = pieces if any(count in likely for count, _ in pieces) else []
    found = _distinct([Reading(count, phones, "rule") for count, phones in pieces])
    if not found and "'" not in key and (not text or _NO_ACCENT.fullmatch(plain(text).lower())):
        found = _romaji(bare)
        if found and not _JAPAN.search(bare):  # surely Japanese: hatsuhinode
            likely = {count for count, chance in estimate(bare) if chance >= 0.02}
            found = [reading for reading in found if reading.count in likely]
    found = found or _estimated(bare)
    return _accented(text, found) if text and not text.isascii() else found


def _hyphenate(key: str, found: list[Reading]) -> list[Reading]:
    """What the parts of a hyphenate of the dictionary may be said as, if it agrees with them."""
    parts = [[r for r in dictionary(part) if r.source != "reviewed"] for part in key.split("-")]
    total = _sum(parts, "rule") if all(parts) else []
    return total if found[0].count in {r.count for r in total} else []


def _span(parts: list[str]) -> list[Reading]:
    """Two names of days or months, shortened or not, with a dash between: from one to the other."""
    names = [abbreviations().get(f"{part}.", [(part.lower(),)])[0][0] for part in parts]
    return _sum((dictionary(name) for name in (names[0], "to", names[1])), "rule")


def _stuttered(part: str, word: str) -> bool:
    """w-w-wait: the beginning of a word, said before the word itself."""
    low = part.lower()
    begun = len(low) < len(word) and word.lower().startswith(low)
    return begun and len(low) < 4 and not any(c in "aeiouy" for c in low)


def _possessive(found: list[Reading]) -> list[Reading]:
    """Readings with the ending 's that their last sound asks for."""
    pieces = possessive([(r.count, r.phones) for r in found])
    longer = [count - r.count for r, (count, phones) in zip(found, pieces, strict=True) if phones]
    return [
        Reading(count if phones or not longer else count + longer[0], phones, "rule")
        for count, phones in pieces
    ]


def _romaji(bare: str) -> list[Reading]:
    """A word spelled like Japanese, each vowel heard; [] if it may be English (iterate).

    Long vowels and ai, ei, oi are one syllable, as they are said in English.
    """
    if not _ROMAJI.fullmatch(bare) or (bare[-1] == "e" and not _JAPAN.search(bare)):
        return []
    count = sum(c in "aeiou" for c in bare) - len(_LONG.findall(bare))
    return [Reading(count, None, "estimate")]


def _estimated(bare: str) -> list[Reading]:
    said = [(count, chance) for count, chance in estimate(bare) if count > 0]
    return [Reading(count, None, "estimate") for count, chance in said if chance >= LIKELY] or [
        Reading(count, None, "estimate") for count, _ in said[:1]
    ]


def _accented(text: str, found: list[Reading]) -> list[Reading]:
    """Accents that make a silent vowel heard: belov\u00e8d, wing\u00e9d; ros\u00e9, saut\u00e9."""
    low = unicodedata.normalize("NFC", text).lower()
    if low.endswith("\u00e9d"):  # clich\u00e9d
        known = [r for r in dictionary(key_of(low[:-1])) if r.phones and _EY.search(r.phones[-1])]
        if known:
            return [Reading(r.count, None, "rule") for r in known]
    if _ED.search(low):
        most = max(r.count for r in found)
        several = len({r.count for r in found}) > 1
        silent = [r for r in found if r.phones is not None and r.phones[-2:-1] not in _FULL_ED]
        if several or not silent:
            return [r for r in found if r.count == most]
        return [Reading(most + 1, None, "rule")]
    if _FINAL_E.search(low):
        one = dictionary(key_of(low[:-1])) if low.endswith("\u00e9s") else []
        if one:  # ros\u00e9s, and no roses
            return _accented(low[:-1], one)
        if found[0].source == "estimate":  # manqu\u00e9, as if it were manquay
            return _estimated(key_of(_FINAL_AY.sub("ay", low)))
        heard = [r for r in found if r.phones is None or _EY.search(" ".join(r.phones))]
        if heard:
            return heard
        silent = [r for r in found if r.phones is None or not r.phones[-1][-1].isdigit()]
        return [Reading(r.count + 1, None, "rule") for r in silent] or found
    if _SPANISH.search(low) and found[0].source == "estimate":
        return _estimated(low[:-1] + "a")
    if _HIATUS.search(low):  # coöperate, noösphere: the second o is heard
        if found[0].source == "estimate":
            found = _estimated(low)
        most = max(r.count for r in found)
        if most == 1:  # co\u00f6p, and no coop
            return [Reading(2, None, "rule")]
        if low.startswith("a\u00ebr") and found[0].phones and found[0].phones[1] == "R":
            # a\u00ebrial: air- today, a-er- of old
            return [*found, Reading(most + 1, None, "rule")]
        return [r for r in found if r.count == most]
    return found


def _distinct(found: Iterable[Reading]) -> list[Reading]:
    """One reading a (count, phones), and few of them: a figure is said in many ways."""
    kept: dict[tuple[int, Phones | None], Reading] = {}
    for reading in found:
        kept.setdefault((reading.count, reading.phones), reading)
    if len(kept) <= 24:
        return list(kept.values())
    counts: dict[int, Reading] = {}
    for reading in kept.values():
        counts.setdefault(reading.count, reading)
    return list(counts.values())


def estimate(word: str) -> list[tuple[int, float]]:
    """Counts of an unknown word with their probabilities, best first; no dictionary is asked."""
    try:
        from .estimator import estimate as trained

        return trained(word)
    except (ImportError, OSError):
        groups, vowel = 0, False
        for c in word.lower():
            groups += c in "aeiouy" and not vowel
            vowel = c in "aeiouy"
        if word.lower().endswith("e") and groups > 1 and not word.lower().endswith("le"):
            groups -= 1
        return [(max(1, groups), 1.0)]
