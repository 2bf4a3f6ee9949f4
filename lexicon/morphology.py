"""Morphology: words the dictionary lacks, taken apart into words it has.

Knows endings, beginnings, elisions, contractions and compounds; asks for readings of the parts.
syllables.py calls it before it asks the estimator.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from .pronunciations import Phones

# A part of a word: its count and its phones if known.
Part = tuple[int, "Phones | None"]
Look = Callable[[str], "list[Part]"]

_SIBILANT = frozenset({"S", "Z", "SH", "CH", "ZH", "JH"})
_VOICELESS = frozenset({"P", "T", "K", "F", "TH"})
_CONTRACTED: dict[str, Phones] = {
    "'ll": ("AH0", "L"), "'ve": ("AH0", "V"), "'re": ("ER0",), "'d": ("D",), "'m": ("M",),
    "n't": ("AH0", "N", "T"), "'em": ("AH0", "M"),
}  # fmt: skip
_ENDINGS: dict[str, Phones] = {
    "ing": ("IH0", "NG"), "ings": ("IH0", "NG", "Z"), "er": ("ER0",), "ers": ("ER0", "Z"),
    "est": ("AH0", "S", "T"), "ly": ("L", "IY0"), "ness": ("N", "AH0", "S"),
    "nesses": ("N", "AH0", "S", "IH0", "Z"), "less": ("L", "AH0", "S"), "ful": ("F", "AH0", "L"),
    "fully": ("F", "AH0", "L", "IY0"), "lessly": ("L", "AH0", "S", "L", "IY0"),
    "ish": ("IH0", "SH"), "y": ("IY0",), "like": ("L", "AY2", "K"), "ward": ("W", "ER0", "D"),
    "wards": ("W", "ER0", "D", "Z"), "ment": ("M", "AH0", "N", "T"), "hood": ("HH", "UH2", "D"),
    "ship": ("SH", "IH2", "P"), "some": ("S", "AH0", "M"), "wise": ("W", "AY2", "Z"),
    "able": ("AH0", "B", "AH0", "L"), "dom": ("D", "AH0", "M"), "let": ("L", "AH0", "T"),
    "lets": ("L", "AH0", "T", "S"), "man": ("M", "AH0", "N"), "men": ("M", "AH0", "N"),
    "woman": ("W", "UH2", "M", "AH0", "N"), "women": ("W", "IH2", "M", "AH0", "N"),
    "ist": ("AH0", "S", "T"), "ists": ("AH0", "S", "T", "S"), "ism": ("IH2", "Z", "AH0", "M"),
    "eth": ("AH0", "TH"),
}  # fmt: skip
_BEGINNINGS = {
    "un": 1, "re": 1, "dis": 1, "mis": 1, "non": 1, "pre": 1, "over": 2, "under": 2, "out": 1,
    "super": 2, "anti": 2, "semi": 2, "sub": 1, "inter": 2, "mid": 1, "fore": 1, "up": 1, "down": 1,
    "micro": 2, "multi": 2, "mega": 2, "mini": 2, "auto": 2, "cyber": 2, "hyper": 2, "ultra": 2,
    "de": 1, "co": 1, "be": 1, "en": 1, "tele": 2, "bio": 2, "geo": 2, "eco": 2,
}  # fmt: skip
# Short words that compounds are made of; longer parts may be any dictionary word.
_PARTS = """
sun sky sea ice day bed dog cat cow owl bee fly bug ant fox hen sap bud fir oak elm yew ivy
fog dew air tea cup pot pan lid jar bag box car bus van way man men boy son hat cap net web
bay ash eye ear lip arm leg toe top tip end out off all one six ten two big old new red dry
wet hot low raw mud bog pit den log fin egg nut pea rye hay oat jam pie gum ink pen key map
art law job zoo gym gun bow cry pop tap run set cut lit
"""
_SHORT = frozenset(_PARTS.split())


def _voiced_s(phones: Phones) -> Phones:
    if phones[-1] in _SIBILANT:
        return ("IH0", "Z")
    return ("S",) if phones[-1] in _VOICELESS else ("Z",)


def _voiced_d(phones: Phones) -> Phones:
    if phones[-1] in ("T", "D"):
        return ("IH0", "D")
    return ("T",) if phones[-1] in _VOICELESS | {"S", "SH", "CH"} else ("D",)


def _count(phones: Phones) -> int:
    return sum(1 for phone in phones if phone[-1].isdigit())


def _with(parts: list[Part], tail: Phones | None, tails: int = 0) -> list[Part]:
    """Each part with an ending's phones (tail None: its syllables alone are known)."""
    if tail is None:
        return [(count + tails, None) for count, _ in parts]
    return [
        (count + _count(tail), None if phones is None else (*phones, *tail))
        for count, phones in parts
    ]


def _inflected(parts: list[Part], choose: Callable[[Phones], Phones]) -> list[Part]:
    """Each part with the ending its last sound asks for."""
    result: list[Part] = []
    for count, phones in parts:
        if phones is None:
            result.append((count, None))
        else:
            tail = choose(phones)
            result.append((count + _count(tail), (*phones, *tail)))
    return result


def _without_schwa(parts: list[Part]) -> list[Part]:
    """gentle before -er and -est: its weak vowel before l falls out (gentler, gentlest)."""
    return [
        (count - 1, (*phones[:-2], "L"))
        if phones is not None and phones[-2:] == ("AH0", "L")
        else (count, phones)
        for count, phones in parts
    ]


def _joined(first: list[Part], second: list[Part]) -> list[Part]:
    """Two words said as one."""
    return [
        (a + b, None if p is None or q is None else (*p, *q)) for a, p in first for b, q in second
    ]


def possessive(parts: list[Part]) -> list[Part]:
    """Each part with the 's that its last sound asks for: cat's has one syllable, fox's two."""
    return _inflected(parts, _voiced_s)


def _with_g(word: str, look: Look) -> list[Part]:
    """A word, or the one it is short for: somethin in somethin'll."""
    return look(word) or (look(word + "g") if word.endswith("in") else [])


def apostrophes(key: str, look: Look) -> list[Part]:
    """Possessives, contractions, dropped g and elisions of words the dictionary has."""
    if key.endswith("'s"):
        return possessive(_with_g(key[:-2], look))
    if key.endswith("s'"):
        return look(key[:-1])
    if key.endswith("in'"):
        return look(key[:-1] + "g")
    for whole in ("o'er", "e'er", "ne'er"):
        if key.startswith(whole) and len(key) > len(whole) + 1:
            return _joined(look(whole), look(key[len(whole) :]))
    if key.endswith("'st"):  # see'st, giv'st
        return look(key[:-3]) or look(f"{key[:-3]}e")
    if "'n'" in key:  # fish'n'chips
        first, _, second = key.partition("'n'")
        return _joined(_joined(look(first), [(1, ("AH0", "N"))]), look(second))
    for ending, tail in _CONTRACTED.items():
        if key.endswith(ending) and len(key) > len(ending):
            base = _with_g(key[: -len(ending)], look)
            if ending == "'d":
                past = look(key[:-2] + "ed") or look(key[:-2] + "d")
                if past:
                    return [min(past, key=lambda part: part[0])]
                return _inflected(base, lambda p: ("AH0", "D") if p[-1] in "TD" else ("D",))
            found = _inflected(base, lambda p, tail=tail: _contract(p, tail))  # type: ignore[misc]
            if ending in ("'ll", "'ve"):  # Mary'll: after a weak vowel its own may be kept
                weak = [part for part in base if part[1] and part[1][-1][-1] == "0"]
                found += _with([part for part in weak if part[0] > 1], tail)
            return found
    if "'" in key:
        for letter in "eoaiu":
            full = look(key.replace("'", letter, 1))
            if full:
                most = max(count for count, _ in full)
                kept = [(count, phones) for count, phones in full if count == most - 1]
                return kept or [(max(1, most - 1), None)]
        for letters in ("v", "th", ""):  # e'en, wi'out
            full = look(key.replace("'", letters, 1))
            if full:
                least = min(count for count, _ in full)
                return [part for part in full if letters or part[0] == least]  # twink'ling
    return []


def _contract(phones: Phones, tail: Phones) -> Phones:
    """'ll, 've, 're lose their vowel after a vowel: we'll, they've."""
    if phones[-1][-1].isdigit() and len(tail) > 1 and tail[0] == "AH0" and tail[1:] != ("N", "T"):
        return tail[1:]
    return tail


def _bases(word: str, ending: str) -> Iterator[str]:
    """What may stand before an ending: hope-ing, run-n-ing, happi-ness."""
    stem = word[: -len(ending)]
    if len(stem) < 2:
        return
    if ending == "y" and stem[-1] in "aou":  # belay, pinoy: no ending
        return
    if ending == "ed" and stem[-1] == "e":  # agreed; no fare in fareed
        yield stem + "e"
        return
    if ending[0] in "aeiouy" and stem[-1] == "e":  # age-ist before agee-ist
        yield stem
    if ending[0] in "aeiouy":
        yield stem + "e"
        if len(stem) > 3 and stem[-1] == stem[-2]:
            yield stem[:-1]
    yield stem
    if stem.endswith("i"):
        yield stem[:-1] + "y"


def _ed_in_full(parts: list[Part]) -> list[Part]:
    """resignedly, fixedly: before -ly a silent e is heard after a stressed syllable."""
    return [
        (count + 1, (*phones[:-1], "IH0", "D"))
        for count, phones in parts
        if phones is not None
        and not phones[-2][-1].isdigit()
        and [phone for phone in phones if phone[-1].isdigit()][-1][-1] == "1"
    ]


def _silent_e(base: str, word: str, ending: str, found: list[Part]) -> list[Part]:
    """The readings of a base whose last e fell before an ending: hope, and no kente in Kentish."""
    shared = ending[0] == "e"  # no passe in passest
    if base[-1] != "e" or base[-2] in "aeiou" or (word.startswith(base) and not shared):
        return found
    return [
        part for part in found if part[1] is None or part[1][-1].rstrip("012") not in ("EY", "IY")
    ]


def inflections(word: str, look: Look) -> list[Part]:
    """A dictionary word with an ending or a beginning; a contraction without its apostrophe."""
    if word.endswith("in") and len(word) > 4:  # cookin, readin
        found = look(word + "g")
        if found:
            return found
    for ending in ("t", "re", "ve", "ll", "d"):  # didnt, youre
        if word.endswith(ending) and len(word) > 3 and (ending != "t" or word[-2] == "n"):
            found = look(f"{word.removesuffix(ending)}'{ending}")
            if found:
                return found
    if word.endswith("s") and not word.endswith("ss") and len(word) > 3:
        for base in (word[:-1], word[:-2], word[:-3] + "y" if word.endswith("ies") else ""):
            if base and (base != word[:-2] or word.endswith("es")):
                found = look(base)
                if found:
                    return _inflected(found, _voiced_s)
    if word.endswith("ed") and len(word) > 4:
        for base in _bases(word, "ed"):
            found = look(base)
            if found:
                return _inflected(found, _voiced_d)
    for ending in sorted(_ENDINGS, key=len, reverse=True):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            for base in _bases(word, ending):
                found = _silent_e(base, word, ending, look(base))
                if found:
                    if base.endswith("le") and (ending[0] == "e" or not word.startswith(base)):
                        light = _without_schwa(found)
                        if ending in ("er", "ers", "est", "y"):  # gentler, wrinkly, adorably
                            found = light
                        elif ending in ("ing", "ings") and light != found:  # tickling: two or three
                            found = light + found
                    if ending == "ly" and base.endswith("ed"):
                        found = _ed_in_full(found) + found
                    return _with(found, _ENDINGS[ending])
    for beginning, count in _BEGINNINGS.items():
        if word.startswith(beginning) and len(word) - len(beginning) >= 4:
            found = look(word[len(beginning) :])
            if found:
                return [(count + c, phones) for c, phones in found]
    return []


def compound(word: str, look: Look) -> list[Part]:
    """Two dictionary words written as one: moonbright, sunsoaked."""
    best: list[Part] = []
    worst = 0
    if len(word) > 30:
        return best
    for cut in range(3, len(word) - 2):
        first, second = word[:cut], word[cut:]
        if (cut < 4 and first not in _SHORT) or (len(second) < 4 and second not in _SHORT):
            continue
        balance = min(len(first), len(second))
        if balance <= worst:
            continue
        one = look(first)
        two = look(second) if one else []
        if two:
            worst = balance
            best = _joined(one, two)
    return best[:16]


def squeezed(word: str) -> Iterator[str]:
    """A drawn-out word brought back to size: soooo -> so, noooo -> no, hmmmm -> hmm."""
    if re.search(r"(.)\1\1", word):
        yield re.sub(r"(.)\1{2,}", r"\1\1", word)
        short = re.sub(r"(.)\1{2,}", r"\1", word)
        if len(short) > 1 or short in "aio":
            yield short
