"""Words: pronunciations, syllables, kigo, forms and the validator. No torch, no tokens."""

from __future__ import annotations

from .finder import Found, find_haiku
from .form import (
    CINQUAIN,
    FORMS,
    FREE,
    HAIKU,
    HAIKU_353,
    KATAUTA,
    LUNE,
    LUNE_COLLOM,
    LUNE_COLLUM,
    SEASONS,
    SEDOKA,
    SENRYU,
    TANKA,
    Form,
)
from .function_words import DANGLING, LEANING
from .kigo import Kigo, Saijiki, find_kigo
from .kireji import MARKS, Cut, find_cuts
from .report import Report, report_schema
from .rhyme import rhymes, sounds
from .syllables import Reading, estimate, readings, syllables
from .user_words import UserWords
from .validator import validate
from .vocabulary import Lexicon

__all__ = [
    "CINQUAIN",
    "DANGLING",
    "FORMS",
    "FREE",
    "HAIKU",
    "HAIKU_353",
    "KATAUTA",
    "LEANING",
    "LUNE",
    "LUNE_COLLOM",
    "LUNE_COLLUM",
    "MARKS",
    "SEASONS",
    "SEDOKA",
    "SENRYU",
    "TANKA",
    "Cut",
    "Form",
    "Found",
    "Kigo",
    "Lexicon",
    "Reading",
    "Report",
    "Saijiki",
    "UserWords",
    "estimate",
    "find_cuts",
    "find_haiku",
    "find_kigo",
    "readings",
    "report_schema",
    "rhymes",
    "sounds",
    "syllables",
    "validate",
]
