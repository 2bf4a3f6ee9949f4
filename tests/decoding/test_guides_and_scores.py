"""Guides laid out for lattices, scores on texts, the diverse beam; all on the toy world."""

from __future__ import annotations

from pathlib import Path

import exactness as world
import numpy as np
import pytest

from constrained_gpt import form_probability
from constrained_gpt import lookahead as lookaheads
from constrained_gpt.decoding import Guide, Options, Scorer, WordScore, beam, cliche_score
from constrained_gpt.kernels import mask as km
from constrained_gpt.lookahead import Lookahead, store


@pytest.fixture(scope="module")
def learned() -> Lookahead:
    return world.learned()


def test_syllables_left_are_those_of_the_lattice() -> None:
    """`Lattice.left` against the budget, a word just written taken off it by the slow kernel."""
    lattice = world.lattice()
    rng = np.random.default_rng(3)
    for _ in range(60):
        row = lattice.start()
        while not lattice.finished(row)[0]:
            node = int(row[0, km.NODE])
            budget = int(row[0, km.BUDGET])
            if node > km.MID_ROOT and lattice._tables.unit[node] >= 0:
                after = row[0].copy()
                km.commit_unit(lattice._tables, after, int(lattice._tables.unit[node]))
                budget = int(after[km.BUDGET])
            assert lattice.left(row)[0] == max(budget.bit_length() - 1, 0)
            lattice.advance(row, rng.choice(lattice.allowed(row[0]), 1))
        assert lattice.left(row)[0] == 0


def test_openings_say_what_the_trie_says() -> None:
    lattice = world.lattice()
    openings, decode = lattice.openings, world.TOKENIZER.decode
    texts = [decode([token]) for token in lattice.order.tolist()]
    snow = texts.index(" snow")
    assert openings.exists[:, snow].tolist() == [False, True]
    assert openings.syllables[1, texts.index(" winter")] == 2
    assert openings.mark[1, texts.index("\n")] and not openings.mark[1, snow]
    tables = lattice._tables
    for where, root in enumerate((km.LINE_ROOT, km.MID_ROOT)):
        first = int(tables.first[root])
        for child in range(first, first + int(tables.count[root])):
            place = lattice.order.tolist().index(int(tables.token[child]))
            assert openings.longer[where, place] == (tables.count[child] > 0)
            assert openings.exists[where, place]
        assert openings.exists[where].sum() == tables.count[root]
    a = texts.index(" a")
    assert openings.closes[1, a]  # this form forbids no function word


def test_a_table_survives_its_file(learned: Lookahead, tmp_path: Path) -> None:
    again = Lookahead.from_arrays(learned.arrays())
    known = np.maximum(learned.value, -12.7)
    assert np.abs(again.value - known).max() < 0.06
    lattice = world.lattice()
    np.testing.assert_allclose(again.guide(lattice).table, learned.guide(lattice).table, atol=0.15)


def test_a_guide_of_another_lattice_is_refused(learned: Lookahead) -> None:
    guide = learned.guide(world.lattice())
    with pytest.raises(ValueError, match="make it for this lattice"):
        Guide(world.lattice(), guide.table[:, :-1])


def test_a_table_belongs_to_its_weights(
    learned: Lookahead, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never used silently for other weights or another vocabulary."""
    monkeypatch.setenv("CONSTRAINED_GPT_CACHE", str(tmp_path))
    monkeypatch.setattr(store, "SHIPPED", tmp_path / "shipped")
    store._find.cache_clear()

    class Weights:
        tokenizer = world.TOKENIZER
        content_hash: str | None = "one"

    one, other, unknown = Weights(), Weights(), Weights()
    other.content_hash, unknown.content_hash = "other", None
    assert lookaheads.find(one) is None
    lookaheads.save(one, learned, tmp_path / "shipped")
    store._find.cache_clear()
    assert lookaheads.find(one) is not None
    assert lookaheads.find(other) is None and lookaheads.find(unknown) is None
    with pytest.raises(ValueError, match="load it with from_pretrained"):
        lookaheads.save(unknown, learned, tmp_path)
    store._find.cache_clear()


def test_word_scores() -> None:
    score = WordScore({"Moon": -2.0, "old pond": 1.5}, repetition=-1.0)
    assert score("the moon\nunder a moon") == -2 - 2 - 1  # said again on a later line
    assert score("an old pond, an old\npond") == 3.0 - 1.0  # a phrase may run over a line
    assert WordScore()("anything") == 0.0
    most = Scorer({"moon": 1e6}, lambda ids: "")  # each bonus is bounded, what they add up to not
    assert most.of("moon moon") == 2e6
    assert cliche_score(2.0)("whispers dance") == -4.0
    assert score.single == {"moon": -2.0}


@pytest.mark.parametrize(
    ("make", "cure"),
    [
        (lambda: WordScore({"": 1.0}), "give words such as"),
        (lambda: WordScore({"moon": float("nan")}), "at most 1,000,000"),
        (lambda: WordScore({"moon": -1e308}), "say 50 for very much"),
        (lambda: WordScore({"moon": 10**400}), "say 50 for very much"),
        (lambda: WordScore({}, repetition=1e300), "say 50 for very much"),
        (lambda: WordScore({"moon": "much"}), "number of nats"),  # type: ignore[dict-item]
        (lambda: cliche_score(-1.0), "positive"),
        (lambda: Scorer(3, lambda ids: ""), "function of the text"),  # type: ignore[arg-type]
        (lambda: Options(resample="often"), "ess, line, never"),
        (lambda: Options(diversity=-1), "0 asks for none"),
        (lambda: Options(diversity=1e308), "2 asks for much"),
    ],
)
def test_what_is_wrong_is_said(make, cure: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises((ValueError, TypeError), match=cure):
        make()


def test_scorer_asks_functions_at_line_ends_alone() -> None:
    asked: list[str] = []

    def score(text: str) -> float:
        asked.append(text)
        return 1.0

    scorer = Scorer(score, world.TOKENIZER.decode, before="given\n")
    moon, rest = world.TOKENIZER.encode("moon"), world.TOKENIZER.encode("\nsnow")
    assert scorer(moon, 0, False) is None
    assert scorer([*moon, rest[0]], 1, False) == 1.0
    assert scorer([*moon, *rest, world.TOKENIZER.eos], 2, True) == 1.0
    assert asked == ["given\nmoon", "given\nmoon\nsnow"]


def test_a_diverse_beam_shares_fewer_words() -> None:
    lattice = world.lattice()

    def words_in_common(diversity: float) -> tuple[float, float]:
        options = Options(beams=12, diversity=diversity)
        generators = [np.random.default_rng(i) for i in range(4)]
        paths = beam(world.ENGINE, lattice, world.PROMPT, generators, options)
        assert len({tuple(path.tokens) for path in paths}) == 4
        sets = [set(path.tokens) - {10, world.TOKENIZER.eos} for path in paths]
        pairs = [(a, b) for i, a in enumerate(sets) for b in sets[:i]]
        shared = float(np.mean([len(a & b) / len(a | b) for a, b in pairs]))
        return shared, float(np.mean([path.log_p for path in paths]))

    alike, likely = words_in_common(0.0)
    apart, less = words_in_common(3.0)
    assert apart < alike and less <= likely


def test_a_beam_heeds_a_score() -> None:
    options, generators = Options(beams=60), [np.random.default_rng(0)]
    (plain,) = beam(world.ENGINE, world.lattice(), world.PROMPT, generators, options)
    word = world.TOKENIZER.decode(plain.tokens[:1]).strip()
    score = WordScore({word: -8.0})
    scorer = Scorer(score, world.TOKENIZER.decode)
    (other,) = beam(world.ENGINE, world.lattice(), world.PROMPT, generators, options, scorer=scorer)
    assert other.tokens != plain.tokens
    assert other.log_p + other.score >= plain.log_p + score(
        world.TOKENIZER.decode(plain.tokens[:-1])
    )


def test_form_probability_needs_weights() -> None:
    with pytest.raises(ValueError, match="two poems or more"):
        form_probability([])
