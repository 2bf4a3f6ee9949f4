"""Language models that write verse which is right by construction.

Everything public can be imported from here. Nothing is loaded before it is asked for (PEP 562), so
that `import constrained_gpt.lexicon` costs milliseconds and never loads torch.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from .checkpoint import CheckpointError as CheckpointError
    from .decoding.score import WordScore as WordScore
    from .decoding.score import cliche_score as cliche_score
    from .engine import Engine as Engine
    from .evaluation import evaluate_poems as evaluate_poems
    from .generate import generate as generate
    from .generate import iterate as iterate
    from .generate import stream as stream
    from .haiku import Haiku as Haiku
    from .haiku import form_probability as form_probability
    from .lexicon import CINQUAIN as CINQUAIN
    from .lexicon import HAIKU as HAIKU
    from .lexicon import LUNE as LUNE
    from .lexicon import SEASONS as SEASONS
    from .lexicon import SENRYU as SENRYU
    from .lexicon import TANKA as TANKA
    from .lexicon import Form as Form
    from .lexicon import Lexicon as Lexicon
    from .lexicon import Report as Report
    from .lexicon import Saijiki as Saijiki
    from .lexicon import find_cuts as find_cuts
    from .lexicon import find_kigo as find_kigo
    from .lexicon import readings as readings
    from .lexicon import rhymes as rhymes
    from .lexicon import syllables as syllables
    from .lexicon import validate as validate
    from .tokenizer import Tokenizer as Tokenizer

    from_pretrained = Engine.from_pretrained

# public name -> (module, attribute inside it)
_HOME: dict[str, tuple[str, str]] = {
    "generate": (".generate", "generate"),
    "iterate": (".generate", "iterate"),
    "stream": (".generate", "stream"),
    "Haiku": (".haiku", "Haiku"),
    "form_probability": (".haiku", "form_probability"),
    "WordScore": (".decoding.score", "WordScore"),
    "cliche_score": (".decoding.score", "cliche_score"),
    "Engine": (".engine", "Engine"),
    "from_pretrained": (".engine", "Engine.from_pretrained"),
    "evaluate_poems": (".evaluation", "evaluate_poems"),
    "CheckpointError": (".checkpoint", "CheckpointError"),
    "Tokenizer": (".tokenizer", "Tokenizer"),
    **{
        name: (".lexicon", name)
        for name in (
            "CINQUAIN", "HAIKU", "LUNE", "SEASONS", "SENRYU", "TANKA",
            "Form", "Lexicon", "Report", "Saijiki",
            "find_cuts", "find_kigo", "readings", "rhymes", "syllables", "validate",
        )
    },
}  # fmt: skip

__all__ = ["__version__", *sorted(_HOME)]


def __getattr__(name: str) -> Any:
    try:
        module, path = _HOME[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    value: Any = import_module(module, __name__)
    for part in path.split("."):
        value = getattr(value, part)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """`constrained_gpt.generate` is the function, even after its file was imported."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
