"""The loss for what a form forbids: bitmasks along a poem, and the term that they make, each
against its slow twin."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import toy

from constrained_gpt.finetune.batches import Poems, form_of
from constrained_gpt.finetune.config import TrainConfig
from constrained_gpt.finetune.evaluate import losses
from constrained_gpt.finetune.lattices import Lattices, allowed_along
from constrained_gpt.finetune.prepare import prepare
from constrained_gpt.finetune.train import build, train
from constrained_gpt.lattice import compile
from constrained_gpt.lexicon import HAIKU, Form
from constrained_gpt.lexicon.form import FREE
from constrained_gpt.lexicon.typography import Typography
from constrained_gpt.tokenizer import Tokenizer


def set_bits(mask: np.ndarray) -> list[int]:
    found = np.flatnonzero(np.unpackbits(mask.view(np.uint8), bitorder="little"))
    return [int(token) for token in found]


def test_what_a_form_allows_along_a_poem() -> None:
    tokenizer = toy.ToyTokenizer()
    form = Form(lines=(1, 2), kigo="off", rhyme="off")
    lattice = compile(
        form, toy.lexicon(), tokenizer, use_cache=False,
        typography=Typography(marks=toy.MARKS, capitals="consistent"),
    )  # fmt: skip
    rng = np.random.default_rng(3)
    for _ in range(30):
        row, poem, wanted = lattice.start(), [], []
        while not lattice.finished(row)[0]:
            allowed = lattice.allowed(row[0])
            wanted.append(allowed.tolist())
            poem.append(int(rng.choice(allowed)))
            lattice.advance(row, np.array(poem[-1:]))
        found = allowed_along(lattice, poem)
        assert [set_bits(mask) for mask in found] == wanted
        # One token that may not stand there: from it on nothing is known.
        place = int(rng.integers(len(poem)))
        strange = sorted(set(range(lattice.n_vocab)) - set(wanted[place]))
        wrong = [*poem[:place], int(rng.choice(strange)), *poem[place + 1 :]]
        found = allowed_along(lattice, wrong)
        assert [set_bits(mask) for mask in found[:place]] == wanted[:place]
        assert (found[place:] == -1).all()
        longer = allowed_along(lattice, [*poem, poem[0]])
        assert [set_bits(mask) for mask in longer[:-1]] == wanted
        assert (longer[-1] == -1).all()


def test_the_term_is_the_mass_that_the_form_forbids(data: Path, tiny: Path) -> None:
    model, checkpoint = build(tiny)
    tokenizer = checkpoint.tokenizer
    lattices = Lattices(tokenizer)
    poems = Poems(data, "train", tokenizer, lattices=lattices)
    batch = poems.step(1, 0, 3, 0, 1)
    without = losses(model, batch)
    found = (losses(model, batch, form=0.5) - without).detach().numpy()
    with torch.inference_mode():
        p = model.lm_head(model.hidden(batch.x)[batch.counts]).double().softmax(-1).numpy()
    place = 0
    for row in range(3):
        path = batch.y[row][batch.counts[row]].tolist()
        lattice = lattices(form_of("haiku"), path[-1])
        assert lattice is not None
        state = lattice.start()
        for token in path:
            mass = p[place, lattice.allowed(state[0])].sum()
            assert found[place] == pytest.approx(-0.5 * np.log(mass), abs=1e-4)
            lattice.advance(state, np.array([token]))
            place += 1
    assert place == len(found)
    assert found.min() > 0.1  # an untrained model leaves much to the forbidden
    plain = Poems(data, "train", tokenizer).step(1, 0, 3, 0, 1)
    assert torch.equal(losses(model, plain, form=0.5), without)  # nobody asked: nothing is added


def test_of_poems_without_a_lattice_nothing_is_known(tmp_path: Path) -> None:
    source = tmp_path / "poems.txt"
    strange = "snow falls on Xyzzy\nall night long the old house creaks\nand the lamp burns low"
    source.write_text(f"{strange}\n\nrain\nand rain again", "utf-8")
    prepare([source], tmp_path / "data", model="gpt2", forms=(HAIKU, FREE), val_fraction=0.0)
    tokenizer = Tokenizer.gpt2()
    poems = Poems(tmp_path / "data", "train", tokenizer, lattices=Lattices(tokenizer))
    batch = poems.batch([0, 1], [np.random.default_rng(i) for i in range(2)], learn=True)
    assert batch.allowed is not None
    known = [(rows != -1).any(1) for rows in batch.allowed.split(batch.counts.sum(1).tolist())]
    assert known[0][0] and not known[0][-1]  # up to the name that no lexicon has
    assert not known[1].any()  # free verse


def test_training_with_it_leaves_less_to_the_forbidden(data: Path, tmp_path: Path) -> None:
    costs = []
    for weight in (0.0, 3.0):
        out = tmp_path / str(weight)
        config = TrainConfig(
            data=data, out=out, init="scratch", n_layer=1, n_head=2, n_embd=16, block_size=64,
            max_iters=30, batch_size=4, warmup_iters=0, eval_interval=30, learning_rate=1e-2,
            form_loss=weight,
        )  # fmt: skip
        train(config, log=lambda line: None)
        model, _ = build(out / "ckpt.pt")
        tokenizer = Tokenizer.gpt2()
        held = Poems(data, "train", tokenizer, lattices=Lattices(tokenizer)).step(9, 0, 8, 0, 1)
        with torch.inference_mode():
            costs.append(float((losses(model, held, form=1.0) - losses(model, held)).mean()))
    assert costs[1] < 0.9 * costs[0]


def test_a_weight_below_nothing_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="form_loss=-1"):
        TrainConfig(data=data, out=tmp_path, form_loss=-1)
