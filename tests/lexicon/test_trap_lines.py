"""Lines of verse made to trap a counter, written and judged by a language model.

It had seen neither the code nor our counts; 196 were decided right on the first run, and the counter
was mended by the others.
"""

from __future__ import annotations

from pathlib import Path

from constrained_gpt.lexicon import Form, validate

TABLE = Path(__file__).with_name("trap_lines.tsv")


def rows() -> list[tuple[str, int, bool]]:
    """(line, target, whether a fair reader lets it pass)."""
    _, *lines = TABLE.read_text(encoding="utf-8").splitlines()
    cells = [line.split("\t") for line in lines]
    return [(line, int(target), verdict == "yes") for line, target, verdict in cells]


def wrong() -> list[tuple[str, int, bool]]:
    return [row for row in rows() if validate(row[0], Form(lines=(row[1],))).valid != row[2]]


def test_both_verdicts_occur() -> None:
    passed = sum(verdict for _, _, verdict in rows())
    assert len(rows()) == 200
    assert 80 <= passed <= 120


def test_nearly_all_lines_are_decided_as_a_reader_does() -> None:
    assert len(wrong()) <= 0.02 * len(rows()), wrong()


if __name__ == "__main__":
    for row in wrong():
        print(*row, sep="\t")
    print(f"{len(rows()) - len(wrong())} of {len(rows())} right")
