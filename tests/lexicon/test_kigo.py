"""The saijiki and how its phrases are found."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from constrained_gpt.lexicon import SEASONS, Saijiki, find_kigo
from constrained_gpt.lexicon.inflection import plurals, singular, variants
from constrained_gpt.lexicon.kigo import keys, read_rows

BOOK = Saijiki.from_phrases(
    {
        "snow": "winter",
        "first snow": "winter",
        "cherry blossom": "spring",
        "spring": "spring",
        "hot spring": "none",
        "leaf": "autumn",
        "withered leaf": ("autumn", "winter"),
        "new year's day": "new year",
    }
)


def found(text: str, book: Saijiki = BOOK) -> list[str]:
    return [k.phrase for k in find_kigo(text, book)]


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        ("first snow on snow", ["first snow", "snow"]),
        ("First SNOWS", ["first snow"]),
        ("first, snow", ["snow"]),
        ("first\nsnow", ["snow"]),
        ("first-snow morning", ["first snow"]),
        ("snow's silence", ["snow"]),
        ("the hot spring in spring", ["spring"]),
        ("hot springs", []),
        ("cherry blossoms’ scent", ["cherry blossom"]),
        ("leaves", ["leaf"]),
        ("withered leaves", ["withered leaf"]),
        ("New Year’s Day", ["new year's day"]),
        ("snowing", []),
        ("snow 🌸 snow", ["snow", "snow"]),
        ("", []),
    ],
)
def test_finding(text: str, phrases: list[str]) -> None:
    assert found(text) == phrases


def test_spans_and_seasons() -> None:
    text = "a pond\nthe withered leaves—"
    (one,) = find_kigo(text, BOOK)
    assert text[one.start : one.end] == "withered leaves"
    assert one.line == 1
    assert one.seasons == {"autumn", "winter"}
    assert one.season == "autumn/winter"


def test_keys_split_hyphens_and_strip_possessives() -> None:
    assert keys("Lily-of-the-Valley") == ("lily", "of", "the", "valley")
    assert keys("autumn’s") == ("autumn",)
    assert keys("'Twas") == ("twas",)
    assert keys("—") == ()


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("leaf", "leaves"), ("goose", "geese"), ("child", "children"), ("lily", "lilies"),
        ("day", "days"), ("bush", "bushes"), ("mosquito", "mosquitoes"), ("deer", "deer"),
        ("finch", "finches"), ("snowman", "snowmen"), ("wolf", "wolves"),
        ("dragonfly", "dragonflies"), ("camellia", "camellias"), ("jellyfish", "jellyfish"),
        ("monarch", "monarchs"), ("plowman", "plowmen"),
    ],
)  # fmt: skip
def test_numbers_of_nouns(one: str, many: str) -> None:
    assert plurals(one)[0] == many
    assert one == many or singular(many) == one


@pytest.mark.parametrize(
    ("phrase", "varied"),
    [
        ("dragonfly", ["dragonflies"]), ("autumn rain", ["autumn rains"]), ("iris", ["irises"]),
        ("spring evening", ["spring evenings"]), ("hot spring", []), ("moon viewing", []),
        ("fog", []), ("autumn fog", ["autumn fogs"]), ("roses", []), ("wild geese", []),
        ("snow covered", []), ("kotatsu", []), ("lotus", ["lotuses"]), ("lacewing", ["lacewings"]),
        ("cactus", ["cacti", "cactuses"]), ("caroling", []),
        ("patch of snow", ["patches of snow"]), ("lily of the valley", ["lilies of the valley"]),
        ("gosling", ["goslings"]),
    ],
)  # fmt: skip
def test_variants(phrase: str, varied: list[str]) -> None:
    assert [" ".join(v) for v in variants(tuple(phrase.split()))] == varied


@pytest.mark.parametrize(
    "text",
    [
        "dragonflies", "wisteria's scent", "camellias’ red", "persimmons", "the fledglings’ cries",
        "dewdrops", "autumn rains", "chickadees", "egret's shadow", "April evenings", "jonquils",
        "hydrangeas", "moonflowers", "goslings", "mayflies", "snowdrops", "Christmas cacti",
    ],
)  # fmt: skip
def test_plurals_and_possessives_of_the_default_saijiki(text: str) -> None:
    assert len(find_kigo(text)) == 1


def test_every_entry_is_found_as_it_stands_and_in_its_possessive() -> None:
    book = Saijiki.default()
    for own, seasons in book.entries.items():
        if not seasons:
            continue
        text = " ".join(own)
        (one,) = find_kigo(text)
        (possessive,) = find_kigo(text + ("’" if text.endswith("s") else "’s"))
        assert (one.start, one.end) == (0, len(text))
        assert possessive.seasons == one.seasons == seasons, text


def test_no_variant_touches_a_blocked_phrase() -> None:
    book = Saijiki.default()
    blocked = {
        tuple(k for w in r.phrase.split() for k in keys(w)) for r in book.rows if r.season == "none"
    }
    named = {
        tuple(k for w in r.phrase.split() for k in keys(w)) for r in book.rows if r.season != "none"
    }
    for own in blocked - named:
        assert book.entries[own] == frozenset()


def test_the_default_saijiki_is_large_and_sound() -> None:
    book = Saijiki.default()
    assert len(book.entries) >= 1_500
    assert set().union(*book.entries.values()) == set(SEASONS)
    assert [k.season for k in find_kigo("cherry blossoms")] == ["spring"]
    assert [k.season for k in find_kigo("the moon")] == ["autumn"]
    assert find_kigo("a hot spring") == []
    assert all(own and all(own) for own in book.entries)


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "south.tsv"
    path.write_text("phrase\tseason\tphase\tcategory\tnote\njacaranda\tspring\tlate\tplants\t\n")
    book = Saijiki.from_files(path, base=BOOK)
    assert found("jacaranda in snow", book) == ["jacaranda", "snow"]
    assert book.content_hash != BOOK.content_hash
    assert Saijiki.from_files(path).content_hash == Saijiki.from_files(path).content_hash


@pytest.mark.parametrize(
    ("line", "cure"),
    [
        ("snow\twintr", "line 2: season 'wintr' of 'snow' is unknown; use one of spring, summer"),
        ("leaf\tfall", "write autumn"),
        ("snow\t", "write none"),
        ("snow", "'snow' has one column; separate phrase and season by a tab"),
        ("snow  winter", "separate phrase and season by a tab"),
        ("\twinter", "fill the first column"),
        ("\u2014\twinter", "fill the first column"),
        ("snow\twinter\tsoon", "phase 'soon' of 'snow' is unknown; use one of early, mid"),
        ("snow\twinter\tall\tweather", "category 'weather' of 'snow' is unknown; use one of"),
        ("snow\twinter\tall\theavens\t\tmore", "6 columns; write at most 5"),
    ],
)
def test_bad_rows_name_the_line_and_the_cure(tmp_path: Path, line: str, cure: str) -> None:
    path = tmp_path / "bad.tsv"
    path.write_text("frog\tspring\n" + line + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match=re.escape(cure)) as caught:
        list(read_rows(path))
    assert "bad.tsv line 2" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "cure"),
    [
        ("frog\tspring\ncaf\u00e9\tsummer\n".encode("latin-1"), "not UTF-8 text (byte 15)"),
        ("frog\tspring\n".encode("utf-16"), "not UTF-8"),
        (b"PK\x03\x04\x00\x00", "not a text file"),
    ],
)
def test_files_that_are_no_text(tmp_path: Path, content: bytes, cure: str) -> None:
    path = tmp_path / "bad.tsv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(cure)):
        Saijiki.from_files(path)


def test_files_as_editors_write_them(tmp_path: Path) -> None:
    path = tmp_path / "mine.tsv"
    path.write_bytes(
        b"\xef\xbb\xbfPhrase\tSeason\r\n# the south\r\n\r\nJacaranda  Bloom\tSpring\r\n"
        b"Christmas\tsummer\tAll\tObservances\t\t\t\r\n"
    )
    assert [(r.phrase, r.season, r.phase) for r in read_rows(path)] == [
        ("jacaranda bloom", "spring", "all"),
        ("christmas", "summer", "all"),
    ]


def test_seasons_of_a_book() -> None:
    assert ("snow",) in BOOK.of_season("winter")
    assert ("hot", "spring") not in BOOK.of_season("any")
    with pytest.raises(ValueError, match="use any"):
        BOOK.of_season("monsoon")
