"""generate(), iterate() and stream(): the only file that sees all rooms.

Checks what the caller asks, picks model, lexicon and lattice, lets a decoder write, and turns paths
into poems, each read again by the validator before it is handed out.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import itertools
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path as FilePath
from typing import Any

import numpy as np

from constrained_gpt import checkpoint, prompts
from constrained_gpt import lookahead as lookaheads
from constrained_gpt.decoding import STRATEGIES, Guide, Options, Path, Scorer
from constrained_gpt.decoding.options import WIDEST
from constrained_gpt.decoding.score import Score, word_bonus
from constrained_gpt.engine import Engine
from constrained_gpt.file_hash import file_seen
from constrained_gpt.first_line import left_open, start_after
from constrained_gpt.haiku import Haiku
from constrained_gpt.lattice import Lattice, LatticeError, compile
from constrained_gpt.lexicon import HAIKU, SEASONS, Form, Lexicon, validate
from constrained_gpt.registry import DEFAULT as DEFAULT_MODEL

DEFAULT_STRATEGY = "smc"  # four particles read far better than plain draws; see bench/LOG.md
_BATCH = 32
_REFILLS = 8  # so many times the batch is handed to a decoder that refills rows
_ATTEMPTS = 20  # draws for one poem before giving up on finding a new one


def generate(
    prompt: str,
    n: int = 1,
    *,
    model: str | os.PathLike[str] | Engine = DEFAULT_MODEL,
    form: Form = HAIKU,
    season: str | None = None,
    kigo: str | Iterable[str] | None = None,
    kireji: str | None = None,
    rhyme: str | None = None,
    dangling: str | None = None,
    temperature: float = Options.temperature,
    top_k: int | None = Options.top_k,
    top_p: float | None = Options.top_p,
    min_p: float | None = Options.min_p,
    repetition_penalty: float = Options.repetition_penalty,
    lookahead: bool = Options.lookahead,
    seed: int | None = None,
    first_line: str | None = None,
    lexicon: Lexicon | None = None,
    strategy: str = DEFAULT_STRATEGY,
    particles: int = Options.particles,
    beams: int = Options.beams,
    resample: str = Options.resample,
    diversity: float = Options.diversity,
    score: Score | Mapping[str, float] | None = None,
    unique: bool = True,
    batch_size: int | None = None,
    policy: str = "all",
    dtype: str | None = None,
    return_weights: bool = False,
    progress: Callable[[int, int], object] | None = None,
) -> list[Haiku]:
    """Write n poems about a topic, every one valid.

    prompt: the topic. model: a name (`haiku models`), a folder or file of weights, or an Engine.
    form, and what to change in it: season (one of SEASONS), kigo ("off", "any", a season, a phrase
    of the saijiki or several, one of which must occur), kireji, rhyme, dangling (see `Form`).
    Without a word about the season a haiku gets any kigo. Lines do not end on the same sound
    (rhyme "identical") nor on a function word (dangling "strict") unless asked otherwise.
    temperature, top_k, top_p, min_p, repetition_penalty, lookahead, particles, beams, resample,
    diversity: see `decoding.Options`. strategy: "sample", "smc", "best" (of `particles` drafts) or
    "beam".
    score: what you like and dislike, in nats: words and phrases with a bonus or a penalty such as
    {"moon": -2}, a `WordScore`, or a function of the text, asked as lines are finished. The target
    is multiplied by exp(score); "best" keeps the draft with the highest one.
    seed: names the poems, whatever the batch size; None picks one (`Haiku.seed`). first_line: a
    line of yours to go on from. unique: no poem twice. policy: "all" uses only words whose
    syllables nobody disputes, "any" allows a line some reading of which fits.
    dtype: of the weights, see `Engine.from_pretrained`, where `model` is not an Engine already; by
    default int8 on a processor and bfloat16 on a GPU that multiplies it. It is part of what a seed
    names.
    return_weights: strategy "sample" says each poem's logprob, weight and log_mass too; otherwise
    they are nan or empty there, and logits that the form forbids are not computed, which is faster.
    "smc" and "beam" know their own in any case.
    progress: called with (poems finished, n).

    Raises ValueError or TypeError, with the cure, before anything is written.
    """
    job = _prepare(
        prompt, n, model, form, season, kigo, kireji, rhyme, dangling,
        Options(
            temperature, top_k, top_p, min_p, repetition_penalty, lookahead, particles, beams,
            resample, diversity,
        ),
        seed, first_line, lexicon, strategy, policy, dtype, return_weights, score,
    )  # fmt: skip
    _truth("unique", unique)
    return list(_poems(job, n, _checked_batch(batch_size), unique, progress))


def iterate(prompt: str, n: int = 1, **options: Any) -> Iterator[Haiku]:
    """The poems of generate(prompt, n, **options), each as soon as its batch is done: for more of
    them than should be held at once. What is asked is checked before the first one."""
    bound = inspect.signature(generate).bind(prompt, n, **options)
    bound.apply_defaults()
    asked = bound.arguments
    given = {name: asked[name] for name in _JOB}
    chosen = Options(**{name: asked[name] for name in inspect.signature(Options).parameters})
    job = _prepare(options=chosen, weights=asked["return_weights"], **given)
    rows = _checked_batch(asked["batch_size"])
    _truth("unique", asked["unique"])
    return _poems(job, n, rows, asked["unique"], asked["progress"])


_JOB = (
    "prompt", "n", "model", "form", "season", "kigo", "kireji", "rhyme", "dangling", "seed",
    "first_line", "lexicon", "strategy", "policy", "dtype", "score",
)  # fmt: skip


def _poems(
    job: _Job, n: int, rows: int, unique: bool, progress: Callable[[int, int], object] | None
) -> Iterator[Haiku]:
    """Poem after poem. Memory: a few batches of them, and if `unique` a short sum of each."""
    if progress is not None:
        progress(0, n)
    if job.strategy == "beam":
        yield from _distinct_beams(job, n, unique, progress)
        return
    taken: set[bytes] = set()
    # poems a call of the decoder
    many = rows * _REFILLS if job.strategy == "sample" else rows
    for first in range(0, n, many):
        wanted = range(first, min(first + many, n))
        drafts = _write(job, [(i, 0) for i in wanted], rows)
        for i, draft in zip(wanted, drafts, strict=True):
            for attempt in itertools.count(1):
                said = hashlib.blake2b(draft.text.encode(), digest_size=16).digest()
                if not unique or said not in taken:
                    break
                if attempt == _ATTEMPTS or job.options.temperature == 0:
                    raise ValueError(
                        f"only {i} different poems came up for n={n}; raise the "
                        "temperature, widen the form, or pass unique=False"
                    )
                (draft,) = _write(job, [(i, attempt)])
            taken.add(said)
            if progress is not None:
                progress(i + 1, n)
            yield draft


def stream(
    prompt: str,
    n: int = 1,
    *,
    model: str | os.PathLike[str] | Engine = DEFAULT_MODEL,
    form: Form = HAIKU,
    season: str | None = None,
    kigo: str | Iterable[str] | None = None,
    kireji: str | None = None,
    rhyme: str | None = None,
    dangling: str | None = None,
    temperature: float = Options.temperature,
    top_k: int | None = Options.top_k,
    top_p: float | None = Options.top_p,
    min_p: float | None = Options.min_p,
    repetition_penalty: float = Options.repetition_penalty,
    lookahead: bool = Options.lookahead,
    seed: int | None = None,
    first_line: str | None = None,
    lexicon: Lexicon | None = None,
    policy: str = "all",
    dtype: str | None = None,
) -> Iterator[tuple[int, int, str]]:
    """Write poems one after another and yield (poem, line, text) as each line is finished.

    The same poems as generate(..., strategy="sample", unique=False) with the same seed: a
    population's poem is not known before its last line, and a line once out cannot be taken back.
    """
    job = _prepare(
        prompt, n, model, form, season, kigo, kireji, rhyme, dangling,
        Options(temperature, top_k, top_p, min_p, repetition_penalty, lookahead),
        seed, first_line, lexicon, "sample", policy, dtype,
    )  # fmt: skip
    return _lines(job, n)


@dataclass(frozen=True)
class _Job:
    """Everything a draw needs, checked."""

    engine: Engine
    lattice: Lattice
    lexicon: Lexicon
    form: Form
    prompt: str
    ids: tuple[int, ...]
    start: np.ndarray | None
    first_line: str | None
    options: Options
    strategy: str
    policy: str
    seed: int
    weights: bool
    guide: Guide | None
    scorer: Scorer | None


def _prepare(
    prompt: str,
    n: int,
    model: str | os.PathLike[str] | Engine,
    form: Form,
    season: str | None,
    kigo: str | Iterable[str] | None,
    kireji: str | None,
    rhyme: str | None,
    dangling: str | None,
    options: Options,
    seed: int | None,
    first_line: str | None,
    lexicon: Lexicon | None,
    strategy: str,
    policy: str,
    dtype: str | None,
    weights: bool = False,
    score: Score | Mapping[str, float] | None = None,
) -> _Job:
    topic = prompts.checked(prompt)
    _whole("n", n, least=1)
    _truth("return_weights", weights)
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy={strategy!r} is unknown; use one of {', '.join(STRATEGIES)}")
    if not isinstance(form, Form):
        raise TypeError(f"form is a Form such as HAIKU or Form(lines=(3, 5, 3)), not {form!r}")
    words = Lexicon.default() if lexicon is None else lexicon
    if not isinstance(words, Lexicon):
        raise TypeError("lexicon is a Lexicon; make one with Lexicon.default().with_words(...)")
    asked = _asked(form, words, season, kigo, kireji, rhyme, dangling)
    if seed is None:
        seed = secrets.randbelow(2**32)
    _whole("seed", seed, least=0)
    if policy not in ("all", "any"):
        raise ValueError(f"policy={policy!r} is unknown; use all or any")
    if first_line is not None and not isinstance(first_line, str):
        raise TypeError(f"first_line is a str, not {type(first_line).__name__}")
    if dtype is not None and not isinstance(dtype, str):
        raise TypeError(f"dtype={dtype!r} is not a name; give one such as 'int8' or 'float32'")
    if isinstance(model, (str, os.PathLike)):
        engine = _engine(os.fspath(model), dtype)
    elif dtype is not None:
        raise ValueError(
            f"dtype={dtype!r} is for loading a model, and this one is an Engine already"
        )
    else:
        engine = model
    if not hasattr(engine, "decode_step"):
        raise TypeError(f"model is a name, a path or an Engine, not {type(model).__name__}")
    tokenizer = engine.tokenizer
    asking = prompts.build(tokenizer, topic, asked, getattr(engine, "prompt_style", None))
    lattice = _lattice(asked, words, tokenizer, policy, asking.end)
    ids, start = asking.ids, None
    if first_line is not None:
        text, start = start_after(first_line, asked, words, lattice, policy)
        first_line = text
        hung = left_open(text, asked, words)
        if hung is not None and dangling is not None:
            raise ValueError(f"first_line {text!r}: {hung}; or pass dangling='off'")
        if hung is not None:  # the caller's line is the caller's; those that follow keep the rule
            asked = dataclasses.replace(asked, dangling="off")
        ids = (*ids, *tokenizer.encode(text + "\n"))
    scorer = None
    if score is not None:
        before = "" if first_line is None else first_line + "\n"
        scorer = Scorer(score, tokenizer.decode, before)
    return _Job(
        engine,
        lattice,
        words,
        asked,
        topic,
        ids,
        start,
        first_line,
        options,
        strategy,
        policy,
        seed,
        weights,
        _guide(engine, lattice, options, scorer),
        scorer,
    )


def _guide(engine: Any, lattice: Lattice, options: Options, scorer: Scorer | None) -> Guide | None:
    """What the draws follow beside the masks: what was learned of the model, and bonuses of words
    that are a token each."""
    if not options.lookahead:
        return None
    guide = lookaheads.guide_of(engine, lattice, options.temperature)
    bonus = None if scorer is None else word_bonus(scorer.score, lattice, engine.tokenizer.decode)
    if bonus is None:
        return guide
    return (Guide.blank(lattice) if guide is None else guide).plus(bonus)


def _asked(
    form: Form,
    lexicon: Lexicon,
    season: str | None,
    kigo: str | Iterable[str] | None,
    kireji: str | None,
    rhyme: str | None,
    dangling: str | None,
) -> Form:
    """The form with what the caller changed in it, and the taste of generate() elsewhere."""
    if season is not None:
        if not isinstance(season, str) or season not in SEASONS:
            raise ValueError(f"season={season!r} is unknown; use one of {', '.join(SEASONS)}")
        if kigo is not None and kigo not in ("any", season):
            raise ValueError(
                f"season={season!r} and kigo={kigo!r} both say which season word to use; give one"
            )
        kigo = season
    if kigo is None:
        kigo = "any" if form.kigo == "off" and form.seasonal else form.kigo
    elif isinstance(kigo, str) and kigo not in ("off", "any", *SEASONS):
        kigo = [kigo]
    if not isinstance(kigo, str):
        if not isinstance(kigo, Iterable):
            raise TypeError(f"kigo={kigo!r} is neither a name nor phrases; give e.g. 'first snow'")
        kigo = frozenset(_known_kigo(phrase, lexicon) for phrase in kigo)
    return dataclasses.replace(
        form,
        kigo=kigo,
        kireji=form.kireji if kireji is None else kireji,
        rhyme=("identical" if form.rhyme == "perfect" else form.rhyme) if rhyme is None else rhyme,
        dangling="strict" if dangling is None else dangling,
    )


def _known_kigo(phrase: object, lexicon: Lexicon) -> str:
    if not isinstance(phrase, str):
        raise TypeError(f"a kigo is a phrase of the saijiki, not {phrase!r}")
    keys = lexicon.saijiki.find(phrase)
    if keys is None:
        import difflib

        near = difflib.get_close_matches(
            phrase.lower(), [" ".join(k) for k, s in lexicon.saijiki.entries.items() if s], 3
        )
        hint = f"did you mean {' or '.join(near)}?" if near else "see lexicon/data/kigo.tsv"
        raise ValueError(f"{phrase!r} is not a season word of the saijiki; {hint}")
    return phrase


def _whole(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name}={value!r} is not a whole number; give one from {least} up")
    if value < least:
        raise ValueError(f"{name}={value} is too small; give a whole number from {least} up")


def _truth(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise TypeError(f"{name}={value!r} is neither True nor False")


def _checked_batch(batch_size: int | None) -> int:
    if batch_size is None:
        return _BATCH
    _whole("batch_size", batch_size, least=1)
    return int(batch_size)


def _engine(name: str, dtype: str | None) -> Any:
    """The engine of a name or path, loaded once as long as its files are what they were."""
    seen = None
    if FilePath(name).expanduser().exists():  # a path: it may have been trained on, or copied anew
        seen = tuple((file, *file_seen(file)) for file in checkpoint.find(name).files)
    return _loaded(name, dtype, seen)


@lru_cache(maxsize=2)
def _loaded(name: str, dtype: str | None, seen: object) -> Any:
    return Engine.from_pretrained(name, dtype="auto" if dtype is None else dtype)


_LATTICES: dict[Any, Lattice] = {}


def _lattice(form: Form, lexicon: Lexicon, tokenizer: Any, policy: str, end: int) -> Lattice:
    key = (form, lexicon.content_hash, tokenizer.content_hash, policy, end)
    found = _LATTICES.get(key)
    if found is None:
        found = compile(form, lexicon, tokenizer, policy=policy, end=end)
        while len(_LATTICES) >= 8:
            _LATTICES.pop(next(iter(_LATTICES)))
        _LATTICES[key] = found
    return found


def _generator(job: _Job, index: int, attempt: int) -> np.random.Generator:
    """The numbers of one poem: they depend on nothing but seed, place and attempt (law 8)."""
    return np.random.default_rng([job.seed, index, attempt])


def _write(job: _Job, places: Sequence[tuple[int, int]], rows: int | None = None) -> list[Haiku]:
    """One poem for every (index, attempt). rows: poems side by side, where a decoder goes on with
    the next ones as poems end."""
    generators = [_generator(job, *place) for place in places]
    decode = STRATEGIES[job.strategy]
    more: dict[str, Any] = {}
    if job.strategy == "sample":
        more.update(weights=job.weights, rows=rows)
    paths = decode(
        job.engine, job.lattice, job.ids, generators, job.options,
        start=job.start, guide=job.guide, scorer=job.scorer, **more,
    )  # fmt: skip
    return [_haiku(job, path, index) for path, (index, _) in zip(paths, places, strict=True)]


def _distinct_beams(
    job: _Job, n: int, unique: bool, progress: Callable[[int, int], object] | None
) -> list[Haiku]:
    if not unique:
        raise ValueError("a beam never writes a poem twice; leave unique at True")
    if n > WIDEST:
        raise ValueError(
            f"n={n} is too many for one beam; give at most {WIDEST:,}, or use strategy='sample'"
        )
    poems = _write(job, [(i, 0) for i in range(n)])
    if len(poems) < n:
        raise ValueError(f"the beam found {len(poems)} poems for n={n}; raise beams or lower n")
    if progress is not None:
        progress(n, n)
    return poems


def _text(job: _Job, tokens: Sequence[int]) -> str:
    written = job.engine.tokenizer.decode(list(tokens))
    return written if job.first_line is None else f"{job.first_line}\n{written}"


def _haiku(job: _Job, path: Path, index: int) -> Haiku:
    text = _text(job, path.tokens[:-1])
    report = validate(text, job.form, policy=job.policy, lexicon=job.lexicon)
    if not report.valid:
        raise RuntimeError(
            f"the lattice let through a poem the validator refuses: {text!r}: "
            f"{'; '.join(report.reasons)}; please report this with seed={job.seed}"
        )
    return Haiku(
        text=text,
        logprob=path.log_p,
        weight=path.weight,
        weight_error=path.weight_error,
        score=path.score,
        tokens=tuple(path.tokens[:-1]),
        report=report,
        seed=job.seed,
        index=index,
        model=job.engine.name,
        prompt=job.prompt,
        log_mass=tuple(path.log_mass),
        line_log_mass=_by_line(job, path),
    )


def _by_line(job: _Job, path: Path) -> tuple[float, ...]:
    """The path's log mass, summed for each line that was written."""
    if not path.log_mass:
        return ()
    spelled = job.engine.tokenizer
    breaks = np.array(["\n" in spelled.decode([token]) for token in path.tokens[:-1]])
    lines = np.concatenate(([0], np.cumsum(breaks)))  # a break belongs to the line it closes
    return tuple(np.bincount(lines, weights=path.log_mass).tolist())


def _lines(job: _Job, n: int) -> Iterator[tuple[int, int, str]]:
    from constrained_gpt.decoding.stream import sample_lines

    for index in range(n):
        given = 0
        if job.first_line is not None:
            yield index, 0, job.first_line
            given = 1
        tokens_of_lines = sample_lines(
            job.engine, job.lattice, job.ids, _generator(job, index, 0), job.options, job.start,
            job.guide,
        )  # fmt: skip
        for line, tokens in enumerate(tokens_of_lines, start=given):
            yield index, line, job.engine.tokenizer.decode(tokens)


__all__ = ["DEFAULT_MODEL", "Haiku", "LatticeError", "generate", "iterate", "stream"]
