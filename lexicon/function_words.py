"""Function words a line of verse should not end on, because their phrase has not begun yet.

Knows two reviewed lists, nothing else. The validator and the lattice read them. Words that often
close a phrase of their own (up, there, not, all, this, you, me, ...) are in neither; "in" is in the
first, since what it closes in verse is nearly always a line that should go on.
"""

from __future__ import annotations

_DANGLING = """
a an the in my your his her our their its whose of at from into onto upon with without within
to toward towards for per via amid amidst among amongst between beneath beside besides
against unlike during despite till until unto and or but nor if because unless although
though while whilst whereas as than lest since that which who whom what when where why how
whether is are was were am be been being has have had having do does did will would shall
should can could may might must i we they he she it's i'm we're they're you're he's she's
that's there's i've we've they've you've i'll we'll they'll you'll he'll she'll i'd we'd
they'd you'd he'd she'd who's what's let's isn't aren't wasn't weren't don't doesn't didn't
won't wouldn't can't couldn't shouldn't hasn't haven't hadn't every no very such quite
"""
DANGLING: frozenset[str] = frozenset(_DANGLING.split())

_LEANING = """
it on by like so about across under each both some any another these those also almost even
just only never
"""
LEANING: frozenset[str] = frozenset(_LEANING.split())


def is_dangling(key: str, *, strict: bool = False) -> bool:
    """Whether a word (lower case, straight apostrophe) leaves its phrase open at a line's end.

    Besides the list: every word in 's, possessive or contracted, since what it belongs to follows.
    strict: nor is a word in order that a sentence may close on ("the water has moved on"), but
    that in verse mostly leans on the next line ("a maple leaf on / the step") (`LEANING`).
    """
    return key in DANGLING or key.endswith("'s") or (strict and key in LEANING)
