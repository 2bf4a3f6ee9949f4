"""How sets of poems compare: measures of their text, a judge model's view, table and plot."""

from __future__ import annotations

from constrained_gpt.evaluation.evaluate import evaluate_poems
from constrained_gpt.evaluation.report import Evaluation, eval_schema
from constrained_gpt.evaluation.sources import Entry, PoemSet

__all__ = ["Entry", "Evaluation", "PoemSet", "eval_schema", "evaluate_poems"]
