"""The corpus is named by its recipe: resumed equals uninterrupted, topics held out stay out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy

from constrained_gpt import prompts
from constrained_gpt.corpus import plan, teacher, write
from constrained_gpt.decoding import STRATEGIES, Guide, Options
from constrained_gpt.decoding.batch import Batch
from constrained_gpt.lattice import compile
from constrained_gpt.lexicon import HAIKU, Form, validate
from constrained_gpt.lexicon.typography import Typography

RECIPE = plan.Recipe(poems=3, particles=2, teacher_top=4, seed=3)


def test_examples_are_poems() -> None:
    bare = Form(lines=HAIKU.lines, kigo="off", rhyme="identical", dangling="forbidden")
    for topic, poem in plan.examples():
        assert validate(poem, bare, policy="all").valid, (topic, poem)


def test_topics_are_many_and_held_out_ones_apart() -> None:
    given = {topic.text for topic in plan.topics()}
    assert len(given) > 500
    assert len(set(plan.topics())) == len(plan.topics())
    assert len(plan.held_out()) >= 30
    assert not given & set(plan.held_out())
    assert not {topic for topic, _ in plan.examples()} & set(plan.held_out())


def test_jobs_follow_from_recipe_and_number() -> None:
    recipe = plan.Recipe.load()
    jobs = [plan.job(recipe, n) for n in range(300)]
    assert jobs == [plan.job(recipe, n) for n in range(300)]
    assert {job.form.name for job in jobs} == set(recipe.forms)
    for job in jobs:
        kigo = job.form.kigo
        assert kigo == (job.season or "any") if job.form.seasonal else kigo == "off"
        assert job.topic not in plan.held_out()
    usual = np.mean([job.examples is None for job in jobs])
    assert 0.4 < usual < 0.6


def test_bad_recipes_say_the_cure(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="use one of sample, smc"):
        plan.Recipe(strategy="luck")
    with pytest.raises(ValueError, match="forms names 'ode'"):
        plan.Recipe(forms={"ode": 1.0})
    path = tmp_path / "recipe.json"
    for said, cure in (
        (b"{", "is not JSON"),
        (b"\xff", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"model": 5}', "model=5 is not a name"),
        (b'{"forms": 5}', "are no weights"),
        (b'{"forms": {"haiku": "much"}}', "are no weights"),
        (b'{"usual": "seldom"}', "no share"),
        (b'{"teacher_top": 256}', "teacher_top=256 is too many; give at most 255"),
        (b'{"temperature": "hot"}', "not a number"),
    ):
        path.write_bytes(said)
        with pytest.raises(ValueError, match=cure) as caught:
            plan.Recipe.load(path)
        assert str(path) in str(caught.value)
    path.write_text('{"poem": 3}')
    with pytest.raises(ValueError, match="poem: not of a recipe"):
        plan.Recipe.load(path)


@pytest.fixture
def scribe(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Batches that were written, by a stand-in for the teacher."""
    written: list[int] = []

    class Scribe:
        def __init__(self, recipe: plan.Recipe) -> None:
            self.recipe = recipe

        def batch(self, number: int) -> list[dict[str, Any]]:
            written.append(number)
            return [{"text": f"poem {number} {i} é"} for i in range(self.recipe.poems)]

    monkeypatch.setattr(write, "_Scribe", Scribe)
    return written


def test_a_run_cut_off_goes_on(tmp_path: Path, scribe: list[int]) -> None:
    write.write(tmp_path / "whole.jsonl", 4, recipe=RECIPE, part=(1, 2))
    assert scribe == [1, 3, 5, 7]
    whole = (tmp_path / "whole.jsonl").read_bytes()
    cut = tmp_path / "cut.jsonl"
    write.write(cut, 2, recipe=RECIPE, part=(1, 2))
    for torn in (b'{"text": "poem 5 0 \xc3', whole.splitlines(keepends=True)[6]):
        with cut.open("ab") as file:
            file.write(torn)
        done = write.write(cut, 2, recipe=RECIPE, part=(1, 2))
        assert done == {"batches": 2, "poems": 6}
        assert cut.read_bytes() == b"".join(whole.splitlines(keepends=True)[:6])
    scribe.clear()
    write.write(cut, 4, recipe=RECIPE, part=(1, 2))
    assert scribe == [5, 7]
    assert cut.read_bytes() == whole


def test_a_file_never_mixes_recipes(tmp_path: Path, scribe: list[int]) -> None:
    path = tmp_path / "a.jsonl"
    write.write(path, 1, recipe=RECIPE)
    with pytest.raises(ValueError, match="another recipe or part"):
        write.write(path, 2, recipe=RECIPE, part=(0, 2))
    with pytest.raises(ValueError, match="part 2/2 does not exist; give one from 0/2 to 1/2"):
        write.write(path, 2, recipe=RECIPE, part=(2, 2))
    with pytest.raises(ValueError, match="part 0/0 is of no parts; give 0/1 for all"):
        write.write(path, 2, recipe=RECIPE, part=(0, 0))
    with path.open("ab") as file:
        write._hold(file, path)
        with pytest.raises(ValueError, match="another process is writing"):
            write.write(path, 2, recipe=RECIPE)
    beside = tmp_path / "a.jsonl.recipe.json"
    beside.write_text("{")  # nobody knows which recipe it was
    with pytest.raises(ValueError, match="another recipe or part"):
        write.write(path, 2, recipe=RECIPE)
    path.unlink()  # nothing to mix with: as after a run that failed before its first poem
    assert write.write(path, 1, recipe=RECIPE)["batches"] == 1
    with pytest.raises(ValueError, match="is a folder"):
        write.write(tmp_path, 1, recipe=RECIPE)
    with pytest.raises(ValueError, match="how many"):
        write.write(path, -1, recipe=RECIPE)
    (tmp_path / "b.jsonl").write_text("")
    with pytest.raises(ValueError, match="without its recipe"):
        write.write(tmp_path / "b.jsonl", 2, recipe=RECIPE)


def test_who_is_refused_changes_nothing(
    tmp_path: Path, scribe: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, beside = tmp_path / "x.jsonl", tmp_path / "x.jsonl.recipe.json"
    write.write(path, 0, recipe=RECIPE, part=(0, 2))  # begun, and no batch on disk yet
    first = beside.read_bytes()
    with path.open("ab") as file:
        write._hold(file, path)
        with pytest.raises(ValueError, match="another process is writing"):
            write.write(path, 1, recipe=RECIPE, part=(1, 2))
        assert beside.read_bytes() == first
        path.unlink()
    with path.open("ab") as file:
        path.unlink()  # by one who held it, and failed
        with pytest.raises(ValueError, match="another process is writing"):
            write._hold(file, path)

    def no_weights(recipe: plan.Recipe) -> None:
        raise ValueError("no weights")

    monkeypatch.setattr(write, "_Scribe", no_weights)
    for new in ("y.jsonl", "z.jsonl"):
        if new == "z.jsonl":  # where the recipe cannot go
            (tmp_path / "z.jsonl.recipe.json.tmp").mkdir()
        with pytest.raises((ValueError, OSError)):
            write.write(tmp_path / new, 1, recipe=RECIPE)
        assert not (tmp_path / new).exists()


@pytest.mark.parametrize("sees", [False, True])
def test_the_teachers_thoughts_are_its_own(sees: bool) -> None:
    """The record of each step is the model's distribution over the allowed tokens, to rounding;
    with foresight, the one that a decoder with look-ahead draws from."""
    tokenizer = toy.ToyTokenizer()
    engine = toy.ToyEngine(tokenizer, spread=0.5)
    form = Form(lines=(1, 2), kigo="any", rhyme="identical")
    lattice = compile(
        form, toy.lexicon(), tokenizer, use_cache=False,
        typography=Typography(marks=toy.MARKS[2:], capitals="lower"),
    )  # fmt: skip
    prompt = [7, 7]
    guide = Guide.blank(lattice)
    guide.table[:] = np.random.default_rng(5).normal(size=guide.table.shape)
    foresight = guide.ahead if sees else None
    recorder = teacher.Recorder(engine, 200)
    generators = [np.random.default_rng([4, i]) for i in range(5)]
    options = Options(lookahead=sees)
    for path in STRATEGIES["smc"](recorder, lattice, prompt, generators, options, guide=guide):
        thoughts = recorder.along(lattice, path.tokens, foresight)
        again = teacher.unpack(teacher.pack(thoughts))
        assert len(again) == len(path.tokens)
        batch = Batch(engine, lattice, prompt, 1, guide=guide)
        for token, thought, packed in zip(path.tokens, thoughts, again, strict=True):
            allowed, ahead = batch.candidates(0, options)
            logits = batch.logits_of(0)[allowed].astype(np.float64) + ahead
            wanted = logits - np.log(np.exp(logits).sum())
            assert set(thought.ids.tolist()) == set(allowed.tolist())
            by_id = dict(zip(allowed.tolist(), wanted.tolist(), strict=True))
            assert thought.log_p == pytest.approx(
                [by_id[i] for i in thought.ids.tolist()], abs=1e-4
            )
            assert packed.ids.tolist() == thought.ids.tolist()
            assert packed.log_p == pytest.approx(thought.log_p, abs=1 / 32 + 1e-6)
            if not batch.push(np.array([token]))[0]:
                batch.read()


def test_a_page_of_ones_own() -> None:
    tokenizer = toy.ToyTokenizer()
    tokenizer.chat = None  # type: ignore[attr-defined]
    own = prompts.build(tokenizer, "rain", HAIKU, page=[("a door", "snow")])  # type: ignore[arg-type]
    assert tokenizer.decode(own.ids) == "Haiku about a door:\nsnow\n\nHaiku about rain:\n"


def test_rows_are_json_of_valid_poems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = toy.ToyTokenizer()
    tokenizer.chat = None  # type: ignore[attr-defined]
    engine = toy.ToyEngine(tokenizer)
    form = Form(lines=(1, 2), kigo="off", seasonal=False)
    monkeypatch.setattr(write.Engine, "from_pretrained", lambda *_, **__: engine)
    monkeypatch.setattr(write.Lexicon, "default", toy.lexicon)
    monkeypatch.setattr(
        plan, "job", lambda recipe, number: plan.Job(number, "rain", None, form, None)
    )
    out = tmp_path / "rows.jsonl"
    write.write(out, 2, recipe=RECIPE)
    rows = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert [row["batch"] for row in rows] == [0, 0, 0, 1, 1, 1]
    for row in rows:
        assert validate(row["text"], form, policy="all", lexicon=toy.lexicon()).valid
        assert row["log_p"] < 0 and row["log_mass"] <= 0
        assert len(teacher.unpack(row["teacher"])) == row["tokens"]
        assert (row["taught_by"], row["taught_end"]) == (RECIPE.model, tokenizer.encode("\n")[0])


def test_a_teacher_is_asked_in_its_own_way_and_sees_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = toy.ToyTokenizer()
    engine = toy.ToyEngine(tokenizer)
    engine.prompt_style = prompts.TAGS  # type: ignore[attr-defined]
    form = Form(lines=(1, 2), kigo="off", seasonal=False)
    monkeypatch.setattr(write.Engine, "from_pretrained", lambda *_, **__: engine)
    monkeypatch.setattr(write.Lexicon, "default", toy.lexicon)
    monkeypatch.setattr(
        plan, "job", lambda recipe, number: plan.Job(number, "rain", None, form, None)
    )
    asked, records = [], []
    build, along = prompts.build, teacher.Recorder.along

    def watched_build(*args: Any, **named: Any) -> prompts.Prompt:
        asked.append(args[3])
        found: prompts.Prompt = build(tokenizer, "rain", form, "page")  # type: ignore[arg-type]
        return found

    def watched_along(self: Any, lattice: Any, tokens: Any, foresight: Any = None) -> Any:
        found = along(self, lattice, tokens, foresight)
        wanted = along(self, lattice, tokens, Guide.blank(lattice).ahead)
        records.append((found, wanted, along(self, lattice, tokens)))
        return found

    monkeypatch.setattr(prompts, "build", watched_build)
    monkeypatch.setattr(teacher.Recorder, "along", watched_along)
    write.write(tmp_path / "rows.jsonl", 1, recipe=RECIPE)
    assert asked == [prompts.TAGS]
    assert len(records) == RECIPE.poems
    for found, wanted, _ in records:
        for a, b in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(a.ids, b.ids)
            np.testing.assert_array_equal(a.log_p, b.log_p)
    assert any(  # it makes a difference, so the test can tell
        not np.array_equal(a.log_p, b.log_p)
        for found, _, bare in records
        for a, b in zip(found, bare, strict=True)
    )
