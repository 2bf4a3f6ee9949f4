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
        # "St." is one word only with its capital; a small "st." ends a sentence.
        text = " ".join(key.capitalize() if key.endswith(".") else key for key in own)
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


# What people write, and what a reader would say: season words in the forms of English, and words
# that look like one and are none.
SENTENCES = [
    ("the doll maker's hina dolls face the wall", "spring"),
    ("St. Patrick’s Day parade behind a fire engine", "spring"),
    ("wild geese going home over the tollbooth", "spring"),
    ("heat shimmer beyond the last gas pump", "spring"),
    ("the creek ice is breaking up", "spring"),
    ("snow of petals on the hearse", "spring"),
    ("tax day in the rain", "spring"),
    ("her graduation gown on the fence", "spring"),
    ("a willow weeps over the canal", "spring"),
    ("a violet from the roadside", "spring"),
    ("in autumn of barley my shadow", "summer"),
    ("flooded rice paddies keep the train", "summer"),
    ("swatting flies between two hymns", "summer"),
    ("a bowl of cherries and no spoon", "summer"),
    ("how hot it is in the confessional", "summer"),
    ("koinobori over the parking garage", "summer"),
    ("the ice cream truck out of tune", "summer"),
    ("Juneteenth drums", "summer"),
    ("a house fly walks across the map", "summer"),
    ("the heat the dog the porch", "summer"),
    ("wild geese heading south again", "autumn"),
    ("leaves have fallen in the font", "autumn"),
    ("visiting graves with a folding chair", "autumn"),
    ("a discarded fan in the taxi", "autumn"),
    ("banana leaves torn to ribbons", "autumn"),
    ("the bagworm's cry nobody heard", "autumn"),
    ("one jack-o'-lantern for the whole street", "autumn"),
    ("jack o'lanterns along the pier", "autumn"),
    ("set the clocks back twice", "autumn"),
    ("over the moon a plane without lights", "autumn"),
    ("through the mist the ferry's bell", "autumn"),
    ("the harbor has frozen to the lighthouse", "winter"),
    ("it’s snowing in the empty stadium", "winter"),
    ("snow is falling on the scaffold", "winter"),
    ("my breath white over the newspaper", "winter"),
    ("breaking the ice on the goat's pail", "winter"),
    ("soot sweeping with the radio on", "winter"),
    ("scattering beans toward the neighbors", "winter"),
    ("fox tracks end at the mailbox", "winter"),
    ("a mall Santa on his break", "winter"),
    ("spinning a top on the altar step", "new year"),
    ("hatsumode with a sleeping child", "new year"),
    ("first laugh of the new year", "new year"),
    ("first tea ceremony of the year", "new year"),
    ("this year’s first dream is about keys", "new year"),
    ("we broke the ice with a bad joke", "none"),
    ("butterflies in their stomachs before the show", "none"),
    ("Holly says the printer is down", "none"),
    ("April from payroll wants a word", "none"),
    ("my sister Iris drives too fast", "none"),
    ("goodnight pumpkin whispers the pilot", "none"),
    ("a blizzard of emails by noon", "none"),
    ("a thaw in relations at the border", "none"),
    ("the coffee gets cold as they argue", "none"),
    ("a daisy chain of adapters", "none"),
    ("his snakeskin boots on the desk", "none"),
    ("salmon sushi under plastic", "none"),
    ("sowing doubt one post at a time", "none"),
    ("she swallows every word", "none"),
    ("folding a crane out of the receipt", "none"),
    ("the cat bats at a shoelace", "none"),
    ("to heat the baby's bottle", "none"),
    ("hell freezes over first", "none"),
    ("a lightning bolt tattoo fading", "none"),
    ("just a ballpark figure", "none"),
]


@pytest.mark.parametrize(("text", "season"), SENTENCES)
def test_seasons_that_a_reader_sees(text: str, season: str) -> None:
    seasons = {s for k in find_kigo(text) for s in k.seasons}
    assert season in (seasons or {"none"})


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
