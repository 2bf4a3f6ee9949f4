"""Haiku in prose."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from constrained_gpt.lexicon import TANKA, Form, find_haiku, validate
from constrained_gpt.lexicon.normalize import words

POND = "An old silent pond, a frog jumps into the pond, splash, silence again."
RAIN = "I walk to the shop. The rain begins to fall down—I open my coat."


def test_spans_and_lines() -> None:
    text = f"Ask me no questions. {POND} No.\n\n{RAIN}"
    found = list(find_haiku(text))
    assert [text[f.start : f.end] for f in found] == [POND, RAIN]
    assert found[0].lines == (
        "An old silent pond,", "a frog jumps into the pond,", "splash, silence again."
    )  # fmt: skip
    assert found[1].lines[2] == "I open my coat."
    assert all(validate(f.text, Form(rhyme="off")).valid for f in found)


def test_lines_of_the_source_do_not_matter_but_paragraphs_do() -> None:
    assert len(list(find_haiku(POND.replace(" into", "\ninto")))) == 1
    assert not list(find_haiku(POND.replace(" into", "\n\ninto")))


def test_anywhere_or_whole_sentences() -> None:
    text = "They say that " + POND
    assert not list(find_haiku(text))
    assert POND in {text[f.start : f.end] for f in find_haiku(text, whole=False)}


def test_policies() -> None:
    text = POND.replace("An old silent", "Fire on the")
    text = text.replace("the pond,", "the big pond,", 1).replace("big pond", "pond", 1)
    loose = POND.replace("An old silent pond", "The fire in the pond")
    assert list(find_haiku(loose))
    assert not list(find_haiku(loose, policy="all"))
    assert list(find_haiku(POND, policy="all"))


def test_a_stream_is_read_as_it_comes() -> None:
    read = []

    def lines() -> Iterator[str]:
        for number in range(1000):
            read.append(number)
            yield POND + "\n"

    finder = find_haiku(lines())
    next(finder)
    assert len(read) == 1
    assert sum(1 for _ in finder) == 999


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        (POND.replace("pond, a", "pond — a"), "An old silent pond —", "splash, silence again."),
        (POND.replace("pond, a", "pond  -  a"), "An old silent pond -", "splash, silence again."),
        (
            POND.replace("again.", "again . . . So"),
            "An old silent pond,",
            "splash, silence again . . .",
        ),
        (POND.replace("again.", "again …"), "An old silent pond,", "splash, silence again …"),
        (f"Yes. — {POND} — No.", "An old silent pond,", "splash, silence again."),
        (f"- {POND}", "An old silent pond,", "splash, silence again."),
    ],
)
def test_marks_that_stand_alone(text: str, first: str, last: str) -> None:
    (found,) = find_haiku(text)
    assert (found.lines[0], found.lines[2]) == (first, last)
    assert " ".join(text[found.start : found.end].split()) == " ".join(found.lines)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(["pond", "Frog.", "—", "...", "'", "fire", "日", "at—last", "\n", "  "])
    )
)
def test_the_span_is_the_text_of_the_lines(pieces: list[str]) -> None:
    text = " ".join(pieces)
    for found in find_haiku(text, Form.of(1, 2), whole=False):
        span = text[found.start : found.end]
        assert [w.key for w in words(span)] == [w.key for w in words(found.text)]
        assert validate(found.text, Form(lines=(1, 2), rhyme="off")).valid


def test_a_word_of_a_million_letters() -> None:
    text = f"{'a' * 1_000_000} {'-' * 100_000}\n\n{POND}"
    assert [text[f.start : f.end] for f in find_haiku(text)] == [POND]


def test_titles_end_no_sentence() -> None:
    text = "Dr. Smith is here now. " + POND
    assert [text[f.start : f.end] for f in find_haiku(text)] == [POND]


def test_other_forms() -> None:
    tanka = "The moon."
    assert list(find_haiku(tanka, Form.of(2)))
    assert not list(find_haiku(POND, TANKA))


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: find_haiku(b"pond"), TypeError),
        (lambda: find_haiku(575), TypeError),
        (lambda: find_haiku(POND, "haiku"), TypeError),
        (lambda: find_haiku(POND, policy="first"), ValueError),
        (lambda: find_haiku(POND, Form(unit="words")), ValueError),
    ],
)
def test_bad_arguments(call: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        call()  # type: ignore[operator]


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=200))
def test_any_text_at_all(text: str) -> None:
    for found in find_haiku(text, Form.of(1, 1), whole=False):
        assert 0 <= found.start < found.end <= len(text)
        assert len(found.lines) == 2
