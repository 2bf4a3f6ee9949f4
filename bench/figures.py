"""How figures are kept and shown: JSON whole or not at all, numbers short.

Knows no bench. Called by those that keep results of their own, and by readme.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"


def short(figure: float) -> str:
    """Three digits, or all before the point."""
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:.3g}"


def kept(name: str) -> Path:
    """Where the results of a bench lie."""
    return RESULTS / f"{name}.json"


def keep(results: dict[str, Any], name: str) -> None:
    """Write results/NAME.json by a file beside it that is renamed."""
    RESULTS.mkdir(exist_ok=True)
    new = kept(name).with_suffix(".new")
    new.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    new.replace(kept(name))


def read(name: str) -> dict[str, Any] | None:
    """What was kept, or None."""
    if not kept(name).is_file():
        return None
    found: dict[str, Any] = json.loads(kept(name).read_text("utf-8"))
    return found
