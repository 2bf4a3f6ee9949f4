"""What a language model thinks of poems from anywhere: their log-probability, token by token.

Meets a model only as ids in, logits out (`decoding.batch.LanguageModel`); knows prompts, no form
and no lattice. Called by `evaluate`; `form_loss` reads along.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from constrained_gpt import prompts
from constrained_gpt.kernels.log_norm import log_sum_exp
from constrained_gpt.lexicon import HAIKU

NEUTRAL_TOPIC = "anything"
BATCH = 32

# (places in the batch's list, step, logits (rows, V) of the token each takes at that step)
Watch = Callable[[Sequence[int], int, np.ndarray], None]


class Speller(prompts.Speller, Protocol):
    """What a judge needs of a tokenizer (`constrained_gpt.tokenizer.Tokenizer`)."""

    @property
    def content_hash(self) -> str: ...
    @property
    def n_vocab(self) -> int: ...


class Model(Protocol):
    """What a judge is: `constrained_gpt.engine.Engine`, or a test's own."""

    @property
    def name(self) -> str: ...
    @property
    def tokenizer(self) -> Speller: ...
    @property
    def n_vocab(self) -> int: ...
    @property
    def max_positions(self) -> int: ...
    def prefill(self, ids: Sequence[int], batch: int, max_new: int) -> tuple[Any, np.ndarray]: ...
    def decode_step(self, cache: Any, tokens: np.ndarray, /) -> np.ndarray: ...


@dataclass(frozen=True, slots=True)
class Script:
    """A poem as the judge reads it: the prompt's ids, and the poem's with the one that ends it."""

    prompt: tuple[int, ...]
    path: tuple[int, ...]


def script(model: Model, text: str, topic: str) -> Script | None:
    """The poem under a prompt that asks for a haiku about the topic, as `generate` builds it.

    None if the two are longer than the model can read.
    """
    style = getattr(model, "prompt_style", None)
    asking = prompts.build(model.tokenizer, prompts.checked(topic), HAIKU, style)
    path = (*model.tokenizer.encode(text), asking.end)
    if len(asking.ids) + len(path) > model.max_positions:
        return None
    return Script(asking.ids, path)


def log_p(
    model: Model,
    scripts: Sequence[Script],
    *,
    watch: Watch | None = None,
    progress: Callable[[int], object] | None = None,
    batch: int = BATCH,
) -> list[float]:
    """Log-probability of each poem's tokens, its end among them, given its prompt: natural log,
    softmax of the model's logits, no temperature.

    The poems of one prompt are read side by side, `batch` of them at a time, longest first, after
    one reading of the prompt. watch: called for every step with the logits. progress: called with
    the number of poems read so far.
    """
    totals = [0.0] * len(scripts)
    done = 0
    for rows in _batches(scripts, batch):
        for places, step, logits in _read_along(model, scripts, rows):
            for place, row in zip(places, logits, strict=True):
                totals[place] += float(row[scripts[place].path[step]]) - log_sum_exp(row)
            if watch is not None:
                watch(places, step, logits)
        done += len(rows)
        if progress is not None:
            progress(done)
    return totals


def _batches(scripts: Sequence[Script], batch: int) -> Iterator[list[int]]:
    """Places of poems to be read together: one prompt, near in length, longest first."""
    if batch < 1:
        raise ValueError(f"batch={batch} is too small; give a whole number from 1 up")
    by_prompt: dict[tuple[int, ...], list[int]] = {}
    for place, one in enumerate(scripts):
        by_prompt.setdefault(one.prompt, []).append(place)
    for places in by_prompt.values():
        places.sort(key=lambda place: (-len(scripts[place].path), place))
        for first in range(0, len(places), batch):
            yield places[first : first + batch]


def _read_along(
    model: Model, scripts: Sequence[Script], rows: list[int]
) -> Iterator[tuple[Sequence[int], int, np.ndarray]]:
    """Let the model read some poems, each given the poem's own tokens whatever it would write.

    Yields (places, step, logits), the rows that are finished left out. The model's batch is a
    power of two and shrinks by halves, filled up with rows nobody looks at: every new number of
    rows makes oneDNN prepare each layer anew, and it remembers 1,024 preparations (measured: 50
    poems of five prompts in 32 s when rows were dropped one by one, in 14 s so).
    """
    rows = list(rows)
    paths = [scripts[place].path for place in rows]
    width = _width(len(paths))
    cache, first = model.prefill(scripts[rows[0]].prompt, width, len(paths[0]))
    logits = np.repeat(first[None], len(rows), axis=0)
    for step in range(len(paths[0])):
        if step:
            going = sum(len(path) > step for path in paths)  # longest first: these lead
            del paths[going:], rows[going:]
            if _width(going) < width:
                width = _width(going)
                cache.select(np.arange(width))
            tokens = np.zeros(width, np.int64)
            tokens[:going] = [path[step - 1] for path in paths]
            logits = model.decode_step(cache, tokens)[:going]
        yield list(rows), step, logits


def _width(rows: int) -> int:
    """The smallest power of two that holds so many rows."""
    return 1 << (rows - 1).bit_length()
