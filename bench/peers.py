"""Syllable counters side by side: the same words, in one process run; accuracy, failures, speed.

    python bench/peers.py [--corpus FILE] [--disputed FILE] [--node-modules FOLDER]

The sets, each a function of word_sets.py:
written    tests/lexicon/written_forms.txt, our own table of elisions, figures, initials, accents.
           Each form is handed over whole. A counter of one number is right if the table names that
           number; ours, which gives a set, must give all that are named and none that is barred.
unseen     the words of CMUdict that our estimator never saw. Right: a count that CMUdict has. Who
           looks them up in CMUdict or another list is marked; our column is the estimator alone.
corpus     poems of --corpus (columns upstream_check and text, lines joined by " / ") where the
           check was on, which is npm's syllable 4 on whole lines: the share in 5-7-5.
disputed   lines of --disputed (line, target, yes or no): the share decided as given. By default
           tests/lexicon/trap_lines.tsv, by a language model that had seen no counter's answers.

Lines are cut into words by our own constrained_gpt.lexicon.normalize.words, apostrophes and hyphens
made plain, and every counter gets the same words. A line's count is the sum of its words'; a line
with a word without a count is not decided, hence wrong. Whoever gives a set fits a line if some
choice from the sets does. A word that makes a counter fail is wrong, and counted under "fails".

Speed: new words are those of `unseen`, in five parts, each counted once. Running text is that of
prose.py, repeated after a first pass, for caches are part of the tools. npm's syllable is asked
through a pipe; espeak-ng is started anew for each list of words. Prints a table and, last, JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import machine
import prose
from counters import NONE, ROOT, Answer, Counter, Counts, installed
from word_sets import corpus, disputed, tokens, unseen_words, written_forms

TARGETS = (5, 7, 5)
TRAPS = ROOT / "tests" / "lexicon" / "trap_lines.tsv"
PARTS = 5  # of the new words
SETS = {
    "written": "written forms",
    "unseen": "unseen words",
    "corpus": "poems in 5-7-5",
    "disputed": "disputed lines",
}
NOTES = {
    "written": "The written forms are our own test table, and our rules and lists were corrected "
    "by it. Every count that it names is asked of our set of counts; any one of them is enough "
    "where a counter gives one number.",
    "unseen": "† looks these words up in CMUdict, which says what is right here, or in a list of "
    "its own; ours is the net alone.",
    "disputed": "The disputed lines, if no other file is named, were written to trap a counter, "
    "and judged, by a language model; ours was corrected by them. Before that it had 196 of 200.",
    "corpus": "The poems were let in by an older version of npm's syllable.",
}


@dataclass
class Tally:
    """How a counter did on one set. `silent` and `fails` are among the wrong."""

    right: int = 0
    total: int = 0
    silent: int = 0  # words or, in sets of lines, lines without a count
    fails: int = 0  # words that made the counter fail
    wrong: list[str] = field(default_factory=list)

    def add(self, what: str, right: bool, answers: Iterable[Answer]) -> None:
        self.total += 1
        self.right += right
        self.silent += any(answer == NONE for answer in answers)
        self.fails += sum(isinstance(answer, Exception) for answer in answers)
        if not right:
            self.wrong.append(what)

    def row(self) -> dict[str, Any]:
        return {"right": self.right, "total": self.total, "share": self.right / max(1, self.total),
                "silent": self.silent, "fails": self.fails}  # fmt: skip


# Asking


def ask(counter: Counter, asked: Sequence[str]) -> list[Answer]:
    """A counter's answers; if it fails as a whole, that failure for each word."""
    try:
        answers = counter.count(asked)
    except Exception as error:
        return [error] * len(asked)
    if len(answers) != len(asked):
        raise SystemExit(f"{counter.name}: {len(asked)} words, {len(answers)} answers")
    return answers


def ask_once(counter: Counter, asked: Iterable[str]) -> dict[str, Answer]:
    """Answers by word, each word asked once."""
    distinct = list(dict.fromkeys(asked))
    return dict(zip(distinct, ask(counter, distinct), strict=True))


def counts(answer: Answer) -> Counts:
    """What may be counted on: nothing, if the counter failed."""
    return answer if isinstance(answer, frozenset) else NONE


def sums(line: Sequence[Answer]) -> set[int]:
    """The totals a line can come to; none if a word has no count or there is no word."""
    totals = {0} if line else set()
    for answer in line:
        totals = {total + n for total in totals for n in counts(answer)}
    return totals


def on_written(counter: Counter, forms: Sequence[tuple[str, Counts, Counts]]) -> Tally:
    answers = ask_once(counter, (form for form, _, _ in forms))
    tally = Tally()
    for form, right, barred in forms:
        said = counts(answers[form])
        if counter.gives_sets:
            good = right <= said and not barred & said
        else:
            good = bool(said) and said <= right
        tally.add(form, good, [answers[form]])
    return tally


def on_unseen(answers: Mapping[str, Answer], accepted: Mapping[str, Counts]) -> Tally:
    tally = Tally()
    for word, answer in answers.items():
        tally.add(word, bool(counts(answer) and counts(answer) <= accepted[word]), [answer])
    return tally


def on_corpus(counter: Counter, poems: Sequence[Sequence[Sequence[str]]]) -> Tally:
    said = ask_once(counter, (word for poem in poems for line in poem for word in line))
    tally = Tally()
    for poem in poems:
        lines = [[said[word] for word in line] for line in poem]
        good = len(lines) == len(TARGETS) and all(
            target in sums(line) for target, line in zip(TARGETS, lines, strict=True)
        )
        tally.add(
            " / ".join(" ".join(line) for line in poem), good, [a for line in lines for a in line]
        )
    return tally


def on_disputed(counter: Counter, lines: Sequence[tuple[list[str], int, bool]]) -> Tally:
    said = ask_once(counter, (word for line, _, _ in lines for word in line))
    tally = Tally()
    for line, target, verdict in lines:
        answers = [said[word] for word in line]
        totals = sums(answers)
        tally.add(" ".join(line), bool(totals) and (target in totals) == verdict, answers)
    return tally


# Measuring


def speed(seconds: Sequence[float], work: Sequence[int]) -> dict[str, float]:
    """Words a second: the median of the rounds, and the middle half."""
    rates = sorted(n / s for n, s in zip(work, seconds, strict=True))
    low, _, high = statistics.quantiles(rates, n=4) if len(rates) > 1 else rates * 3
    return {"median": statistics.median(rates), "low": low, "high": high, "rounds": len(rates)}


def one(
    counter: Counter,
    forms: Sequence[tuple[str, Counts, Counts]],
    unseen: Mapping[str, Counts],
    running: Sequence[str],
    rounds: int,
    poems: Sequence[Sequence[Sequence[str]]] | None,
    lines: Sequence[tuple[list[str], int, bool]] | None,
) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """A counter's row, and what it gets wrong. New words first: it remembers none of them yet."""
    ask(counter, ["morning"])  # dictionaries are loaded, processes are up
    answers: dict[str, Answer] = {}
    seconds, work = [], []
    asked = list(unseen)
    for part in (asked[i::PARTS] for i in range(PARTS)):
        began = time.perf_counter()
        said = ask(counter, part)
        seconds.append(time.perf_counter() - began)
        work.append(len(part))
        answers.update(zip(part, said, strict=True))
    new: dict[str, float] | None = speed(seconds, work) if counter.fresh else None
    first, seconds = ask(counter, running), []
    for _ in range(rounds):
        began = time.perf_counter()
        again = ask(counter, running)
        seconds.append(time.perf_counter() - began)
        if [counts(a) for a in again] != [counts(a) for a in first]:
            raise SystemExit(f"{counter.name} counts the same words differently: no time to tell")
    pace: dict[str, float] | None = speed(seconds, [len(running)] * rounds)
    if all(isinstance(answer, Exception) for answer in (*answers.values(), *first)):
        new = pace = None  # whoever fails at every word is not fast
    tallies = {"written": on_written(counter, forms), "unseen": on_unseen(answers, unseen)}
    if counter.ours and counter.looks_up:  # CMUdict against itself says nothing: not in the table
        del tallies["unseen"]
    if poems is not None:
        tallies["corpus"] = on_corpus(counter, poems)
    if lines is not None:
        tallies["disputed"] = on_disputed(counter, lines)
    row = {
        "name": counter.name, "version": counter.version, "how": counter.how,
        "looks_up": counter.looks_up, "ours": counter.ours,
        "new_words": new, "running_text": pace,
        "sets": {name: tally.row() for name, tally in tallies.items()},
    }  # fmt: skip
    return row, {name: tally.wrong for name, tally in tallies.items()}


def measure(
    smoke: bool = False,
    corpus_file: str | None = None,
    disputed_file: str | None = None,
    node_modules: str | None = None,
    show: str | None = None,
) -> dict[str, Any]:
    """All counters on all sets, for the results and for `table`.

    show    name of a counter whose wrong counts are printed, set by set
    """
    few = 40 if smoke else None
    forms = written_forms()[:few]
    unseen = dict(list(unseen_words().items())[:few])
    running = tokens(prose.text(500 if smoke else 120_000)[0].replace("\n", " "))
    poems = corpus(Path(corpus_file))[:few] if corpus_file else None
    lines = disputed(Path(disputed_file))[:few] if disputed_file else None
    found, absent = installed(node_modules)
    rows = []
    for counter in found:
        row, wrong = one(counter, forms, unseen, running, 1 if smoke else 7, poems, lines)
        rows.append(row)
        for name, items in wrong.items() if counter.name == show else ():
            print(*(f"{name}\t{item}" for item in items), sep="\n")
    sizes = {"written": len(forms), "unseen": len(unseen)}
    sizes.update({"corpus": len(poems)} if poems is not None else {})
    sizes.update({"disputed": len(lines)} if lines is not None else {})
    return {"sizes": sizes, "rows": rows, "absent": absent}


def table(peers: Mapping[str, Any]) -> str:
    """The rows as Markdown, with what must be said of them."""
    sets = list(peers["sizes"])
    heads = [f"{SETS[name]} ({peers['sizes'][name]:,})" for name in sets]
    heads = ["counter", "version", *heads, "fails", "new words/s", "running words/s"]
    lines = [
        f"| {' | '.join(heads)} |",
        "| --- | --- |" + " ---: |" * (len(heads) - 2),
    ]
    for row in peers["rows"]:
        cells = [f"**{row['name']}**" if row["ours"] else row["name"], row["version"]]
        for name in sets:
            got = row["sets"].get(name)
            mark = " †" if name == "unseen" and row["looks_up"] else ""
            cells.append(f"{got['share']:.1%}{mark}" if got else "-")
        cells.append(str(sum(got["fails"] for got in row["sets"].values())))
        cells += [_rate(row[kind]) for kind in ("new_words", "running_text")]
        lines.append(f"| {' | '.join(cells)} |")
    notes = [NOTES[name] for name in sets if name in NOTES]
    sources = "; ".join(f"{row['name']}: {row['how']}" for row in peers["rows"])
    notes.append(f"Where the counts come from: {sources}.")
    if peers["absent"]:
        reasons = "; ".join(f"{name} ({why})" for name, why in peers["absent"].items())
        notes.append(f"Not measured: {reasons}.")
    return "\n".join(lines) + "\n\n" + "\n\n".join(notes)


def _rate(figure: Mapping[str, float] | None) -> str:
    return f"{float(format(figure['median'], '.2g')):,.0f}" if figure else "-"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options(parser)
    parser.add_argument("--smoke", action="store_true", help="a few words of each set")
    parser.add_argument("--wrong", metavar="COUNTER", help="print what this one gets wrong")
    asked = parser.parse_args()
    peers = measure(asked.smoke, asked.corpus, asked.disputed, asked.node_modules, asked.wrong)
    print(table(peers))
    print(json.dumps({"machine": machine.card(), "peers": peers}))


def options(parser: argparse.ArgumentParser) -> None:
    """The options that run.py hands on."""
    parser.add_argument("--corpus", metavar="FILE", help="a TSV of poems: upstream_check, text")
    parser.add_argument(
        "--disputed",
        metavar="FILE",
        default=str(TRAPS),
        help="a TSV of lines: line, target, yes/no",
    )
    parser.add_argument("--node-modules", metavar="FOLDER", help="where npm's syllable is")


if __name__ == "__main__":
    main()
