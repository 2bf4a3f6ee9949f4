"""evaluate_poems(): sets of poems in, all measures of them out.

Puts the measures, the judge and the intervals together; the only file of this room that loads a
model, and only if a judge is asked for. Called by the command line (`haiku eval`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from constrained_gpt.evaluation import diversity, intervals
from constrained_gpt.evaluation.measures import MEASURES, Judged
from constrained_gpt.evaluation.novelty import Reference
from constrained_gpt.evaluation.report import Evaluation, SetResult, Settings
from constrained_gpt.evaluation.sources import Entry, PoemSet, entry
from constrained_gpt.evaluation.text import is_content, measure
from constrained_gpt.lexicon import Form, Lexicon
from constrained_gpt.lexicon.normalize import words

if TYPE_CHECKING:
    from constrained_gpt.evaluation.judge import Model

DEFAULT_JUDGE = "smollm2"
SAMPLE = 1000  # poems of each set at most, where diversity is measured
SEED = 0
Sets = Mapping[str, Iterable[object]] | Sequence[PoemSet]


def evaluate_poems(
    sets: Sets,
    *,
    judge: str | os.PathLike[str] | Model | None = DEFAULT_JUDGE,
    topic: str | None = None,
    own_prompts: bool = False,
    reference: Iterable[object] | PoemSet | None = None,
    form_loss: Form | None = None,
    policy: str = "any",
    lexicon: Lexicon | None = None,
    sample: int | None = None,
    seed: int = SEED,
    progress: Callable[[int, int], object] | None = None,
) -> Evaluation:
    """Measure sets of poems side by side.

    sets         name -> poems (str, `Haiku`, or records of `haiku write --json`), or PoemSets
    judge        the model that gives log p: a name, a path, an Engine; None: no model is loaded
    topic        what the judge is told that every poem is about: by default "anything", so that
                 no set has the better prompt. own_prompts: a poem that carries its prompt is
                 judged under that one
    reference    poems that none should copy. A set that comes from the reference's own file is
                 compared with the other poems of it, each poem's own place left out
    form_loss    recompute the form loss of all poems under this form, its lattice under `policy`
                 and `lexicon`, and the judge; by default a poem's own, if it carries one
    sample       poems of each set that diversity is measured on; by default as many as the
                 smallest set has, SAMPLE at most, for these measures depend on the number
    seed         of the sample and of the intervals
    progress     called with (poems read by the judge, poems it has to read)

    The measures are described where they are taken: `text`, `diversity`, `novelty`, `judge`,
    `form_loss`, `intervals`. Raises ValueError or TypeError, with the cure.
    """
    poem_sets = _sets(sets)
    if sample is not None and (isinstance(sample, bool) or not isinstance(sample, int)):
        raise TypeError(f"sample={sample!r} is not a whole number; give one from 1 up")
    if sample is not None and sample < 1:
        raise ValueError(f"sample={sample} is too small; give a whole number from 1 up")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed={seed!r} is no seed; give a whole number from 0 up")
    if judge is None:
        for given, name in (
            (topic, "topic"),
            (own_prompts, "own_prompts"),
            (form_loss, "form_loss"),
        ):
            if given:
                raise ValueError(f"{name} needs a judge; name one, or leave {name} out")
    against = _reference(reference)
    size = sample or min(SAMPLE, *(len(s.entries) for s in poem_sets))

    judged = [[Judged(e, measure(e.text)) for e in s.entries] for s in poem_sets]
    if against is not None:
        index = Reference(_keys(e.text) for e in against.entries)
        for poem_set, poems in zip(poem_sets, judged, strict=True):
            itself = _same_file(poem_set, against)
            for place, poem in enumerate(poems):
                poem.copied = index.longest(poem.text.keys, without=place if itself else -1)
    told = None
    if judge is not None:
        from constrained_gpt.evaluation.judge import NEUTRAL_TOPIC

        told = NEUTRAL_TOPIC if topic is None else topic
        model = _model(judge)
        _read(model, judged, told, own_prompts, form_loss, policy, lexicon, progress)
    if form_loss is None:
        for poem in (p for poems in judged for p in poems):
            poem.form_loss = tuple(-mass for mass in poem.entry.line_log_mass) or None
    return Evaluation(
        Settings(
            judge=None if judge is None else model.name,
            topic=told,
            own_prompts=own_prompts,
            form=form_loss,
            policy=None if form_loss is None else policy,
            reference=None if against is None else against.name,
            reference_poems=None if against is None else len(against.entries),
            seed=seed,
        ),
        tuple(
            _result(poem_set, poems, size, seed, judge is not None)
            for poem_set, poems in zip(poem_sets, judged, strict=True)
        ),
    )


def _sets(sets: Sets) -> list[PoemSet]:
    if isinstance(sets, Mapping):
        found = [PoemSet(name, _entries(name, poems)) for name, poems in sets.items()]
    else:
        found = list(sets)
        if not all(isinstance(one, PoemSet) for one in found):
            raise TypeError("sets is a mapping of names to poems, or a list of PoemSets")
    if not found:
        raise ValueError("there are no sets; give at least one")
    for one in found:
        if not one.entries:
            raise ValueError(f"the set {one.name!r} holds no poems; give at least one")
    return found


def _entries(name: str, poems: Iterable[object]) -> list[Entry]:
    if isinstance(poems, str):
        raise TypeError(f"the set {name!r} is one str; give a list of poems")
    return [entry(poem) for poem in poems]


def _reference(reference: Iterable[object] | PoemSet | None) -> PoemSet | None:
    if reference is None or isinstance(reference, PoemSet):
        return reference
    return PoemSet("reference", _entries("reference", reference))


def _same_file(one: PoemSet, other: PoemSet) -> bool:
    return (
        one.file is not None
        and other.file is not None
        and len(one.entries) == len(other.entries)
        and Path(one.file).resolve() == Path(other.file).resolve()
    )


def _keys(text: str) -> list[str]:
    return [word.key for word in words(text)]


def _model(judge: str | os.PathLike[str] | Model) -> Model:
    if not isinstance(judge, (str, os.PathLike)):
        if not hasattr(judge, "decode_step"):
            raise TypeError(f"judge is a name, a path or an Engine, not {type(judge).__name__}")
        return judge
    from constrained_gpt.engine import Engine

    return Engine.from_pretrained(os.fspath(judge))


def _read(
    model: Model,
    judged: Sequence[list[Judged]],
    topic: str,
    own_prompts: bool,
    form: Form | None,
    policy: str,
    lexicon: Lexicon | None,
    progress: Callable[[int, int], object] | None,
) -> None:
    """Let the judge read all poems: fills log_p, tokens and, where a form is given, form_loss."""
    from constrained_gpt.evaluation import judge
    from constrained_gpt.evaluation.form_loss import FormLoss

    lattice: Any = None
    if form is not None:
        from constrained_gpt import lattice as lattices
        from constrained_gpt import prompts

        end = prompts.build(
            model.tokenizer, prompts.checked(topic), form, getattr(model, "prompt_style", None)
        ).end
        known = Lexicon.default() if lexicon is None else lexicon
        lattice = lattices.compile(form, known, model.tokenizer, policy=policy, end=end)
    total = sum(map(len, judged))
    before = 0
    for poems in judged:
        pairs = [
            (poem, judge.script(model, poem.entry.text, asked))
            for poem in poems
            for asked in [poem.entry.prompt if own_prompts and poem.entry.prompt else topic]
        ]
        readable = [(poem, script) for poem, script in pairs if script is not None]
        scripts = [script for _, script in readable]
        loss = None if lattice is None else FormLoss(lattice, scripts)

        def report(done: int, before: int = before) -> None:
            if progress is not None:
                progress(before + done, total)

        report(0)
        found = judge.log_p(model, scripts, watch=loss, progress=report)
        for place, (poem, script) in enumerate(readable):
            poem.log_p, poem.tokens = found[place], len(script.path)
            poem.form_loss = None if loss is None else loss.lines(place)
        before += len(poems)
        report(0, before)


def _result(
    poem_set: PoemSet, poems: list[Judged], size: int, seed: int, judged: bool
) -> SetResult:
    chosen = [poems[place] for place in diversity.sample(len(poems), size, seed)]
    texts = [poem.text.keys for poem in chosen]
    if len(chosen) > 1:
        bleus = diversity.self_bleu(texts)
        shared = diversity.shared_lines([_lines(poem) for poem in chosen])
        for poem, bleu, lines in zip(chosen, bleus, shared, strict=True):
            poem.bleu, poem.shared = bleu, lines
    added = [m for m in MEASURES if m.parts is not None]
    parts = np.zeros((2, len(added), len(poems)))
    for row, one in enumerate(added):
        assert one.parts is not None
        for place, poem in enumerate(poems):
            parts[:, row, place] = one.parts(poem) or (0, 0)
    totals = dict(
        zip((m.name for m in added), intervals.ratios(parts[0], parts[1], seed), strict=True)
    )
    for n in (1, 2):
        found = diversity.distinct(texts, n)
        totals[f"distinct_{n}"] = (
            None if found is None else intervals.normal(*found, poems=len(chosen))
        )
    return SetResult(
        name=poem_set.name,
        file=poem_set.file,
        poems=poems,
        totals={m.name: totals[m.name] for m in MEASURES},
        sample=len(chosen),
        unread=sum(poem.log_p is None for poem in poems) if judged else 0,
        commonest=diversity.commonest([set(filter(is_content, p.text.keys)) for p in poems]),
    )


def _lines(poem: Judged) -> list[list[str]]:
    """The words of each line that holds any."""
    return [keys for line in poem.entry.lines if (keys := _keys(line))]
