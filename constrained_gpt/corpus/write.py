"""Let a teacher write a corpus, batch after batch, into a file of JSON lines.

A batch's poems are named by the recipe and the batch's number alone, and are appended in one go: a
run that was cut off goes on with the batch it had not finished. Called by `haiku corpus write`.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from constrained_gpt import lookahead, prompts
from constrained_gpt.corpus import plan, teacher
from constrained_gpt.decoding import STRATEGIES, Guide
from constrained_gpt.engine import Engine
from constrained_gpt.lattice import Lattice, compile
from constrained_gpt.lexicon import Form, Lexicon, validate

Progress = Callable[[int, int], object]


def write(
    out: str | os.PathLike[str],
    batches: int,
    *,
    recipe: plan.Recipe | None = None,
    part: tuple[int, int] = (0, 1),
    progress: Progress | None = None,
) -> dict[str, int]:
    """Append batches to `out` until it holds `batches` of them; returns what it holds then.

    part: (k, of): batches k, k + of, k + 2 of, ..., so that several processes share the work, each
    with a file of its own. A row: text, form, season (None: any or none), topic, batch, log_p (of
    the tokens under the teacher, natural log), log_mass (of what the form left it, natural log: low
    where it was forced), tokens (their number), and, if the recipe says so, teacher
    (`teacher.unpack`) with taught_by (the recipe's model) and taught_end (the token that it ends a
    poem with). progress: called with (batches in the file, batches).

    ValueError if `out` was begun by another recipe or part.
    """
    recipe = plan.Recipe.load() if recipe is None else recipe
    k, of = part
    if of < 1:
        raise ValueError(f"part {k}/{of} is of no parts; give 0/1 for all, or e.g. 0/2 for half")
    if not 0 <= k < of:
        raise ValueError(f"part {k}/{of} does not exist; give one from 0/{of} to {of - 1}/{of}")
    if batches < 0:
        raise ValueError(f"batches={batches} is negative; give how many the file is to hold")
    path = Path(out)
    if path.is_dir() or not path.name:
        raise ValueError(f"{path} is a folder; give --out a file's name")
    path.parent.mkdir(parents=True, exist_ok=True)
    there = path.exists()
    with path.open("ab") as file:
        _hold(file, path)  # first: who does not hold the file must not touch its recipe
        try:
            _same_recipe(path, there, {"recipe": recipe.to_dict(), "part": [k, of]})
            scribe = _Scribe(recipe)
            done = _begun(path, recipe.poems)
            if progress is not None:
                progress(done, batches)
            for number in range(done, batches):
                rows = scribe.batch(k + of * number)
                lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
                file.write(lines.encode())
                file.flush()
                os.fsync(file.fileno())
                if progress is not None:
                    progress(number + 1, batches)
        except BaseException:
            with contextlib.suppress(OSError):  # Windows keeps a file that is open
                if not there and not path.stat().st_size:
                    path.unlink()
            raise
    done = max(done, batches)
    return {"batches": done, "poems": done * recipe.poems}


def _same_recipe(path: Path, there: bool, wanted: dict[str, Any]) -> None:
    """The recipe stands beside the poems, so that a file never mixes two. there: the file was there
    before it was opened."""
    beside = path.with_name(path.name + ".recipe.json")
    if beside.exists() and path.stat().st_size > 0:  # else there is nothing to mix with
        try:
            kept = json.loads(beside.read_bytes())
        except (ValueError, RecursionError):
            kept = None
        if kept != wanted:
            raise ValueError(
                f"{path} was begun by another recipe or part ({beside}); give another --out"
            )
        return
    if there and not beside.exists():
        raise ValueError(f"{path} is there without its recipe {beside.name}; give another --out")
    temporary = beside.with_name(beside.name + ".tmp")
    temporary.write_text(json.dumps(wanted, indent=1) + "\n", "utf-8")
    temporary.replace(beside)


def _hold(file: BinaryIO, path: Path) -> None:
    """Keep other processes off until the file is closed: they would write the same batches.

    A file that who held it took away meanwhile, as a run that fails does, is not held either.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        held = path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except BlockingIOError:
        held = False
    except OSError:  # a file system without locks
        held = True
    if not held:
        raise ValueError(
            f"another process is writing {path}; wait for it, or share the work with --part and "
            "an --out for each"
        )


def _begun(path: Path, poems: int) -> int:
    """How many whole batches a file holds; what is left of an unfinished one is cut off."""
    if not path.exists():
        return 0
    count = end = whole_end = 0
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            count, end = count + 1, end + len(line)
            if count % poems == 0:
                whole_end = end
    if whole_end != path.stat().st_size:
        with path.open("r+b") as file:
            file.truncate(whole_end)
    return count // poems


class _Scribe:
    """A teacher at work: model, words, and the lattices of the forms it was asked for."""

    def __init__(self, recipe: plan.Recipe) -> None:
        self.recipe = recipe
        self.engine: Any = Engine.from_pretrained(recipe.model, dtype=recipe.dtype)
        self.lexicon = Lexicon.default()
        self._lattices: dict[tuple[Form, int], Lattice] = {}

    def batch(self, number: int) -> list[dict[str, Any]]:
        """The rows of a batch."""
        recipe, job = self.recipe, plan.job(self.recipe, number)
        spelled = self.engine.tokenizer
        style = getattr(self.engine, "prompt_style", None)
        if job.examples is None:
            asking = prompts.build(spelled, job.topic, job.form, style)
        else:
            asking = prompts.build(spelled, job.topic, job.form, style, page=job.examples)
        lattice = self._lattice(job.form, asking.end)
        options, guide, foresight = recipe.options, None, None
        if options.lookahead:
            guide = lookahead.guide_of(self.engine, lattice, options.temperature)
            # A record is of temperature 1, whatever poems are drawn at.
            own = lookahead.guide_of(self.engine, lattice, 1.0) or Guide.blank(lattice)
            foresight = own.ahead
        recorder = teacher.Recorder(self.engine, recipe.teacher_top)
        generators = [
            np.random.default_rng([recipe.seed, number, place]) for place in range(recipe.poems)
        ]
        paths = STRATEGIES[recipe.strategy](
            recorder, lattice, asking.ids, generators, options, guide=guide
        )
        rows = []
        for path in paths:
            text = self.engine.tokenizer.decode(path.tokens[:-1])
            report = validate(text, job.form, policy="all", lexicon=self.lexicon)
            if not report.valid:
                raise RuntimeError(
                    f"the lattice let through a poem the validator refuses: {text!r}: "
                    f"{'; '.join(report.reasons)}; please report this with batch {number}"
                )
            row = {
                "text": text,
                "form": job.form.name,
                "season": job.season,
                "topic": job.topic,
                "batch": number,
                "log_p": round(path.log_p, 3),
                "log_mass": round(sum(path.log_mass), 3),
                "tokens": len(path.tokens),
            }
            if recipe.teacher_top:
                row["taught_by"], row["taught_end"] = recipe.model, asking.end
                row["teacher"] = teacher.pack(recorder.along(lattice, path.tokens, foresight))
            rows.append(row)
        return rows

    def _lattice(self, form: Form, end: int) -> Lattice:
        found = self._lattices.get((form, end))
        if found is None:
            found = compile(form, self.lexicon, self.engine.tokenizer, policy="all", end=end)
            self._lattices[form, end] = found
        return found
