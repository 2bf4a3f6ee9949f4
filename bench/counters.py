"""Syllable counters, ours and other people's, behind one call: words in, counts out.

A counter that is not installed is named with the reason. A word that makes one fail is kept as a
failure, never skipped. Knows no data set and no clock: peers.py measures.

npm's `syllable` is looked for in --node-modules, $PEERS_NODE_MODULES, ./node_modules, the
repository's node_modules and `npm root -g`; to have it: npm install --prefix FOLDER syllable, then
--node-modules FOLDER/node_modules. For espeak-ng: apt install espeak-ng. For textstat: pip install
textstat, then python -m nltk.downloader cmudict (it would fetch that by itself; here it may not).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

Counts = frozenset[int]  # what a counter says of a word; empty: it gives no count
Answer = Counts | Exception
NONE: Counts = frozenset()


class Absent(Exception):
    """Why a counter is not measured."""


@dataclass(frozen=True)
class Counter:
    """A counter as it is installed here."""

    name: str
    version: str
    how: str  # where its counts come from
    count: Callable[[Sequence[str]], list[Answer]]
    looks_up: bool  # has words of CMUdict in a list of its own
    ours: bool = False
    gives_sets: bool = False  # all the counts of a word, not one
    fresh: bool = True  # no other counter has filled its caches


def _each(one: Callable[[str], int | Counts | None]) -> Callable[[Sequence[str]], list[Answer]]:
    """A counter of words out of one that counts a word."""

    def count(words: Sequence[str]) -> list[Answer]:
        answers: list[Answer] = []
        for word in words:
            try:
                said = one(word)
                answers.append(said if isinstance(said, frozenset) else _number(said))
            except Exception as error:
                answers.append(error)
        return answers

    return count


def _number(said: int | None) -> Counts:
    """One number as a set; 0 and None are no count."""
    return frozenset((said,)) if said else NONE


def lexicon() -> Counter:
    from constrained_gpt.lexicon import syllables

    how = "CMUdict, reviewed lists, rules, else the estimator; a set of counts"
    return Counter("constrained_gpt.lexicon", version("constrained-gpt"), how, _each(syllables),
                   looks_up=True, ours=True, gives_sets=True)  # fmt: skip


def usual() -> Counter:
    from constrained_gpt.lexicon import readings

    def first(word: str) -> int | None:
        found = readings(word)
        return found[0].count if found else None

    return Counter("the same, usual reading only", version("constrained-gpt"), "one number",
                   _each(first), looks_up=True, ours=True, fresh=False)  # fmt: skip


def estimator() -> Counter:
    from constrained_gpt.lexicon.estimator import estimate_many

    def count(words: Sequence[str]) -> list[Answer]:
        return [_number(guess[0][0] if guess else None) for guess in estimate_many(words)]

    how = "a net over letters; these words were kept from its training"
    return Counter("its estimator alone", version("constrained-gpt"), how, count,
                   looks_up=False, ours=True)  # fmt: skip


def syllables() -> Counter:
    import syllables as package

    return Counter("syllables", version("syllables"), "rules on letters", _each(package.estimate),
                   looks_up=False)  # fmt: skip


def syllapy() -> Counter:
    import syllapy as package

    how = f"a list of {len(package.WORD_DICT):,} words, else rules on letters"
    return Counter("syllapy", version("syllapy"), how, _each(package.count), looks_up=True)


def pronouncing() -> Counter:
    import pronouncing as package

    def first(word: str) -> int | None:
        found = package.phones_for_word(word)
        return package.syllable_count(found[0]) if found else None

    how = "CMUdict, first pronunciation; no count for other words"
    return Counter("pronouncing", version("pronouncing"), how, _each(first), looks_up=True)


def textstat() -> Counter:
    import textstat as package
    from nltk import data

    try:
        data.find("corpora/cmudict")
    except LookupError:
        raise Absent("nltk's cmudict is not there: python -m nltk.downloader cmudict") from None
    how = "CMUdict (nltk's copy), first pronunciation, else pyphen"
    return Counter("textstat", version("textstat"), how, _each(package.syllable_count),
                   looks_up=True)  # fmt: skip


def pyphen() -> Counter:
    import pyphen as package

    hyphens = package.Pyphen(lang="en_US")
    count = _each(lambda word: len(hyphens.positions(word)) + 1)
    return Counter("pyphen", version("pyphen"), "places to hyphenate, and one", count,
                   looks_up=False)  # fmt: skip


_NODE = """
import {createInterface} from 'node:readline'
const module = await import(process.argv[1])
const syllable = module.syllable ?? module.default
for await (const line of createInterface({input: process.stdin})) {
  const counts = JSON.parse(line).map((word) => {
    try { return syllable(word) } catch (error) { return String(error) }
  })
  process.stdout.write(JSON.stringify(counts) + '\\n')
}
"""


class _Node:
    """One node process: a line of words in, a line of counts out."""

    def __init__(self, node: str, module: Path) -> None:
        command = [node, "--input-type=module", "-e", _NODE, module.as_uri()]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )

    def __call__(self, words: Sequence[str]) -> list[Answer]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(list(words)) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("node has ended")
        return [RuntimeError(n) if isinstance(n, str) else _number(n) for n in json.loads(line)]


def npm_syllable(node_modules: str | None = None) -> Counter:
    node = shutil.which("node")
    if node is None:
        raise Absent("node is not installed")
    for folder in _node_folders(node_modules):
        package = folder / "syllable" / "package.json"
        if package.is_file():
            card = json.loads(package.read_text("utf-8"))
            module = package.with_name(card.get("main", "index.js")).resolve()
            count = _Node(node, module)
            if count(["syllable"]) != [frozenset((3,))]:
                raise Absent(f"{module.name} of npm's syllable does not count 'syllable' as three")
            return Counter("syllable (npm)", card["version"], "a word list and rules on letters",
                           count, looks_up=False)  # fmt: skip
    raise Absent("npm's syllable is not installed: npm install syllable, or see --node-modules")


def _node_folders(given: str | None) -> Iterator[Path]:
    for folder in (given, os.environ.get("PEERS_NODE_MODULES")):
        if folder:
            yield Path(folder)
    yield Path.cwd() / "node_modules"
    yield ROOT / "node_modules"
    npm = shutil.which("npm")
    if npm is not None:
        asked = subprocess.run([npm, "root", "-g"], capture_output=True, text=True, check=False)
        if asked.returncode == 0 and asked.stdout.strip():
            yield Path(asked.stdout.strip())


# espeak-ng's American English, in IPA: a diphthong is one nucleus, what follows it is another
# (lion, fire), r after it makes it one (near, zero), and a consonant may carry a syllable (button).
_NUCLEUS = re.compile("iə(?=ˈ?ɹ)|aɪ|aʊ|eɪ|oʊ|ɔɪ|[aæɐɑɒɔəɚɛɜɝeiɪᵻoʊuʌyøœ]ː?|[nlmɹ]\u0329")
_TONGUE = re.compile(r"_|\([a-z-]+\)")  # between phonemes; before and after a foreign word
_LETTERS = re.compile(r"[A-Za-z]+(?:['-][A-Za-z]+)*'?")
_MARK = "xylophone"  # said between words whose punctuation might end a line of the output


def espeak() -> Counter:
    program = shutil.which("espeak-ng")
    if program is None:
        raise Absent("espeak-ng is not installed: apt install espeak-ng")
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"\d+(\.\d+)+", told)

    def say(lines: Sequence[str]) -> list[str]:
        command = [program, "-q", "--ipa", "--sep=_", "-v", "en-us"]
        text = "".join(f"{line}\n" for line in lines)
        run = subprocess.run(
            command, input=text, capture_output=True, text=True, encoding="utf-8", check=True
        )
        return [_TONGUE.sub("", line) for line in run.stdout.splitlines()]

    mark = say([_MARK])[0]

    def count(words: Sequence[str]) -> list[Answer]:
        plain = [word for word in words if _LETTERS.fullmatch(word)]
        said = say(plain) if plain else []
        if len(said) != len(plain):
            raise RuntimeError(f"{len(plain)} words gave {len(said)} lines")
        known = dict(zip(plain, said, strict=True))
        odd = [word for word in dict.fromkeys(words) if word not in known]
        heard = iter(say([line for word in odd for line in (word, _MARK)]) if odd else [])
        for word in odd:
            known[word] = " ".join(iter(lambda: next(heard), mark))
        return [_number(len(_NUCLEUS.findall(known[word]))) for word in words]

    return Counter("espeak-ng", found[0] if found else "?", "vowels and syllabic consonants said",
                   count, looks_up=False)  # fmt: skip


def installed(node_modules: str | None = None) -> tuple[list[Counter], dict[str, str]]:
    """The counters there are, ours first, and the others with the reason they are absent."""
    makers: dict[str, Callable[[], Counter]] = {
        "syllables": syllables,
        "syllapy": syllapy,
        "pronouncing": pronouncing,
        "textstat": textstat,
        "pyphen": pyphen,
        "syllable (npm)": lambda: npm_syllable(node_modules),
        "espeak-ng": espeak,
    }
    found, absent = [lexicon(), usual(), estimator()], {}
    for name, make in makers.items():
        try:
            found.append(make())
        except ModuleNotFoundError as error:
            absent[name] = f"{error.name} is not installed: pip install {error.name}"
        except Exception as error:  # a peer that cannot start is no failure of the bench
            known = isinstance(error, Absent)
            absent[name] = str(error) if known else f"does not start: {type(error).__name__}"
    return found, absent
