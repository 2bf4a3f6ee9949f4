"""The text files that come with the corpus: topics, examples, worn phrases, the recipe.

Knows where they lie, not what they mean. Called by `plan` and `select`.
"""

from __future__ import annotations

from importlib import resources


def data(name: str) -> str:
    """The text of a file in `corpus/data`."""
    return (resources.files(__package__) / "data" / name).read_text("utf-8")
