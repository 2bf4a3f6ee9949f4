"""How good a model is on held-out poems: loss, what the mask takes from it, what it writes freely.

Knows a model's logits, batches of poems and the lattice of a form's lines; draws nothing under a
mask (that is `haiku write`, measured by `haiku eval`). Called by the trainer and by `haiku
evaluate`.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from .. import prompts
from ..lexicon import SEASONS, find_kigo, validate
from ..lexicon.function_words import DANGLING
from ..lexicon.normalize import words
from ..model import GPT
from .batches import Batch, Poems, form_of
from .lattices import Lattices, bare
from .prepare import SPLITS
from .validity import free_samples

_ROWS = 32  # poems read at a time
_EACH = 10  # free draws after one prompt


@dataclass(frozen=True)
class Evaluation:
    """Mean negative log-likelihood in nats a token and a poem, over how many of each."""

    loss: float
    poem_loss: float
    tokens: int
    poems: int

    @property
    def perplexity(self) -> float:
        """The exponential of the loss of a token."""
        return math.exp(self.loss) if self.loss < 700 else math.inf


def losses(
    model: torch.nn.Module, batch: Batch, distil: float = 0.0, form: float = 0.0
) -> torch.Tensor:
    """Negative log-likelihood of every token that counts, row by row: (tokens,) float32.

    Logits are computed of those places alone. distil: share of the loss that is the cross-entropy
    with what a teacher thought, where the batch knows it (Hinton, Vinyals, Dean, Distilling the
    Knowledge in a Neural Network, 2015; temperature 1). form: weight of what is added for tokens
    that the form forbids, -log of the probability of all others, where the batch knows them (Xu et
    al., A Semantic Loss Function for Deep Learning with Symbolic Knowledge, ICML 2018).
    """
    hidden = model.hidden(batch.x, batch.states)  # type: ignore[operator]  # (B, T, C)
    logits = model.lm_head(hidden[batch.counts])  # type: ignore[operator]  # (tokens, V)
    log_p = logits.float().log_softmax(-1)
    found = F.nll_loss(log_p, batch.y[batch.counts], reduction="none")
    if distil and batch.thought_ids is not None and batch.thought_p is not None:
        soft = -(batch.thought_p * log_p.gather(1, batch.thought_ids)).sum(1)
        share = distil * (batch.thought_p.sum(1) > 0)
        found = (1 - share) * found + share * soft
    if form and batch.allowed is not None:
        found = found - form * _log_mass(log_p, batch.allowed)
    return found


def _log_mass(log_p: torch.Tensor, bits: torch.Tensor) -> torch.Tensor:
    """Log of what log-probabilities (tokens, V) leave to the tokens whose bits are set, int32
    (tokens, words): (tokens,). Tokens past the last word's are not."""
    each = torch.arange(32, dtype=torch.int32, device=bits.device)
    allowed = (bits[..., None] >> each & 1).flatten(1).bool()
    n_vocab = log_p.shape[1]
    allowed = F.pad(allowed, (0, max(0, n_vocab - allowed.shape[1])))[:, :n_vocab]
    return log_p.masked_fill(~allowed, -math.inf).logsumexp(1)


@torch.no_grad()
def evaluate(model: GPT, poems: Poems, seed: int, *, most: int | None = None) -> Evaluation:
    """The model's loss on the poems of a split, or on `most` of them, tags always the same."""
    if not len(poems):
        raise ValueError("the split has no poem; prepare more poems or a larger share")
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    chosen = range(len(poems) if most is None else min(most, len(poems)))
    total, tokens = 0.0, 0
    for first in range(0, len(chosen), _ROWS):
        batch = poems.held_out(list(chosen[first : first + _ROWS]), seed).to(device)
        found = losses(model, batch)
        total += float(found.double().sum())
        tokens += len(found)
    model.train(was_training)
    return Evaluation(total / tokens, total / len(chosen), tokens, len(chosen))


@dataclass(frozen=True)
class Report:
    """What `haiku evaluate` says of a model. Nats are natural logarithms.

    loss, poem_loss  held-out, in nats a token and a poem, over `poems` poems
    z_loss           nats a held-out poem that the mask of its form's lines takes away: the sum of
                     -log of the probability that the model leaves to allowed tokens, over the
                     `z_poems` poems that the lattice can spell
    validity         share of `samples` free draws at temperature 1 that have the form's lines, with
                     `validity_error`, one standard error
    season, topic    share of free draws that hold a season word of the season asked for; a word of
                     the topic asked for
    """

    model: str
    split: str
    loss: float
    perplexity: float
    poem_loss: float
    tokens: int
    poems: int
    z_loss: float
    z_poems: int
    validity: float
    validity_error: float
    season: float
    topic: float
    samples: int

    def to_dict(self) -> dict[str, Any]:
        """For JSON: rounded, and None for what was not measured."""
        found = asdict(self)
        for name, value in found.items():
            if isinstance(value, float):
                found[name] = None if math.isnan(value) else round(value, 6)
        return found


def evaluate_files(
    data: str | Path,
    *,
    model: str = "smollm2",
    split: str = "val",
    device: str = "auto",
    most: int | None = None,
    samples: int = 0,
    seed: int = 0,
) -> Report:
    """Measure a model, given by name or path, on the held-out split of a prepared folder, each
    poem asked for in the model's own way.

    most: read so many poems at most. samples: free draws for validity and adherence; 0: none.
    """
    from .runtime import device_of
    from .train import build

    if samples < 0 or (most is not None and most < 1):
        raise ValueError(f"samples={samples}, most={most}: give a positive number, or leave it out")
    if split not in SPLITS:
        raise ValueError(f"split={split!r} is unknown; use one of {', '.join(SPLITS)}")
    if seed < 0:
        raise ValueError(f"seed={seed} is negative; give a whole number from 0 up")
    gpt, checkpoint = build(model)
    gpt.to(device_of(device))
    tokenizer = checkpoint.tokenizer
    style = checkpoint.prompt_style or tokenizer.chat or "page"
    poems = Poems(data, split, tokenizer, style=style)
    lattices = Lattices(tokenizer)
    found = evaluate(gpt, poems, seed, most=most)
    z_loss, z_poems = form_losses(gpt, poems, lattices, seed, most)
    free = _free(gpt, poems, lattices, samples, seed) if samples else (math.nan,) * 3
    validity = free[0]
    return Report(
        model=model, split=split, loss=found.loss, perplexity=found.perplexity,
        poem_loss=found.poem_loss, tokens=found.tokens, poems=found.poems, z_loss=z_loss,
        z_poems=z_poems, validity=validity,
        validity_error=math.sqrt(validity * (1 - validity) / samples) if samples else math.nan,
        season=free[1], topic=free[2], samples=samples,
    )  # fmt: skip


@torch.no_grad()
def form_losses(
    model: GPT, poems: Poems, lattices: Lattices, seed: int, most: int | None = None
) -> tuple[float, int]:
    """Mean of what the mask takes from the model on each held-out poem, in nats, and of how many:
    those that the lattice can spell."""
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    losses_: list[float] = []
    for index in range(len(poems) if most is None else min(most, len(poems))):
        if not poems.poem(index)[1].any():
            continue  # the lattice cannot spell it
        batch = poems.held_out([index], seed)
        path = batch.y[0][batch.counts[0]].tolist()
        bits = lattices.allowed_along(form_of(poems.tags(index).form), path)
        if (bits == -1).all(axis=1).any():
            continue  # a mark or a capital where the lattice puts none
        moved = batch.to(device)
        hidden = model.hidden(moved.x, moved.states)[moved.counts]
        logits = (
            model.lm_head(hidden).float().cpu().double()
        )  # (T, V); not every device has doubles
        loss = -float(_log_mass(logits.log_softmax(-1), torch.from_numpy(bits)).sum())
        losses_.append(max(0.0, loss))
    model.train(was_training)
    return (float(np.mean(losses_)) if losses_ else math.nan), len(losses_)


def _free(
    model: GPT, poems: Poems, lattices: Lattices, samples: int, seed: int
) -> tuple[float, float, float]:
    """Shares of free draws in form, with the season asked for, with a word of the topic.

    A season in turn is asked for, with the topic of a held-out poem: the one it came with, or a
    word of it.
    """
    valid = season_met = topic_met = 0
    prompts_ = min(len(poems), max(1, samples // _EACH))
    for which in range(prompts_):
        each = samples // prompts_ + (which < samples % prompts_)
        draw = np.random.default_rng([seed, which])
        tags = poems.tags(which)
        season, topic = SEASONS[which % len(SEASONS)], tags.topic or poems.own_word(tags, draw)
        form = form_of(tags.form)
        asking = prompts.build(
            poems.tokenizer, topic or "anything", replace(form, kigo=season), poems.style
        )
        newline = poems.tokenizer.encode("\n")[0]
        texts = free_samples(
            model, poems.tokenizer, asking.ids, asking.end, lattices(form, asking.end),
            [np.random.default_rng([seed, which, i]) for i in range(each)],
            lines=len(form.lines) if asking.end == newline else None,
        )  # fmt: skip
        about = {_root(w.key) for w in words(topic)} - DANGLING
        for text in texts:
            valid += validate(text, bare(form), policy="any").valid
            season_met += any(season in kigo.seasons for kigo in find_kigo(text))
            topic_met += bool(about & {_root(w.key) for w in words(text)})
    return valid / samples, season_met / samples, topic_met / samples


def _root(word: str) -> str:
    """A word without the ending that most plurals have."""
    return word.removesuffix("es") if word.endswith(("ses", "xes", "ches")) else word.rstrip("s")
