"""evaluate_poems(): totals by hand, equal samples, references, JSON, table and picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import toy
from hypothesis import given, settings
from hypothesis import strategies as st

from constrained_gpt.evaluation import Entry, Evaluation, PoemSet, eval_schema, evaluate_poems
from constrained_gpt.evaluation.measures import MEASURES

SCHEMA = json.loads(eval_schema())
POND = "An old silent pond\nA frog jumps into the pond\nSplash! Silence again"
RAIN = "the rain and the rain\nfalls on the roof of the\nhouse of rain tonight"
NIGHT = "Winter's cold moonlight\na dog barks — then nothing;\nwe sleep through the night"


class ChattyTokenizer(toy.ToyTokenizer):
    chat = None

    def encode_special(self, text: str) -> list[int]:
        return self.encode(text)


def engine(positions: int = 4096) -> Any:
    made = toy.ToyEngine(ChattyTokenizer())
    made.max_positions = positions
    return made


def values(found: Evaluation, place: int = 0) -> dict[str, float | None]:
    return {n: None if t is None else t.value for n, t in found.sets[place].totals.items()}


def valid(found: Evaluation) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    jsonschema.validate(record, SCHEMA, jsonschema.Draft202012Validator)
    return record


def test_totals_by_hand() -> None:
    """Counted with a pencil: 41 words, 9 lines, 24 content words in the three poems."""
    found = evaluate_poems(
        {"all": [POND, RAIN, NIGHT]}, judge=None, reference=["the old pond\na frog jumps in"]
    )
    own = values(found)
    assert own["function_word_ends"] == 1 / 9
    assert own["articles"] == 9 / 41
    assert own["repeated_words"] == 3 / 24
    assert own["repeated_lines"] == 0
    assert own["kigo"] == 2 / 3  # frog; Winter's cold moonlight
    assert own["cut"] == 2 / 3
    assert own["rhyme"] == 2 / 3
    assert own["copied_words"] == (4 + 1 + 1) / 3  # pond / a frog jumps; the; a
    # an old silent pond a frog jumps into the splash again (11) + rain and falls on roof of house
    # tonight (8) + winter's cold moonlight dog barks then nothing we sleep through night (11)
    assert own["distinct_1"] == pytest.approx(31 / 41)
    assert own["shared_lines"] == 0
    assert own["log_p_per_token"] is own["form_loss_per_line"] is None
    assert valid(found)["sets"][0]["most_copied"] == 1


def test_log_p_of_the_set_is_over_its_tokens() -> None:
    read: list[tuple[int, int]] = []
    found = evaluate_poems(
        {"one": [POND, RAIN], "two": [NIGHT]},
        judge=engine(),
        progress=lambda done, total: read.append((done, total)),
    )
    one = found.sets[0].poems
    assert all(p.log_p is not None and p.log_p < 0 and p.tokens > 20 for p in one)
    total = sum(p.log_p or 0 for p in one)
    assert values(found)["log_p_per_poem"] == pytest.approx(total / 2)
    assert values(found)["log_p_per_token"] == pytest.approx(total / sum(p.tokens for p in one))
    assert read == sorted(read)
    assert read[-1] == (3, 3)
    assert "asked for a haiku about 'anything'" in str(found)
    assert valid(found)["settings"]["judge"] == "toy"


def test_prompts_of_their_own_only_if_asked_for() -> None:
    poems = [{"text": POND, "prompt": "rain"}, {"text": POND}]
    neutral = evaluate_poems({"a": poems}, judge=engine()).sets[0].poems
    assert neutral[0].log_p == neutral[1].log_p
    own = evaluate_poems({"a": poems}, judge=engine(), own_prompts=True).sets[0].poems
    assert own[1].log_p == neutral[1].log_p
    assert own[0].log_p != neutral[0].log_p
    rain = evaluate_poems({"a": poems}, judge=engine(), topic="rain").sets[0].poems
    assert rain[0].log_p == rain[1].log_p == own[0].log_p


def test_poems_too_long_for_the_judge_are_counted_and_left_out() -> None:
    from constrained_gpt.evaluation.judge import script

    one = script(engine(), POND, "anything")
    assert one is not None
    found = evaluate_poems(
        {"a": [POND, POND + "\nand more", POND]}, judge=engine(len(one.prompt) + len(one.path))
    )
    assert found.sets[0].unread == 1
    total = found.sets[0].totals["log_p_per_token"]
    assert total is not None
    assert total.poems == 2
    assert "a: 1 poems are too long for the judge" in str(found)
    valid(found)


def test_form_loss_of_their_own_and_who_has_none() -> None:
    poems = [{"text": POND, "line_log_mass": [-1.0, -2.0, -3.0]}, RAIN, {"text": NIGHT}]
    found = evaluate_poems(
        {"a": [*poems, {"text": NIGHT, "line_log_mass": [-1, -1.5]}]}, judge=None
    )
    assert values(found)["form_loss_per_line"] == pytest.approx((6 + 2.5) / (3 + 2))
    assert found.sets[0].form_loss_lines == [1.0, 2.0, 3.0]  # the other's first line was given
    assert "form loss of 2 poems, by line 1.00 / 2.00 / 3.00; 2 carry none" in str(found)
    assert valid(found)["sets"][0]["per_poem"][1]["form_loss"] is None


def test_diversity_is_measured_on_equally_many_poems() -> None:
    rng = np.random.default_rng(0)
    many = [" ".join(rng.choice(["old", "new", "snow", "rain", "sea"], 6)) for _ in range(60)]
    found = evaluate_poems({"many": many, "few": many[:20]}, judge=None)
    assert [one.sample for one in found.sets] == [20, 20]
    assert sum(p.bleu is not None for p in found.sets[0].poems) == 20
    assert "on 20 poems of each set" in str(found)
    assert found == evaluate_poems({"many": many, "few": many[:20]}, judge=None)
    larger = evaluate_poems({"many": many, "few": many[:20]}, judge=None, sample=40)
    assert [one.sample for one in larger.sets] == [40, 20]
    a, b = values(larger)["distinct_2"], values(found)["distinct_2"]
    assert a is not None
    assert b is not None
    assert a < b  # more poems, fewer words that are new
    (alone,) = evaluate_poems({"one": many[:1]}, judge=None).sets
    assert alone.totals["self_bleu"] is None


def test_a_set_of_the_references_own_file_is_compared_with_the_others(tmp_path: Path) -> None:
    file = str(tmp_path / "poems.txt")
    entries = [Entry(POND), Entry(RAIN), Entry("old silent pond")]
    reference = PoemSet("reference", entries, file)
    found = evaluate_poems(
        [PoemSet("own", entries, str(tmp_path / "." / "poems.txt")), PoemSet("other", entries)],
        judge=None, reference=reference,
    )  # fmt: skip
    copied = [[p.copied.length for p in one.poems if p.copied] for one in found.sets]
    assert copied == [[3, 1, 3], [13, 15, 3]]


texts = st.text(alphabet="aeo nrs'-—.!\n", max_size=40).filter(lambda t: any(map(str.isalnum, t)))


@settings(deadline=None, max_examples=40)
@given(st.lists(texts, min_size=1, max_size=4), st.booleans(), st.booleans())
def test_any_poems_are_reported_as_the_schema_says(
    poems: list[str], judged: bool, reference: bool
) -> None:
    found = evaluate_poems(
        {"a": poems, "b": poems[:1]},
        judge=engine() if judged else None,
        reference=poems if reference else None,
    )
    valid(found)
    assert str(found)
    assert len(list(found.per_poem())) == len(poems) + 1


def test_the_schema_knows_every_measure_and_nothing_else() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    record = valid(evaluate_poems({"a": [POND]}, judge=None))
    assert list(record["sets"][0]["totals"]) == [m.name for m in MEASURES]
    assert record["schema"] == 1
    for spoil in (
        lambda r: r.update(surprise=1),
        lambda r: r["sets"][0]["totals"].update(surprise=None),
        lambda r: r["sets"][0]["per_poem"][0].pop("kigo"),
        lambda r: r["settings"].update(seed="0"),
        lambda r: r.update(schema=2),
    ):
        bad = json.loads(json.dumps(record))
        spoil(bad)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(bad, SCHEMA, jsonschema.Draft202012Validator)


def test_table_and_paragraphs() -> None:
    found = evaluate_poems({"mine": [POND, RAIN], "yours": [NIGHT]}, judge=None, reference=[POND])
    lines = str(found).splitlines()
    assert lines[0].split() == ["mine", "yours"]
    assert lines[1].split() == ["poems", "2", "1"]
    ends = next(line for line in lines if line.startswith("lines ending on a function word"))
    assert ends.split()[6] == "16.7%"  # 1 of 6
    assert not any(line.startswith(("log p", "form loss")) for line in lines)
    assert any("mine: most copied, 13 words" in line for line in lines)
    first, second, third = found.per_poem()
    assert first.startswith("mine 1: An old silent pond / A frog")
    assert "kigo frog; cut !; rhyme pond / pond" in first
    assert "1 lines end on a function word; again: rain, rain" in second
    assert third.startswith("yours 1: ")


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"sets": {}}, ValueError, "no sets; give at least one"),
        ({"sets": {"a": []}}, ValueError, "'a' holds no poems"),
        ({"sets": {"a": POND}}, TypeError, "is one str; give a list"),
        ({"sets": {"a": [3]}}, TypeError, "a poem is a str"),
        ({"sets": [POND]}, TypeError, "a mapping of names to poems"),
        ({"sample": 0}, ValueError, "sample=0 is too small"),
        ({"sample": "x"}, TypeError, "not a whole number"),
        ({"seed": -1}, ValueError, "seed=-1"),
        ({"topic": "rain"}, ValueError, "topic needs a judge"),
        ({"own_prompts": True}, ValueError, "own_prompts needs a judge"),
        ({"judge": 3}, TypeError, "judge is a name"),
        ({"judge": "toy", "topic": " "}, ValueError, "prompt is empty"),
        ({"reference": []}, ValueError, "reference holds no poems"),
    ],
)
def test_refusals_say_what_to_do(
    options: dict[str, Any], error: type[Exception], said: str
) -> None:
    if options.get("judge") == "toy":
        options = {**options, "judge": engine()}
    with pytest.raises(error, match=said):
        evaluate_poems(**{"sets": {"a": [POND]}, "judge": None, **options})


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_the_plot_has_a_panel_for_each_measure_taken(suffix: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from constrained_gpt.evaluation.plot import plot

    found = evaluate_poems({"mine": [POND, RAIN], "yours": [NIGHT, RAIN]}, judge=engine())
    target = tmp_path / f"out{suffix}"
    plot(found, target)
    data = target.read_bytes()
    assert data.startswith({".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}[suffix])
    if suffix == ".svg":
        text = data.decode()
        taken = [m for m in MEASURES if found.sets[0].totals[m.name]]
        assert len(taken) == 14
        assert text.count('id="axes_') >= len(taken) + 1  # and one of all poems' log p
        assert all(f"<!-- {m.label} -->" in text for m in taken)
        assert text.count("<!-- yours -->") == len(taken) + 1


def test_what_no_picture_can_be_drawn_into(tmp_path: Path) -> None:
    from constrained_gpt.evaluation.plot import check_target

    with pytest.raises(ValueError, match=r"end it on \.png"):
        check_target(tmp_path / "out.txt")
    with pytest.raises(ValueError, match="does not exist"):
        check_target(tmp_path / "nowhere" / "out.png")
