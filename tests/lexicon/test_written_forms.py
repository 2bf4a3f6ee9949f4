"""The table of written forms: elisions, figures, initials, accents, families of words."""

from __future__ import annotations

from pathlib import Path

import pytest

from constrained_gpt.lexicon import syllables

TABLE = Path(__file__).with_name("written_forms.txt")


def rows() -> list[tuple[str, str, frozenset[int], frozenset[int]]]:
    """(category, form, counts that must be found, counts that must not)."""
    found, category = [], ""
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        if line.startswith("[") and line.endswith("]"):
            category = line[1:-1]
        elif line and not line.startswith("# "):
            form, *cells = line.split()
            wanted = frozenset(int(c) for c in cells if not c.startswith("!"))
            barred = frozenset(int(c[1:]) for c in cells if c.startswith("!"))
            found.append((category, form, wanted, barred))
    return found


def wrong() -> list[tuple[str, str, list[int]]]:
    """The rows that do not come out right."""
    return [
        (category, form, sorted(syllables(form)))
        for category, form, wanted, barred in rows()
        if not wanted <= syllables(form) or barred & syllables(form)
    ]


def test_table_is_large_and_varied() -> None:
    assert len(rows()) >= 400
    assert len({category for category, *_ in rows()}) >= 15


def test_nearly_all_forms_come_out_right() -> None:
    bad = wrong()
    assert len(bad) <= 0.02 * len(rows()), bad


@pytest.mark.parametrize("category", sorted({category for category, *_ in rows()}))
def test_no_category_is_left_behind(category: str) -> None:
    own = [row for row in rows() if row[0] == category]
    bad = [row for row in wrong() if row[0] == category]
    assert len(bad) <= max(1, len(own) // 10), bad


if __name__ == "__main__":
    for row in wrong():
        print(*row)
    print(f"{len(rows()) - len(wrong())} of {len(rows())} right")
