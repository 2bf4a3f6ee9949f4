"""A corpus of poems written by a model under the engine, for a smaller model to learn from.

`write` lets a teacher write on many topics and keeps what it thought; `select` keeps the poems
worth learning from. Sees all rooms but the command line, which calls it.
"""
