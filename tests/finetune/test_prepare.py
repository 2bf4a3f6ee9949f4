"""Prepared data: every format read, doubles and near-doubles left out, states along each line."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from few_poems import FIVES, SEVENS

from constrained_gpt.corpus.teacher import Thought, pack
from constrained_gpt.finetune import readers
from constrained_gpt.finetune.near_duplicates import NearDuplicates
from constrained_gpt.finetune.prepare import clean, prepare, read_card, read_tokens
from constrained_gpt.lattice.budget import LEFT, LINES
from constrained_gpt.lexicon import HAIKU, TANKA, Form
from constrained_gpt.tokenizer import Tokenizer


def test_prepare_round_trips(poems: Path, data: Path) -> None:
    tokenizer = Tokenizer.gpt2()
    card = read_card(data)
    texts = []
    for split in ("train", "val"):
        tokens = read_tokens(data, split, tokenizer)
        assert len(tokens) == card[split]["tokens"]
        found = tokenizer.decode([int(t) for t in tokens]).split("<|endoftext|>")
        assert found.pop() == ""
        assert len(found) == card[split]["poems"] > 0
        texts += found
        tags = [
            json.loads(line)
            for line in (data / f"{split}_tags.jsonl").read_text("utf-8").splitlines()
        ]
        assert [t["text"] for t in tags] == found
        rows, mask = (np.load(data / f"{split}_{name}.npy") for name in ("tokens", "mask"))
        assert (rows[mask > 0] == tokens).all()
        assert (rows[mask == 0] == tokenizer.eos).all()
    expected = list(dict.fromkeys(poems.read_text("utf-8").split("\n\n")))[:-1]
    assert sorted(texts) == sorted(expected)
    assert card["rejects"] == {"said before": 1, "not of the form": 1}
    assert card["read"] == len(expected) + 2
    assert card["licence"] == "MIT"
    assert not [p for p in data.iterdir() if p.name.endswith((".tmp", ".part"))]


def test_states_count_down_to_every_line_end(data: Path) -> None:
    tokenizer = Tokenizer.gpt2()
    states, tokens = (np.load(data / f"train_{name}.npy") for name in ("states", "tokens"))
    assert read_card(data)["train"]["without_states"] == 0
    for row, written in zip(states, tokens, strict=True):
        line, left, inside = decoded(row[0])
        assert (line, left, inside) == (2, 5, 0)
        for token, state in zip(written, row[1:], strict=True):
            text = tokenizer.decode([int(token)])
            if token == tokenizer.eos:
                assert (line, left, inside) == (0, 0, 0)
                assert state == 0
                break
            if text == "\n":
                assert (left, inside) == (0, 0)
                line, left = line - 1, {2: 7, 1: 5}[line]
                assert decoded(state) == (line, left, 0)
                continue
            at, remain, inside = decoded(state)
            assert at == line
            assert remain < left or inside
            left = remain


def decoded(state: int) -> tuple[int, int, int]:
    place, inside = divmod(int(state) - 1, 2)
    assert 0 <= place < LINES * LEFT
    return place // LEFT, place % LEFT, inside


def test_held_out_poems_stay_held_out_when_poems_are_added(
    poems: Path, data: Path, tmp_path: Path
) -> None:
    more = tmp_path / "more.jsonl"
    more.write_text(json.dumps({"text": "the snow on the hill / a dog runs under the house / rain"}) + "\n"
                    + json.dumps({"poem": "snow on the old hill / a dog runs under the house / rain on the old roof"}))  # fmt: skip
    prepare([poems, more], tmp_path / "again", model="gpt2", near=1.0, val_fraction=0.2)
    tokenizer = Tokenizer.gpt2()
    old = tokenizer.decode([int(t) for t in read_tokens(data, "val", tokenizer)])
    new = tokenizer.decode([int(t) for t in read_tokens(tmp_path / "again", "val", tokenizer)])
    assert set(old.split("<|endoftext|>")) <= set(new.split("<|endoftext|>"))


def test_prepare_refuses_with_the_cure(poems: Path, data: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.txt"
    empty.write_text("\n", "utf-8")
    with pytest.raises(ValueError, match="separate poems by blank lines"):
        prepare([empty], tmp_path / "x", model="gpt2")
    with pytest.raises(ValueError, match=r"use e\.g\. 0\.1"):
        prepare([poems], tmp_path / "x", model="gpt2", val_fraction=1.0)
    with pytest.raises(ValueError, match="name at least one"):
        prepare([], tmp_path / "x", model="gpt2")
    with pytest.raises(ValueError, match="haiku prepare"):
        read_card(tmp_path / "x")
    for said in ("{", "[" * 100_000, "[]"):
        (tmp_path / "card.json").write_text(said)
        with pytest.raises(ValueError, match=r"card\.json is damaged; run `haiku prepare` again"):
            read_card(tmp_path)
    assert not list((tmp_path / "x").iterdir())  # what failed leaves nothing behind


@pytest.mark.skipif(not Path("/dev/fd").is_dir(), reason="no files that name pipes")
def test_a_pipe_is_refused(poems: Path, tmp_path: Path) -> None:
    """As of `haiku prepare poems.txt <(zcat more.gz)`."""
    end, start = os.pipe()
    os.write(start, b"a poem\n")
    os.close(start)
    with pytest.raises(ValueError, match=r"/dev/fd/\d+ is a pipe .* standard input as -"):
        prepare([poems, f"/dev/fd/{end}"], tmp_path / "x", model="gpt2")
    os.close(end)
    assert not (tmp_path / "x").exists()


# formats

POEMS = [f"{FIVES[0]}\n{SEVENS[0]}\n{FIVES[1]}", f"{FIVES[2]}\n{SEVENS[1]}\n{FIVES[3]}"]
TOPICS = ["a dog", ""]


def written(folder: Path, kind: str) -> Path:
    """The two poems in one of the formats."""
    path = folder / f"poems.{kind}"
    slashed = [poem.replace("\n", " / ") for poem in POEMS]
    if kind == "txt":
        path.write_text("\ufeff" + "\n\n\n".join(POEMS) + "\n", "utf-8")
    elif kind == "jsonl":
        rows = [{"text": p, "prompt": t} for p, t in zip(POEMS, TOPICS, strict=True)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif kind in ("csv", "tsv"):
        with path.open("w", newline="") as file:
            table = csv.writer(file, delimiter="\t" if kind == "tsv" else ",")
            table.writerows([["Topic", "Poem"], *zip(TOPICS, slashed, strict=True)])
    else:
        arrow = pytest.importorskip("pyarrow")

        table = arrow.table({"topic": TOPICS, "poem": POEMS})
        if kind == "parquet":
            pytest.importorskip("pyarrow.parquet").write_table(table, path)
        elif kind == "dataset":  # as `datasets` saves it: streams of batches and their cards
            (path / "train").mkdir(parents=True)
            (path / "dataset_dict.json").write_text('{"splits": ["train"]}')
            name = str(path / "train" / "data-00000-of-00001.arrow")
            with arrow.OSFile(name, "wb") as file, arrow.ipc.new_stream(file, table.schema) as out:
                out.write_table(table)
    return path


@pytest.mark.parametrize("kind", ["txt", "jsonl", "csv", "tsv", "parquet", "dataset"])
def test_every_format_gives_the_same_poems(kind: str, tmp_path: Path) -> None:
    found = list(readers.read(written(tmp_path, kind)))
    assert [record.text for record in found] == POEMS
    if kind != "txt":
        assert [record.topic for record in found] == TOPICS


def test_a_folder_of_files_is_all_of_them(tmp_path: Path) -> None:
    for kind in ("txt", "jsonl"):
        written(tmp_path, kind)
    assert [record.text for record in readers.read(tmp_path)] == 2 * POEMS


@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_a_column_is_named_as_its_heading_is(kind: str, tmp_path: Path) -> None:
    path = written(tmp_path, kind)
    path.write_text(path.read_text().replace("Poem", "Body", 1))
    for column in ("Body", "body"):
        assert [record.text for record in readers.read(path, column)] == POEMS


def test_bad_files_end_with_the_cure(tmp_path: Path) -> None:
    cases: dict[str, tuple[bytes, str]] = {
        "a.jsonl": (b"not json\n", "line 1 is not JSON"),
        "b.jsonl": (b'{"verse": "x"}\n', "name the field with --column"),
        "c.jsonl": (b"[1]\n", "no JSON object"),
        "d.txt": (b"caf\xe9\n", "convert it first"),
        "e.txt": (b"x" * (readers.LONGEST + 5), "give a file of poems"),
        "f.txt": (b"a\0b\n", "NUL"),
        "g.csv": (b"text\n" + b"a" * 200_000, "line 2 is no row of a table"),
        "h.csv": (b'text\n"an old pond\na frog\n', "close every quotation mark"),
        "i.jsonl": (b'{"text": 5}\n', "its text is 5, not a string"),
        "j.jsonl": (b'{"poem": null}\n', "line 1: its poem holds nothing"),
        "k.jsonl": (
            b'{"text": "x", "topic": "cut \\ud83d"}\n',
            "line 1: its topic holds a lone surrogate",
        ),
        "l.jsonl": (b'{"text": ["x", "cut \\ud83d"]}\n', "line 1: its text holds a lone surrogate"),
        "m.csv": (b"id,text\n7\n", "line 2: its text holds nothing"),
    }
    for name, (content, cure) in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=cure):
            list(readers.read(tmp_path / name))
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match="check the path"):
        list(readers.read(tmp_path / "none"))
    with pytest.raises(FileNotFoundError):
        list(readers.read(tmp_path / "absent.txt"))


def test_files_are_read_as_they_come(tmp_path: Path) -> None:
    """The first poem is there before the second is looked at: a file need not fit in memory."""
    path = tmp_path / "poems.jsonl"
    path.write_text(json.dumps({"text": POEMS[0]}) + "\nbroken\n")
    records = readers.read(path)
    assert next(records).text == POEMS[0]
    with pytest.raises(ValueError, match="line 2"):
        next(records)


# near-duplicates


def jaccard(a: list[str], b: list[str]) -> float:
    x, y = ({(w[i], w[i + 1]) for i in range(len(w) - 1)} for w in (a, b))
    return len(x & y) / len(x | y)


def test_near_duplicates_by_brute_force() -> None:
    """What is called seen has the likeness; what has far more than it is hardly ever missed."""
    rng = np.random.default_rng(1)
    words = [f"w{i}" for i in range(60)]
    poems: list[list[str]] = []
    seen = NearDuplicates(0.7)
    called = missed = near = 0
    for _ in range(400):
        poem = [words[i] for i in rng.integers(0, 60, 13)]
        if poems and rng.random() < 0.5:
            poem = list(poems[int(rng.integers(len(poems)))])
            for _ in range(int(rng.integers(0, 4))):
                poem[int(rng.integers(13))] = words[int(rng.integers(60))]
        most = max((jaccard(poem, other) for other in poems), default=0.0)
        if seen.seen(poem):
            called += 1
            assert most >= 0.7
        else:
            near += most >= 0.7
            missed += most >= 0.8
            poems.append(poem)
    seen.close()
    assert called > 50
    assert missed == 0
    assert near <= 0.05 * called


def test_a_word_changed_is_no_new_poem(tmp_path: Path) -> None:
    file = tmp_path / "poems.txt"
    other = POEMS[0].replace("a crow", "a cow")
    file.write_text("\n\n".join([POEMS[0], POEMS[0].upper() + "!", other, POEMS[1]]))
    card = prepare([file], tmp_path / "a", model="gpt2", near=0.6, val_fraction=0.0)
    assert card["rejects"] == {"said before": 2}
    card = prepare([file], tmp_path / "b", model="gpt2", near=1.0, val_fraction=0.0)
    assert card["rejects"] == {"said before": 1}


# judging and tags


def test_cleaning() -> None:
    assert clean("\u201cIt\u2019s  snow\u201d \n\n\u200bcafe\u0301 ") == '"It\'s snow"\ncaf\u00e9'


def test_forms_and_tags(tmp_path: Path) -> None:
    file = tmp_path / "poems.jsonl"
    tanka = "\n".join([FIVES[0], SEVENS[0], FIVES[2], SEVENS[1], SEVENS[2]])
    short = "the snow falls,\na crow on the gate\nlooks at me"
    rows = [{"text": POEMS[0], "topic": " old  dog "}, {"text": tanka}, {"text": short}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    forms: list[Form] = [HAIKU, TANKA, Form.of(3, 5, 3)]
    card = prepare([file], tmp_path / "out", model="gpt2", forms=forms, val_fraction=0.0)
    assert card["train"]["poems"] == 3
    assert card["train"]["without_states"] == 0
    tags = [json.loads(line) for line in (tmp_path / "out/train_tags.jsonl").open()]
    assert [t["form"] for t in tags] == ["haiku", "tanka", "3-5-3"]
    assert tags[0]["topic"] == "old dog"
    assert tags[0]["kigo"] == ["snow"]
    assert tags[0]["seasons"] == ["winter"]
    assert [t["cut"] for t in tags] == [False, False, False]
    states = np.load(tmp_path / "out/train_states.npy")
    assert [decoded(row[0])[:2] for row in states] == [(2, 5), (4, 5), (2, 3)]
    file.write_text(json.dumps({"text": "no haiku"}))
    with pytest.raises(ValueError, match="1 not of the form"):
        prepare([file], tmp_path / "x", model="gpt2")


def test_a_teacher_who_is_no_record_is_left_out(tmp_path: Path) -> None:
    """A school's table has teachers too; `finetune --distil` reads what a model thought alone."""
    thought = Thought(np.array([5, 7]), np.array([-0.25, -1.5], np.float32))
    kept = pack([thought] * 3)
    file = tmp_path / "poems.jsonl"
    names = ["Mrs. Smith", "Anna", "Smith===", "Zoë", kept[:-4], kept]
    texts = [f"{FIVES[0]}\n{b}\n{c}" for b in SEVENS for c in FIVES[1:]][: len(names)]
    rows = [{"text": p, "teacher": t} for p, t in zip(texts, names, strict=True)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    prepare([file], tmp_path / "out", model="gpt2", near=1.0, val_fraction=0.0)
    lines = (tmp_path / "out/train_tags.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["teacher"] for line in lines] == [""] * 5 + [kept]


def test_splits_do_not_share_a_poem(tmp_path: Path, poems: Path) -> None:
    card = prepare(
        [poems], tmp_path, model="gpt2", near=1.0, val_fraction=0.3, test_fraction=0.3, folds=3
    )
    texts: list[str] = []
    for split in ("train", "val", "test"):
        lines = (tmp_path / f"{split}_tags.jsonl").read_text().splitlines()
        assert len(lines) == card[split]["poems"] > 0
        texts += [json.loads(line)["text"] for line in lines]
    assert len(set(texts)) == len(texts) == 36
    folds = np.load(tmp_path / "train_folds.npy")
    assert len(folds) == card["train"]["poems"]
    assert set(folds.tolist()) == {0, 1, 2}
    source: dict[str, Any] = card["sources"][0]
    assert len(source["sha256"]) == 64
