"""The text files that come with the corpus: topics, examples, worn phrases, the recipe.

Knows where they lie, and what a number in one is; not what they mean. Called by `plan` and `select`.
"""

from __future__ import annotations

import math
from importlib import resources


def data(name: str) -> str:
    """The text of a file in `corpus/data`."""
    return (resources.files(__package__) / "data" / name).read_text("utf-8")


def is_number(value: object) -> bool:
    """Is what a file of JSON holds a finite number, and no truth value?"""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
