"""How hopeful a state is: whether what the form is still owed is likely to be said in time.

An estimate that shapes proposals, never a rule: a wrong guess costs fluency, not validity, and a
path's weight accounts for it. Knows no tokens. Called by `lattice` for `candidates`.
"""

from __future__ import annotations

import numpy as np

from constrained_gpt.lattice.rules import Rules

# Chosen by reading poems, not measured (bench/LOG.md).
KIGO_RATE = 0.02  # chance, per syllable still to come, that a model says a season word unasked
CUT_RATE = 0.05  # the same for a cutting mark
STRAIN = float(np.log(1e-4))  # a model that writes " the" hardly ever means " thefts"


class Outlook:
    """Log-chances that the season word and the cut still owed will come, left to themselves."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules

    def types(self, line: int, budget: int, state: int, cut: int) -> np.ndarray:
        """After a word of each type: float64 (types,)."""
        rules, season = self._rules, self._rules.season
        after = np.maximum(rules.after(budget), 1)
        left = np.floor(np.log2(after)) + sum(rules.lines[line + 1 :])
        reached = season.next[state, rules.type_column]
        return self._chance(left, season.flush[reached] == season.done, cut)

    def others(self, line: int, budget: int, state: int, cut: int) -> np.ndarray:
        """After each mark, a line break and the end: float64 (marks + 2,)."""
        rules = self._rules
        left = np.array([budget.bit_length() - 1 + sum(rules.lines[line + 1 :])])
        done = rules.season.flush[state] == rules.season.done
        after = [max(rules.cut_after(cut, mark), 0) for mark in range(len(rules.mark_mid))]
        return np.concatenate([self._chance(left, done, c) for c in [*after, cut, cut]])

    def _chance(self, left: np.ndarray, done: np.ndarray, cut: int) -> np.ndarray:
        """left: syllables still to come in the poem; done: is the season word there?"""
        left = np.maximum(left, 0.5)
        owed = np.where(done, 0.0, np.log(-np.expm1(left * np.log1p(-KIGO_RATE))))
        if not self._rules.cut_complete(cut):
            owed = owed + np.log(-np.expm1(left * np.log1p(-CUT_RATE)))
        return np.asarray(owed, np.float64)
