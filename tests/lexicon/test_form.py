"""Forms check themselves, and say what to do."""

from __future__ import annotations

import pytest

from constrained_gpt.lexicon import FORMS, HAIKU, LUNE_COLLOM, Form


def test_the_default_is_haiku() -> None:
    assert Form() == HAIKU
    assert HAIKU.lines == (5, 7, 5)
    assert all(FORMS[name].name == name for name in FORMS)


@pytest.mark.parametrize(
    ("given", "cure"),
    [
        ({"lines": ()}, "give one count a line"),
        ({"lines": (5, 0, 5)}, "from 1 to 31"),
        ({"lines": (5, -7, 5)}, "from 1 to 31"),
        ({"lines": (32,)}, "from 1 to 31"),
        ({"lines": (5,) * 99}, "split the poem"),
        ({"kigo": "monsoon"}, "use one of"),
        ({"kigo": frozenset()}, "use 'off'"),
        ({"kigo": frozenset({" "})}, "first snow"),
        ({"kireji": "maybe"}, "use one of"),
        ({"rhyme": "slant"}, "use one of"),
        ({"dangling": "maybe"}, "use one of"),
        ({"unit": "letters"}, "use one of"),
    ],
)
def test_bad_forms_are_refused(given: dict[str, object], cure: str) -> None:
    with pytest.raises(ValueError, match=cure):
        Form(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize("lines", ["575", 5, (5.0, 7, 5), (True, 7, 5), None])
def test_lines_of_a_wrong_type(lines: object) -> None:
    with pytest.raises(TypeError):
        Form(lines=lines)  # type: ignore[arg-type]


def test_forms_are_plain_data() -> None:
    form = Form(lines=[5, 7, 5], kigo={"First  Snow"})  # type: ignore[arg-type]
    assert form.lines == (5, 7, 5)
    assert form.kigo == frozenset({"first snow"})
    assert hash(form) == hash(Form(kigo=frozenset({"first snow"})))
    assert Form.of(3, 5, 3).lines == LUNE_COLLOM.lines
