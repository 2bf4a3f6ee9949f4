"""The text files that come with the corpus: topics, examples, worn phrases, the recipe.

Knows where they lie, and what a number in one is, not what they mean. Called by `plan`, `select`.
"""

from __future__ import annotations

import math
from importlib import resources


def data(name: str) -> str:
    """The text of a file in `corpus/data`."""
    return (resources.files(__package__) / "data" / name).read_text("utf-8")


def is_number(value: object) -> bool:
    """Is what a file of JSON holds a finite number, and no truth value?"""
    if isinstance(value, int):
        return not isinstance(value, bool) and abs(value) < 1 << 1000  # more is no float
    return isinstance(value, float) and math.isfinite(value)
