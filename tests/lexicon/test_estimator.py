"""The estimator of unknown words: sane on any text, alone and in bulk, and as good as it says."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from constrained_gpt.lexicon import estimator, measure_estimator, train_estimator
from constrained_gpt.lexicon.estimator import estimate, estimate_many

# The floor for the shipped weights; the README's figures come from `measure_estimator`.
LEAST_TOP1, LEAST_TOP2, MOST_BYTES = 0.972, 0.996, 3_000_000


@pytest.fixture(scope="module")
def held_out() -> dict[str, set[int]]:
    """Every fourth held-out word of CMUdict that is written in letters."""
    words = {
        word: accepted
        for word, accepted in measure_estimator.counts(train_estimator.HOLD_OUT).items()
        if word.replace("'", "").replace("-", "").isalpha()
    }
    assert len(words) == 9999
    return {word: words[word] for word in sorted(words)[::4]}


def test_held_out_words(held_out: dict[str, set[int]]) -> None:
    got = measure_estimator.score(held_out)
    assert got.words == 2500
    assert got.top1 >= LEAST_TOP1
    assert got.top2 >= LEAST_TOP2
    assert got.top2 <= 1.0
    assert len(got.wrong) == round((1 - got.top1) * got.words)


def test_nothing_held_out_is_learned() -> None:
    spoken = {word: [("AH0",)] for word in ("a", "the", "aa", "frog", "pond", "old", "water")}
    data = train_estimator.examples(spoken, train_estimator.HOLD_OUT)
    assert set(data) == {w for w in spoken if train_estimator.bucket(w) not in range(20)}
    assert train_estimator.bucket("Frog") == train_estimator.bucket("frog")


@pytest.mark.parametrize(
    ("entry", "phones"),
    [
        ("d ˈɪ k . ʃ ə . n ˌɛ . ɹ i #", "D IH1 K SH AH0 N EH1 R IY0"),
        ("ˈɝ . ʃ l̩ #", "ER1 SH AH0 L"),
        ("b ˈɑ l . t ə . m ˌoʊ ɹ # k l ˈɪ . p ə ɹ #", "B AA1 L T AH0 M AO1 R K L IH1 P ER0"),
        ("ˈi . ə . ɹ ɑ #", "IY1 AH0 R AA0"),  # the r of the next syllable stays a consonant
        ("dʒ ˈei . w ɑɪ . ɵ ɔi #", "JH EY1 W AY0 TH OY0"),
    ],
)
def test_isle_is_read_as_arpabet(entry: str, phones: str) -> None:
    assert train_estimator.arpabet(entry) == tuple(phones.split())


def test_isle_agrees_with_cmudict() -> None:
    pytest.importorskip("pysle", reason="the package that carries ISLEdict")
    ours, theirs = train_estimator.dictionary(), train_estimator.isle()
    known = {phone for spoken in ours.values() for phones in spoken for phone in phones}
    assert {phone for spoken in theirs.values() for phones in spoken for phone in phones} <= known
    both = ours.keys() & theirs.keys()
    assert len(both) > 100_000

    def counts(spoken: list[train_estimator.Phones]) -> set[int]:
        return {train_estimator.syllables(phones) for phones in spoken}

    agreed = sum(not counts(ours[word]).isdisjoint(counts(theirs[word])) for word in both)
    assert agreed / len(both) > 0.998


def test_a_missing_isle_names_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_estimator, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=re.escape(train_estimator.ISLE_PACKAGE)):
        train_estimator.isle()


def test_another_isle_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "ISLEdict.txt").write_text("frog(nn) # f ɹ ˈɑ g #")
    found = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(train_estimator, "find_spec", lambda name: found)
    with pytest.raises(ValueError, match="not the one trained on"):
        train_estimator.isle()


def test_weights_are_small_and_plain() -> None:
    assert train_estimator.WEIGHTS.stat().st_size < MOST_BYTES
    with np.load(train_estimator.WEIGHTS, allow_pickle=False) as stored:
        assert int(stored["format"]) == estimator.FORMAT
        assert all(stored[name].dtype.kind in "if" for name in stored.files)


@pytest.mark.parametrize(
    ("word", "count"),
    [
        ("frogpond", 2), ("moonlit", 2), ("cherryblossom", 4), ("snow-covered", 3),
        ("dragonfly's", 3), ("café", 2), ("belovèd", 3), ("naïve", 2), ("whisperings", 3),
        ("MOUNTAIN", 2), ("h2o", 3), ("x-ray", 2), ("rainlight", 2), ("reëlect", 3), ("café’s", 2),
    ],
)  # fmt: skip
def test_new_words(word: str, count: int) -> None:
    assert estimate(word)[0][0] == count


@pytest.mark.parametrize("text", ["", " ", "…", "俳句", "🐸", "'", "’’", "\u200b", "\ud800", "--"])
def test_no_letters_no_estimate(text: str) -> None:
    assert estimate(text) == []


def test_spelling_variants_agree() -> None:
    assert estimate("don’t") == estimate("don't") == estimate("DON'T")
    assert estimate("re\u0301sume\u0301") == estimate("résumé")
    assert estimate("snow\u00addrift") == estimate("snowdrift")


@settings(deadline=None, max_examples=200)
@given(st.text(max_size=300))
def test_any_text(text: str) -> None:
    got = estimate(text)
    assert len({count for count, _ in got}) == len(got)
    assert all(type(count) is int and count >= 0 and p > 0 for count, p in got)
    if got:
        assert sum(p for _, p in got) == pytest.approx(1)
        assert [p for _, p in got] == sorted((p for _, p in got), reverse=True)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.text(alphabet="abeilnorsty'-é", max_size=20), max_size=30))
def test_many_is_one_by_one(words: list[str]) -> None:
    for alone, together in zip(map(estimate, words), estimate_many(words), strict=True):
        assert sorted(count for count, _ in alone) == sorted(count for count, _ in together)
        probabilities = dict(together)
        assert all(p == pytest.approx(probabilities[count], abs=1e-4) for count, p in alone)


@pytest.mark.parametrize("unit", ["a", "b", "ab-", "é", "'", "1", "俳", "ﷺ", "a\u0300"])
def test_a_megabyte_is_quick(unit: str) -> None:
    estimate("warm")
    started = time.perf_counter()
    estimate(unit * (1_000_000 // len(unit)))
    assert time.perf_counter() - started < 10  # a fraction of a second; machines may be busy


def test_wrong_types_name_the_cure() -> None:
    with pytest.raises(TypeError, match="decode bytes"):
        estimate(b"frog")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="list of words"):
        estimate_many("frog")


def test_no_torch() -> None:
    code = (
        "import sys; from constrained_gpt.lexicon.estimator import estimate; estimate('frog');"
        "bad = {'torch', 'numba'} & set(sys.modules); sys.exit(', '.join(bad) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_alignment_finds_the_letters() -> None:
    pairs = [("box", ("B", "AA1", "K", "S")), ("ox", ("AA1", "K", "S")), ("b", ("B", "IY1", "Z"))]
    sounds = train_estimator.align(pairs * 20, rounds=3)
    assert sounds[2] is None  # three phones for one letter
    assert sounds[0] is not None
    assert sounds[1] is not None
    assert list(sounds[0][1:]) == list(sounds[1])


def test_net_equals_its_torch_twin() -> None:
    torch = pytest.importorskip("torch")
    net = train_estimator.network(5).eval()
    weights = {name: value.numpy() for name, value in net.state_dict().items()}
    packed = estimator.unpack(train_estimator.pack([weights, weights]))
    ids = np.array([[1, 2, 3, 27], [26, 25, 1, 1]])
    want = net(torch.tensor(ids))[0].softmax(-1).detach().numpy()
    got = estimator._nuclei(packed, ids)
    assert got.shape == (2, 2, 4, 3)
    np.testing.assert_allclose(got[0], want, atol=0.02)  # int8
    np.testing.assert_array_equal(got[0], got[1])
