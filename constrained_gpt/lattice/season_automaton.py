"""The kigo rule as a small automaton over words.

Compiles a saijiki (phrase -> wanted or not) to transition arrays that agree, word by word, with
the leftmost-longest reading of `lexicon.kigo.find_kigo`. Knows no tokens, no syllables and no
lines. Called by `lattice.compile`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

OWED = 0  # nothing found yet, nothing pending; also the state after a break
Keys = tuple[str, ...]


@dataclass(frozen=True)
class SeasonAutomaton:
    """next[state, column] -> state; a word's column comes from `column`.

    next: int32 (K, C). flush: int32 (K,): the state once a mark or a line break ends the run,
    either OWED or `done`. done: the absorbing state in which the form's season word has been found.
    column: word -> column; words that are in no phrase share column 0.
    """

    next: np.ndarray
    flush: np.ndarray
    done: int
    column: Mapping[Keys, int]

    @cached_property
    def odd(self) -> tuple[np.ndarray, np.ndarray]:
        """(states, columns) where a state's row differs from that of the state a break leaves."""
        states, columns = [], []
        for first in range(0, len(self.next), 64):  # in pieces that stay in the cache
            rows = slice(first, first + 64)
            state, column = np.nonzero(self.next[rows] != self.next[self.flush[rows]])
            states.append(state + first)
            columns.append(column)
        return np.concatenate(states), np.concatenate(columns)


def satisfied() -> SeasonAutomaton:
    """The automaton of a form that asks for no season word: one state, always done."""
    return SeasonAutomaton(
        next=np.zeros((1, 1), np.int32), flush=np.zeros(1, np.int32), done=0, column={}
    )


class _Rows:
    """Rows of the automaton, each as what differs from a usual one.

    A state's usual row is that of OWED (`first`: what each key leads to, else OWED), or, where a
    wanted phrase stands, that of `done`. own[state]: key -> state where it differs.
    """

    def __init__(self, done: int) -> None:
        self.done = done
        self.first: dict[str, int] = {}
        self.found: list[bool] = []  # is the usual row that of `done`
        self.own: list[dict[str, int]] = []

    def usual(self, found: bool, key: str) -> int:
        return self.done if found else self.first.get(key, OWED)

    def step(self, state: int, key: str) -> int:
        if state == self.done:
            return self.done
        found = self.own[state].get(key)
        return self.usual(self.found[state], key) if found is None else found


def build(phrases: Mapping[Keys, bool], words: Iterable[Keys]) -> SeasonAutomaton:
    """Automaton that reads words and is `done` once a wanted phrase has been matched.

    phrases: key tuples -> does this phrase satisfy the form (False: it only blocks shorter ones).
    words: the key tuples of the vocabulary's words (a hyphenate has several keys).

    States are the inner nodes of the phrase trie. A node's row is the row of its *fail* node (the
    state after its longest complete phrase, or its first key, has been taken off the front)
    overlaid with its own children: the construction of Aho and Corasick (CACM 18:6, 1975), with
    leftmost-longest matching instead of all matches. Then states that go on alike are merged
    (Moore), and columns that do alike. Rows are kept as differences from two usual ones, so that
    time goes with the phrases, not with states times columns.
    """
    words = list(dict.fromkeys(words))
    used = {key for word in words for key in word}  # others are never read
    children: list[dict[str, int]] = [{}]
    wanted: list[bool | None] = [None]  # None: no phrase ends here
    path: list[Keys] = [()]
    for phrase, is_wanted in phrases.items():
        node = 0
        for depth, key in enumerate(phrase):
            child = children[node].get(key)
            if child is None:
                child = len(children)
                children[node][key] = child
                children.append({})
                wanted.append(None)
                path.append(phrase[: depth + 1])
            node = child
        wanted[node] = is_wanted

    inner = [n for n in range(len(children)) if children[n] or n == 0]
    inner.sort(key=lambda n: len(path[n]))
    index = {n: i for i, n in enumerate(inner)}
    done = len(inner)
    rows = _Rows(done)

    def settle(node: int) -> int:
        """State for having just reached trie node `node`: a leaf is decided at once."""
        return index[node] if children[node] else (done if wanted[node] else OWED)

    rows.first = {key: settle(child) for key, child in children[0].items() if key in used}
    for node in inner:
        found, own = False, {}
        if node:
            taken, is_wanted = 1, False
            walk = 0
            for length, key in enumerate(path[node], start=1):
                walk = children[walk][key]
                if wanted[walk] is not None:
                    taken, is_wanted = length, bool(wanted[walk])
            state = done
            if not is_wanted:
                state = OWED
                for key in path[node][taken:]:
                    state = rows.step(state, key)
            found = state == done or rows.found[state]
            own = {} if state == done else dict(rows.own[state])
            for key, child in children[node].items():
                own[key] = settle(child)
        rows.found.append(found)
        rows.own.append(
            {k: to for k, to in own.items() if k in used and to != rows.usual(found, k)}
        )
    # What is all `done`, whatever follows, is `done`.
    alias = [
        done if found and not own else i
        for i, (found, own) in enumerate(zip(rows.found, rows.own, strict=True))
    ] + [done]
    block, representative = _merged(rows, alias)
    return _numbered(rows, alias, block, representative, words)


def _merged(rows: _Rows, alias: list[int]) -> tuple[dict[int, int], list[int]]:
    """Moore's partition refinement of the states that can be reached: state -> its block, OWED's
    0; and one state of each block."""
    done = rows.done
    reached = {OWED, done}
    for to in rows.first.values():
        reached.add(alias[to])
    waiting = [s for s in reached if s != done]
    while waiting:
        for to in map(alias.__getitem__, rows.own[waiting.pop()].values()):
            if to not in reached:
                reached.add(to)
                waiting.append(to)
    states = sorted(reached)
    # Of each state the keys it goes its own way on: (key, where to, where others go).
    ways: dict[int, list[tuple[str, int, int]]] = {done: []}
    for state in states:
        if state != done:
            found = rows.found[state]
            ways[state] = [
                (key, alias[to], alias[rows.usual(found, key)])
                for key, to in rows.own[state].items()
            ]
    block = {s: 2 if s == done else int(rows.found[s]) for s in states}
    count = len(set(block.values()))
    while True:
        numbers: dict[tuple[int, frozenset[tuple[str, int]]], int] = {}
        finer = {}
        for state in states:
            differs = frozenset(
                [(key, block[to]) for key, to, usual in ways[state] if block[to] != block[usual]]
            )
            finer[state] = numbers.setdefault((block[state], differs), len(numbers))
        block = finer
        if len(numbers) == count:
            break
        count = len(numbers)
    representative = [0] * count
    for state in reversed(states):
        representative[block[state]] = state
    return block, representative  # OWED is the first state, so its block is 0


def _numbered(
    rows: _Rows,
    alias: list[int],
    block: Mapping[int, int],
    representative: list[int],
    words: Iterable[Keys],
) -> SeasonAutomaton:
    """The arrays, with one column for each behaviour that a word shows."""
    done = block[rows.done]
    found = [s == rows.done or rows.found[s] for s in representative]
    with_key: dict[str, list[int]] = {}  # key -> blocks whose row has it for its own
    for number, state in enumerate(representative):
        for key in () if state == rows.done else rows.own[state]:
            with_key.setdefault(key, []).append(number)

    def after(state: int, word: Keys) -> int:
        for key in word:
            state = alias[rows.step(state, key)]
        return block[state]

    Column = tuple[int, tuple[tuple[int, int], ...]]
    columns: dict[Column, int] = {(after(OWED, ("",)), ()): 0}  # a key of no phrase
    column: dict[Keys, int] = {}
    for word in words:
        if word and word[0] not in rows.first and word[0] not in with_key and len(word) == 1:
            continue
        usual = after(OWED, word)
        differs = []
        for number in with_key.get(word[0], ()) if word else ():
            to = after(representative[number], word)
            if to != (done if found[number] else usual):
                differs.append((number, to))
        if not word:  # nothing is said, so every state stays
            differs = [(n, n) for n in range(len(representative)) if n not in (OWED, done)]
        place = columns.setdefault((usual, tuple(differs)), len(columns))
        if place:
            column[word] = place
    nxt = np.empty((len(representative), len(columns)), np.int32)
    nxt[:] = np.array([usual for usual, _ in columns], np.int32)
    nxt[found] = done
    for place, (_, differs_) in enumerate(columns):
        for number, to in differs_:
            nxt[number, place] = to
    flush = np.where(found, done, OWED).astype(np.int32)
    return SeasonAutomaton(next=nxt, flush=flush, done=done, column=column)


def run(automaton: SeasonAutomaton, runs: Sequence[Sequence[Keys]]) -> bool:
    """Does a text, given as runs of words (each a key tuple), satisfy the rule? For tests."""
    state = OWED if automaton.done else automaton.done
    for words in runs:
        for word in words:
            state = int(automaton.next[state, automaton.column.get(word, 0)])
        state = int(automaton.flush[state])
    return state == automaton.done
