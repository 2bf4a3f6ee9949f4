"""The kigo rule as a small automaton over words.

Compiles a saijiki (phrase -> wanted or not) to transition arrays that agree, word by word, with
the leftmost-longest reading of `lexicon.kigo.find_kigo`. Knows no tokens, no syllables and no
lines. Called by `lattice.compile`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

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


def satisfied() -> SeasonAutomaton:
    """The automaton of a form that asks for no season word: one state, always done."""
    return SeasonAutomaton(
        next=np.zeros((1, 1), np.int32), flush=np.zeros(1, np.int32), done=0, column={}
    )


def build(
    phrases: Mapping[Keys, bool], words: Iterable[Keys], *, minimise: bool = True
) -> SeasonAutomaton:
    """Automaton that reads words and is `done` once a wanted phrase has been matched.

    phrases: key tuples -> does this phrase satisfy the form (False: it only blocks shorter ones).
    words: the key tuples of the vocabulary's words (a hyphenate has several keys).

    States are the inner nodes of the phrase trie. A node's row is the row of its *fail* node (the
    state after its longest complete phrase, or its first key, has been taken off the front)
    overlaid with its own children: the construction of Aho and Corasick (CACM 18:6, 1975), with
    leftmost-longest matching instead of all matches.
    """
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
    keys = sorted({key for phrase in phrases for key in phrase})
    key_id = {key: i + 1 for i, key in enumerate(keys)}  # 0: a key of no phrase

    table = np.zeros((done + 1, len(keys) + 1), np.int32)
    table[done] = done
    flush = np.zeros(done + 1, np.int32)
    flush[done] = done

    def settle(node: int) -> int:
        """State for having just reached trie node `node`: a leaf is decided at once."""
        return index[node] if children[node] else (done if wanted[node] else OWED)

    for i, node in enumerate(inner):
        row = table[i]
        if node:
            taken, is_wanted = 1, False
            walk = 0
            for length, key in enumerate(path[node], start=1):
                walk = children[walk][key]
                if wanted[walk] is not None:
                    taken, is_wanted = length, bool(wanted[walk])
            if is_wanted:
                row[:] = done
                flush[i] = done
            else:
                state = OWED
                for key in path[node][taken:]:
                    state = int(table[state, key_id[key]])
                row[:] = table[state]
                flush[i] = flush[state]
        for key, child in children[node].items():
            row[key_id[key]] = settle(child)

    # One column per distinct behaviour among the vocabulary's words.
    columns: dict[Keys, int] = {}
    vectors: list[np.ndarray] = [table[:, 0]]
    for word in dict.fromkeys(words):
        if not any(key in key_id for key in word) and len(word) == 1:
            continue
        vector = np.arange(done + 1, dtype=np.int32)
        for key in word:
            vector = table[vector, key_id.get(key, 0)]
        columns[word] = len(vectors)
        vectors.append(vector)
    nxt = np.stack(vectors, axis=1)
    return (
        _shrink(nxt, flush, done, columns)
        if minimise
        else SeasonAutomaton(nxt, flush, done, columns)
    )


def _shrink(
    nxt: np.ndarray, flush: np.ndarray, done: int, columns: dict[Keys, int]
) -> SeasonAutomaton:
    """Moore's partition refinement on the states, then equal columns merged."""
    alias = np.arange(len(nxt), dtype=nxt.dtype)
    alias[(nxt == done).all(axis=1) & (flush == done)] = done  # wanted whatever follows
    nxt, flush = alias[nxt], alias[flush]
    reachable = np.zeros(len(nxt), bool)
    frontier = np.array([OWED, done])
    while len(frontier):
        reachable[frontier] = True
        step = np.zeros(len(nxt), bool)
        step[nxt[frontier]] = True
        frontier = np.flatnonzero(step & ~reachable)
    block = np.where(np.arange(len(nxt)) == done, 2, np.where(flush == done, 1, 0))
    block[reachable] = np.unique(block[reachable], return_inverse=True)[1]
    block[~reachable] = 0
    block = _refined(block, nxt, np.where(flush == done, done, OWED), reachable)
    count = int(block.max()) + 1
    # Number the blocks so that OWED stays 0.
    order = [int(block[OWED])] + [b for b in range(count) if b != int(block[OWED])]
    rank = np.empty(count, np.int32)
    rank[order] = np.arange(count, dtype=np.int32)
    representative = np.zeros(count, np.int64)
    for state in np.flatnonzero(reachable)[::-1]:
        representative[rank[block[state]]] = state
    small = rank[block[nxt[representative]]].astype(np.int32)
    small_flush = rank[block[flush[representative]]].astype(np.int32)
    merged = _grouped(small.T)  # column 0, of words in no phrase, is the first and stays 0
    first = np.unique(merged, return_index=True)[1]
    return SeasonAutomaton(
        next=np.ascontiguousarray(small[:, first]),
        flush=small_flush,
        done=int(rank[block[done]]),
        column={word: int(merged[c]) for word, c in columns.items() if merged[c]},
    )


def _refined(
    block: np.ndarray, nxt: np.ndarray, like: np.ndarray, reachable: np.ndarray
) -> np.ndarray:
    """The coarsest partition finer than `block` whose states go on alike; numbered from 0.

    like: for each state another whose row it resembles, one and the same for a whole block. Rows
    are compared by a random linear hash of the few columns where they differ from that (exact but
    for a chance of 2**-64 a pair); the result is then checked in full.
    """
    rng = np.random.default_rng(0)
    weight = rng.integers(1 << 64, size=nxt.shape[1], dtype=np.uint64) | np.uint64(1)  # (C,)
    state, column = np.nonzero((nxt != nxt[like]) & reachable[:, None])
    there, usual = nxt[state, column], nxt[like[state], column]
    factor = weight[column]
    bounds = np.searchsorted(state, np.arange(len(nxt)))
    full = bounds < np.append(bounds[1:], len(state))  # states with any difference
    while True:
        value = rng.integers(1 << 64, size=int(block.max()) + 1, dtype=np.uint64)[block]
        signature = np.zeros(len(nxt), np.uint64)
        if len(state):
            differences = factor * (value[there] - value[usual])
            signature[full] = np.add.reduceat(differences, bounds[full])
        pairs = np.stack([block.astype(np.uint64), signature], axis=1)
        new = np.zeros_like(block)
        new[reachable] = np.unique(pairs[reachable], axis=0, return_inverse=True)[1].reshape(-1)
        if new.max() == block.max():
            break
        block = new
    first = np.unique(block[reachable], return_index=True)[1]
    alike = np.flatnonzero(reachable)[first][block]  # a state of the same block
    rows = np.flatnonzero(reachable)
    if not (block[nxt[rows]] == block[nxt[alike[rows]]]).all():
        raise AssertionError("two different rows have one hash; report this saijiki")
    return block


def _grouped(rows: np.ndarray) -> np.ndarray:
    """Number equal rows alike, in order of first appearance."""
    numbers: dict[bytes, int] = {}
    rows = np.ascontiguousarray(rows, np.int32)
    return np.array([numbers.setdefault(row.tobytes(), len(numbers)) for row in rows])


def run(automaton: SeasonAutomaton, runs: Sequence[Sequence[Keys]]) -> bool:
    """Does a text, given as runs of words (each a key tuple), satisfy the rule? For tests."""
    state = OWED if automaton.done else automaton.done
    for words in runs:
        for word in words:
            state = int(automaton.next[state, automaton.column.get(word, 0)])
        state = int(automaton.flush[state])
    return state == automaton.done
