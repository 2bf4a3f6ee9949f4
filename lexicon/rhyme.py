"""Rhyme: which sounds a word ends with, and whether two words rhyme.

Knows pronunciations, no lines and no poems. A rhyme part runs from the last stressed vowel to the
end; the onset is what stands right before it. The validator and the lattice call it.

perfect    the rhyme parts agree and the onsets differ: light / night
identical  onsets agree too, "rime riche": sea / see, light / delight
near       slant rhyme, of three kinds:
           consonance, all consonants from the last stressed vowel on agree and that vowel differs,
           as in Owen and Dickinson: moon / stone, soul / all (Princeton Encyclopedia of Poetry and
           Poetics, "Near rhyme");
           family rhyme, the vowels agree and each consonant has one of its family in its place:
           mud / truck, home / stone (Pattison, Essential Guide to Rhyming);
           light rhyme, the last syllables agree but only one of them is stressed: sea / memory
           (Turco, The Book of Forms, "Light rhyme").
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


# Consonants standing for one another in family rhyme: plosives; fricatives and affricates; nasals.
_FAMILIES = ("B D G P T K", "V DH Z ZH JH F TH S SH CH", "M N NG")
_FAMILY = {phone: number for number, names in enumerate(_FAMILIES) for phone in names.split()}
_VOWEL = frozenset("AEIOU")


def _alike(a: str, b: str) -> bool:
    """Whether two phones of a rhyme part are one, or consonants of one family."""
    return a == b or (a in _FAMILY and _FAMILY[a] == _FAMILY.get(b))


def _near(a: str, b: str) -> bool:
    """Whether two different rhyme parts make a slant rhyme."""
    one, two = a.split(), b.split()
    if len(one) == len(two):
        if one[0] != two[0] and one[1:] == two[1:]:  # consonance needs a consonant
            return len(one) > 1
        if one[0] == two[0] and len(one) > 1 and all(map(_alike, one, two)):
            return True
    if len(one) > len(two):
        one, two = two, one
    weak = two[-len(one) :] == one and len(one) < len(two)
    return weak and sum(phone[0] in _VOWEL for phone in one) == 1


def near(a: Iterable[Sound], b: Iterable[Sound]) -> bool:
    """Whether some readings make a slant rhyme; what rhymes fully is not asked for here."""
    others = tuple(b)
    return any(_near(part, other) for part, _ in a for other, _ in others)


def rhymes(a: str, b: str) -> str | None:
    """How two written words rhyme: "perfect", "identical" (same sound throughout), "near" or None.

    >>> rhymes("light", "night"), rhymes("sea", "see"), rhymes("moon", "stone")
    ('perfect', 'identical', 'near')
    """
    one, two = sounds(a), sounds(b)
    return compare(one, two) or ("near" if near(one, two) else None)
