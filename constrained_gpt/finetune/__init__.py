"""Fine-tuning: poems to token files (prepare), a small trainer (train), held-out loss (evaluate).

Knows the model and the tokenizer, the lexicon and the lattices of forms, a teacher's records; no
decoder. Called by the command line (`haiku prepare`, `finetune`, `crossval`, `tune`, `evaluate`)
or imported directly.
"""
