"""Fine-tuning: poems to token files (prepare), a small trainer (train), held-out loss (evaluate).

Knows the model and the tokenizer; knows neither the lattice nor the lexicon. Called by the command
line (`haiku prepare`, `haiku finetune`) or imported directly.
"""
