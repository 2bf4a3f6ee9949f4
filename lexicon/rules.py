"""Rules on phonemes: from one dictionary pronunciation to the others that readers use.

Knows ARPAbet phones, and a word's spelling where the sound alone does not decide.
Strict rules give readings that any reader lets pass (fire 1/2, memory 2/3); lenient rules give
those that some readers refuse (file 2, world 2, curious 2). syllables.py calls it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import product

from .pronunciations import Phones, pronunciations

_GLIDES = frozenset({"AY", "AW", "OY"})
_STOPS = frozenset({"B", "D", "G", "K", "P", "T", "Z"})
_MAX_SITES = 3

# A site is (start, end, replacement): phones[start:end] may also be said as the replacement.
Site = tuple[int, int, Phones]
Rule = Callable[[str, Phones], Iterable[Site]]


def _bare(phone: str) -> str:
    return phone[:-1] if phone[-1] in "012" else phone


def _vowel(phone: str) -> bool:
    return phone[-1] in "012"


def _weak(phone: str) -> bool:
    return phone[-1] == "0"


def _closed(phones: Phones, place: int) -> bool:
    """Nothing, or a consonant, stands at `place`."""
    return place >= len(phones) or not _vowel(phones[place])


def glide_r(word: str, phones: Phones) -> Iterable[Site]:
    """fire, flower, choir, power: AY/AW/OY before r is one syllable or two.

    Not in a stem that goes on (coward), nor after OY (lawyer, employer).
    """
    for i in range(len(phones) - 1):
        if _bare(phones[i]) in _GLIDES and _vowel(phones[i]):
            if phones[i + 1] == "ER0":
                stem = phones[i + 2 : i + 3] == ("D",) and not word.endswith("ed")
                if not stem and _bare(phones[i]) != "OY":
                    yield i + 1, i + 2, ("R",)
            elif phones[i + 1] == "R" and _closed(phones, i + 2):
                yield i + 1, i + 2, ("ER0",)


def _closes(name: str, phone: str) -> bool:
    return name in _GLIDES or (name == "UW" and not _weak(phone))


def glide_l(word: str, phones: Phones) -> Iterable[Site]:
    """towel, trial, royal (two or one); oil, soil (one or two)."""
    for i in range(len(phones) - 1):
        if not _vowel(phones[i]):
            continue
        name, nxt = _bare(phones[i]), phones[i + 1]
        stressed = len(phones) > i + 4 and phones[i + 3][-1] in "12"  # violin
        weak = nxt == "AH0" and phones[i + 2 : i + 3] == ("L",)
        weak = weak and not (stressed and name in _GLIDES)
        if weak and _closes(name, phones[i]):
            yield i + 1, i + 2, ()
        elif name == "OY" and nxt == "L" and _closed(phones, i + 2):
            yield i + 1, i + 1, ("AH0",)


def double_r(word: str, phones: Phones) -> Iterable[Site]:
    """mirror, error, squirrel: the weak vowel after r melts into it."""
    for i in range(1, len(phones) - 1):
        double = phones[i : i + 2] == ("R", "ER0") and _closed(phones, i + 2)
        if double and phones[i - 1][:2] in {"IH", "EH", "AO", "AA"}:
            yield i, i + 2, ("R",)
        if phones[i] == "ER1" and phones[i + 1 : i + 3] == ("AH0", "L"):
            yield i + 1, i + 2, ()


def _weak_after(phones: Phones, place: int, consonant: str) -> bool:
    """This consonant stands at `place`, and a weak vowel after it."""
    return phones[place] == consonant and place + 1 < len(phones) and _weak(phones[place + 1])


def weak_r(word: str, phones: Phones) -> Iterable[Site]:
    """memory, mystery, every: the weak vowel before r and another weak vowel falls out."""
    if "-" in word:  # not over the seam of mother-in-law
        return
    for i in range(2, len(phones) - 1):
        if not any(_vowel(p) and not _weak(p) for p in phones[:i]):
            continue
        if _vowel(phones[i - 1]):
            continue
        if phones[i] == "ER0" and _weak(phones[i + 1]) and phones[i + 1] != "ER0":
            yield i, i + 1, ("R",)
        elif phones[i] in {"AH0", "IH0", "EH0"} and _weak_after(phones, i + 1, "R"):
            yield i, i + 1, ()


def weak_ln(word: str, phones: Phones) -> Iterable[Site]:
    """listening, rippling, finally, prisoner, gentlest: the weak vowel before l or n falls out."""
    if "-" in word:
        return
    for i in range(2, len(phones) - 2):
        if phones[i] not in {"AH0", "IH0"} or _vowel(phones[i - 1]):
            continue
        before, after = phones[i - 1], phones[i + 1 :]
        ending = after[0] in {"N", "L"} and after[1:3] == ("IH0", "NG") and len(after) <= 4
        adverb = (
            after == ("L", "IY0") and word.endswith("ally") and before in {"N", "SH", "ZH", "R"}
        )
        tional = after[:3] == ("N", "AH0", "L") and before in {"SH", "ZH", "S"}
        doer = word.rstrip("s'")[-3:]  # prisoner, and not webinar
        agent = (after[:2] == ("N", "ER0") and doer in ("ner", "nor")) or (
            after[:2] == ("L", "ER0") and doer in ("ler", "lor")
        )
        bubbly = after == ("L", "IY0") and word[-3:-2] in "bdgkptz" and before in _STOPS
        superlative = after == ("L", "AH0", "S", "T") and word.endswith("lest")
        if ending or superlative or adverb or tional or agent or (bubbly and word[-2:] == "ly"):
            yield i, i + 1, ()


def sparkle(word: str, phones: Phones) -> Iterable[Site]:
    """sparkling, rustling, handler: a verb in -le may keep its weak vowel before -ing, -er."""
    for ending in ("ing", "ings", "er", "ers"):
        if word.endswith("l" + ending) and len(word) > len(ending) + 3:
            verb = word[: -len(ending)] + "e"
            tail = {"i": ("IH0", "NG"), "e": ("ER0",)}[ending[0]]
            for i in range(max(2, len(phones) - len(tail) - 2), len(phones) - 1):
                heard = phones[i : i + 1 + len(tail)] == ("L", *tail)
                if heard and not _vowel(phones[i - 1]) and pronunciations(verb):
                    yield i, i, ("AH0",)


def ically(word: str, phones: Phones) -> Iterable[Site]:
    """basically, magically: -ically has two syllables or, spoken with care, three."""
    if word.endswith("ically"):
        if phones[-3:-1] == ("K", "L") and _bare(phones[-1]) == "IY":
            yield len(phones) - 2, len(phones) - 2, ("AH0",)
        elif phones[-4:] == ("K", "AH0", "L", "IY0"):
            yield len(phones) - 3, len(phones) - 2, ()


def fully(word: str, phones: Phones) -> Iterable[Site]:
    """beautifully, powerfully: the dictionary leaves out the u of some."""
    if word.endswith("fully") and phones[-3:-1] == ("F", "L") and _bare(phones[-1]) == "IY":
        yield len(phones) - 2, len(phones) - 2, ("AH0",)


def tional(word: str, phones: Phones) -> Iterable[Site]:
    """emotionally: the dictionary leaves out the o of some in -tional."""
    if "ion" in word:
        for i in range(2, len(phones) - 2):
            if phones[i - 1] in {"SH", "ZH"} and phones[i : i + 2] == ("N", "AH0"):
                yield i, i, ("AH0",)


def full_u(word: str, phones: Phones) -> Iterable[Site]:
    """visually, superfluous: the dictionary has a glide where careful speech has a vowel."""
    if "ual" in word or "uous" in word:
        for i in range(1, len(phones) - 1):
            glide = phones[i] == "W" and phones[i + 1][:2] == "AH" and not _vowel(phones[i - 1])
            if glide and ("uous" in word or phones[i - 1] in {"CH", "SH", "JH", "ZH"}):
                yield i, i + 1, ("UW0",)


def weak_w(word: str, phones: Phones) -> Iterable[Site]:
    """usual, actual, gradual: the weak vowel before w falls out."""
    for i in range(2, len(phones) - 2):
        if phones[i] in {"AH0", "UW0"} and phones[i - 1] in {"CH", "ZH", "JH", "SH"}:
            if phones[i + 1] == "W" and _weak(phones[i + 2]):
                yield i, i + 1, ()
            elif phones[i + 1] == "AH0" and phones[i] == "UW0":
                yield i, i + 1, ("W",)


def flower_ia(word: str, phones: Phones) -> Iterable[Site]:
    """camellia, magnolia, California: the ending -lia, -nia has a glide or a vowel of its own."""
    if word.rstrip("s").endswith(("lia", "nia", "lea")):
        for i in range(2, len(phones) - 1):
            if phones[i] == "Y" and phones[i + 1] == "AH0" and phones[i - 1] in {"L", "N"}:
                yield i, i + 1, ("IY0",)
            elif phones[i] == "IY0" and phones[i + 1] == "AH0" and phones[i - 1] in {"L", "N"}:
                yield i, i + 1, ("Y",)


def long_l(word: str, phones: Phones) -> Iterable[Site]:
    """file, world, owl, feel as two: a schwa before dark l."""
    for i in range(len(phones) - 1):
        dark = phones[i + 1] == "L" and phones[i][-1] in "12" and _closed(phones, i + 2)
        if dark and _bare(phones[i]) in {"AY", "AW", "IY", "EY", "UW", "ER"}:
            yield i + 1, i + 1, ("AH0",)


def hiatus(word: str, phones: Phones) -> Iterable[Site]:
    """curious, radiant, glorious: two weak vowels run together."""
    for i in range(2, len(phones) - 1):
        weak = phones[i] in {"IY0", "IH0"} and phones[i + 1] in {"AH0", "ER0"}
        if weak and not _vowel(phones[i - 1]):
            yield i, i + 1, ("Y",)


STRICT: tuple[Rule, ...] = (
    glide_r, glide_l, double_r, weak_r, weak_ln, sparkle, ically, fully, tional, weak_w, full_u,
    flower_ia,
)  # fmt: skip
LENIENT: tuple[Rule, ...] = (long_l, hiatus)


def _apply(phones: Phones, sites: list[Site]) -> list[Phones]:
    """Every way to take or leave the sites (the first few, so that the work is bounded)."""
    chosen: list[Site] = []
    for site in sorted(set(sites)):
        if not chosen or site[0] >= chosen[-1][1] + (chosen[-1][0] == chosen[-1][1] == site[0]):
            chosen.append(site)
    chosen = chosen[:_MAX_SITES]
    result: list[Phones] = []
    for take in product((False, True), repeat=len(chosen)):
        said = list(phones)
        for (start, end, new), used in reversed(list(zip(chosen, take, strict=True))):
            if used:
                said[start:end] = new
        result.append(tuple(said))
    return [said for said in result[1:] if not _stuck(said)]


def _stuck(phones: Phones) -> bool:
    """Whether too many vowels fell out: genr-ly, nashn-ly."""
    return any(
        phones[i] in {"N", "R"} and phones[i + 1] == "L" and not _vowel(phones[i - 1])
        for i in range(1, len(phones) - 1)
    )


def variants(word: str, phones: Phones, *, lenient: bool = False) -> list[Phones]:
    """The other ways to say `phones`, itself not included; those of lenient rules only if asked."""
    rules = STRICT + LENIENT if lenient else STRICT
    sites = [site for rule in rules for site in rule(word, phones)]
    return _apply(phones, sites) if sites else []
