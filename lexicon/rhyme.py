"""Rhyme: which sounds a word ends with, and whether two words rhyme.

Knows pronunciations, no lines and no poems. A rhyme part runs from the last stressed vowel to the
end; the onset is what stands right before it. The validator and the lattice call it.
"""

from __future__ import annotations

from collections.abc import Iterable

from .pronunciations import Phones

Sound = tuple[str, str]


def sound_of(phones: Phones) -> Sound | None:
    """(rhyme part, onset) of one pronunciation; None if it has no vowel."""
    vowel = -1
    for place, phone in enumerate(phones):
        if phone[-1] in "12":
            vowel = place
    if vowel < 0:
        for place, phone in enumerate(phones):
            if phone[-1] == "0":
                vowel = place
    if vowel < 0:
        return None
    start = vowel
    while start > 0 and not phones[start - 1][-1].isdigit():
        start -= 1
    part = " ".join(phone.rstrip("012") for phone in phones[vowel:])
    return part, " ".join(phones[start:vowel])


def sounds_of(pronunciations: Iterable[Phones]) -> tuple[Sound, ...]:
    """The distinct sounds of several pronunciations, in their order."""
    found: dict[Sound, None] = {}
    for phones in pronunciations:
        sound = sound_of(phones)
        if sound is not None:
            found[sound] = None
    return tuple(found)


def sounds(word: str) -> tuple[Sound, ...]:
    """(rhyme part, onset) for each distinct reading of a written word; () if none is known."""
    from .syllables import readings

    return sounds_of(r.phones for r in readings(word) if r.phones)


def compare(a: Iterable[Sound], b: Iterable[Sound]) -> str | None:
    """The closest rhyme that some readings give: "perfect", else "identical", else None.

    Both share the rhyme part; in a perfect rhyme what stands before it differs (light, night).
    """
    kind = None
    others = tuple(b)
    for part, onset in a:
        for other_part, other_onset in others:
            if part == other_part:
                if onset != other_onset:
                    return "perfect"
                kind = "identical"
    return kind


def rhymes(a: str, b: str) -> str | None:
    """How two written words rhyme: "perfect", "identical" (same sound throughout) or None.

    >>> rhymes("light", "night"), rhymes("sea", "see"), rhymes("frog", "pond")
    ('perfect', 'identical', None)
    """
    return compare(sounds(a), sounds(b))
