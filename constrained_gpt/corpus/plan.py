"""What the teacher is asked, batch by batch: topic, season, form and the examples it is shown.

Plain data made from a recipe and a number; knows no model. Called by `write`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from constrained_gpt.corpus.files import data, is_number
from constrained_gpt.decoding import STRATEGIES, Options
from constrained_gpt.lexicon import SEASONS, Form
from constrained_gpt.lexicon.form import FORMS

HELD = "held"


@dataclass(frozen=True)
class Topic:
    """What to write about, and the season it belongs to (None: any)."""

    text: str
    season: str | None = None


@dataclass(frozen=True)
class Recipe:
    """How a corpus is written; together with a batch's number it names the batch.

    poems: in a batch, all under one prompt. examples: poems shown before it, drawn anew for each
    batch; usual: share of batches that see those of `generate` instead. forms: name -> weight.
    seasons: season or "any" -> weight, for topics that fit any. teacher_top: tokens whose
    probability is kept at each step. The others as in `generate`.
    """

    model: str = "smollm2"
    dtype: str = "int8"
    strategy: str = "smc"
    particles: int = 4
    temperature: float = 0.9
    min_p: float = 0.02
    repetition_penalty: float = 1.0
    poems: int = 16
    examples: int = 4
    usual: float = 0.5
    teacher_top: int = 16
    seed: int = 0
    forms: Mapping[str, float] = dataclasses.field(default_factory=lambda: {"haiku": 1.0})
    seasons: Mapping[str, float] = dataclasses.field(default_factory=lambda: {"any": 1.0})

    def __post_init__(self) -> None:
        for name in ("model", "dtype", "strategy"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"{name}={getattr(self, name)!r} is not a name; give a string")
        if self.strategy not in STRATEGIES:
            raise ValueError(
                f"strategy={self.strategy!r} is unknown; use one of {', '.join(STRATEGIES)}"
            )
        _ = self.options
        for name in ("poems", "examples", "teacher_top", "seed"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < (name == "poems"):
                raise ValueError(f"{name}={value!r} is not a whole number that fits; mend it")
        if self.teacher_top > 255:  # a record counts them in one byte (`teacher.pack`)
            raise ValueError(f"teacher_top={self.teacher_top} is too many; give at most 255")
        if not is_number(self.usual) or not 0 <= self.usual <= 1:
            raise ValueError(f"usual={self.usual!r} is no share; give one from 0 to 1")
        for name, known in (("forms", tuple(FORMS)), ("seasons", ("any", *SEASONS))):
            weights = getattr(self, name)
            if not isinstance(weights, Mapping) or not all(map(is_number, weights.values())):
                raise ValueError(
                    f'{name}={weights!r} are no weights; give e.g. {{"{known[0]}": 1}}'
                )
            unknown = [key for key in weights if key not in known]
            if unknown:
                raise ValueError(f"{name} names {unknown[0]!r}; use {', '.join(known)}")
            if not weights or min(weights.values()) < 0 or not sum(weights.values()) > 0:
                raise ValueError(f"the weights of {name} are not positive numbers; mend them")

    @property
    def options(self) -> Options:
        """How a token is drawn."""
        return Options(
            temperature=self.temperature, min_p=self.min_p, particles=self.particles,
            repetition_penalty=self.repetition_penalty,
        )  # fmt: skip

    @classmethod
    def load(cls, path: str | Path | None = None) -> Recipe:
        """From a JSON file; None: the recipe that the package carries."""
        if path is None:
            text: str | bytes = data("recipe.json")
        else:
            text = Path(path).read_bytes()
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path} is not JSON ({error}); write a recipe such as the "
                             "package's corpus/data/recipe.json") from None  # fmt: skip
        names = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(found) - names) if isinstance(found, dict) else ["it is no object"]
        if unknown:
            raise ValueError(f"{path}: {unknown[0]}: not of a recipe; use {', '.join(names)}")
        try:
            return cls(**found)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}: {error}") from None

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Job:
    """One batch: what is asked, of which form, after which examples (topic, poem; None: those
    of `generate`)."""

    number: int
    topic: str
    season: str | None
    form: Form
    examples: Sequence[tuple[str, str]] | None


def topics() -> list[Topic]:
    """The topics to write about; those held out are not among them."""
    return [topic for topic in _topics() if topic.season != HELD]


def held_out() -> list[str]:
    """Topics that no corpus is written on: for evaluation."""
    return [topic.text for topic in _topics() if topic.season == HELD]


def examples() -> list[tuple[str, str]]:
    """(topic, poem): written by hand, for the teacher to go by."""
    found = []
    for block in data("examples.txt").strip().split("\n\n"):
        topic, poem = block.split("\n", 1)
        found.append((topic, poem))
    return found


def job(recipe: Recipe, number: int) -> Job:
    """The batch of a number."""
    rng = np.random.default_rng([recipe.seed, number])
    topic = _choose(rng, topics())
    form = FORMS[_weighted(rng, recipe.forms)]
    season = topic.season or _weighted(rng, recipe.seasons)
    kigo = (None if season == "any" else season) if form.seasonal else None
    asked = dataclasses.replace(
        form,
        kigo=(kigo or "any") if form.seasonal else "off",
        rhyme="identical",
        dangling="strict",
    )
    if rng.random() < recipe.usual:
        return Job(number, topic.text, kigo, asked, None)
    shown = examples()
    order = rng.permutation(len(shown))[: recipe.examples]
    return Job(number, topic.text, kigo, asked, tuple(shown[i] for i in order))


def _choose(rng: np.random.Generator, among: Sequence[Topic]) -> Topic:
    return among[int(rng.integers(len(among)))]


def _weighted(rng: np.random.Generator, weights: Mapping[str, float]) -> str:
    names = sorted(weights)
    share = np.array([weights[name] for name in names], np.float64)
    return names[int(rng.choice(len(names), p=share / share.sum()))]


def _topics() -> list[Topic]:
    found = []
    for line in data("topics.txt").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        season, colon, text = line.partition(": ")
        found.append(Topic(text, season) if colon else Topic(line))
    return found
