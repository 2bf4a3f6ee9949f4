"""How hopeful a state is: whether what the form is still owed is likely to be said in time.

An estimate that shapes proposals, never a rule: a wrong guess costs fluency, not validity, and a
path's weight accounts for it. Knows no tokens. Called by `lattice` for `candidates`.
"""

from __future__ import annotations

import numpy as np

from constrained_gpt.lattice.rules import Rules
from constrained_gpt.lexicon.form import Form

# Chosen by reading poems, not measured (bench/LOG.md).
KIGO_RATE = 0.02  # chance, per syllable still to come, that a model says a season word unasked
CUT_RATE = 0.05  # the same for a cutting mark
STRAIN = float(np.log(1e-4))  # a model that writes " the" hardly ever means " thefts"


class Outlook:
    """Log-chances that the season word and the cut still owed will come, left to themselves.

    chance: float64 (most + 1, 2, cuts), by syllables still to come in the poem, whether the season
    word is there, and the cut counter.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self.chance = _chance(sum(rules.lines), rules.kireji)

    @staticmethod
    def reals(form: Form) -> np.ndarray:
        """STRAIN, then the chances, flat: as `kernels.boundary` takes them."""
        return np.concatenate([[STRAIN], _chance(sum(form.lines), form.kireji).reshape(-1)])

    def types(self, line: int, budget: int, state: int, cut: int) -> np.ndarray:
        """After a word of each type: float64 (types,)."""
        rules, season = self._rules, self._rules.season
        after = np.maximum(rules.after(budget), 1)
        left = np.floor(np.log2(after)).astype(np.int64) + sum(rules.lines[line + 1 :])
        reached = season.next[state, rules.type_column]
        done = (season.flush[reached] == season.done).astype(np.int64)
        return np.asarray(self.chance[left, done, cut])

    def others(self, line: int, budget: int, state: int, cut: int) -> np.ndarray:
        """After each mark, a line break and the end: float64 (marks + 2,)."""
        rules = self._rules
        left = max(budget.bit_length() - 1, 0) + sum(rules.lines[line + 1 :])
        done = int(rules.season.flush[state] == rules.season.done)
        after = [max(rules.cut_after(cut, mark), 0) for mark in range(len(rules.mark_mid))]
        return np.array([self.chance[left, done, c] for c in [*after, cut, cut]])


def _chance(most: int, kireji: str) -> np.ndarray:
    left = np.maximum(np.arange(most + 1), 0.5)
    kigo, cut = (np.log(-np.expm1(left * np.log1p(-rate))) for rate in (KIGO_RATE, CUT_RATE))
    chance = np.zeros((most + 1, 2, 2 if kireji == "required" else 1))
    chance[:, 0] += kigo[:, None]
    if kireji == "required":
        chance[:, :, 0] += cut[:, None]
    return chance
