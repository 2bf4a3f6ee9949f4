"""Engines that say which tokens may come next, behind one face: ours and four for grammars.

Each compiles a word list (see haiku_grammar) for GPT-2's tokenizer, then steps a sequence and fills
an int32 bitmask. Knows no clock. Called by mask_peers.py, one engine a process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import haiku_grammar
import numpy as np

from constrained_gpt.kernels._team import processors
from constrained_gpt.kernels.mask import allocate_token_bitmask
from constrained_gpt.lattice import Lattice, compile
from constrained_gpt.lexicon import Lexicon
from constrained_gpt.lexicon.typography import Typography
from constrained_gpt.tokenizer import Tokenizer

Array = np.ndarray


class MaskEngine(Protocol):
    """One sequence at a time, once words are compiled.

    exact: masks hold the tokenizer's own spellings alone; else any. leads: where the text can go on
    in one way only, the mask may hold one of its spellings alone.
    """

    exact: bool
    leads: bool

    def compile(self, words: Mapping[str, int]) -> None:
        """Make ready to write poems of these words (with their syllables), and begin one."""
        ...

    def start(self) -> None:
        """Begin a poem."""
        ...

    def step(self, token: int) -> None:
        """Take a token."""
        ...

    def fill(self) -> Array:
        """The bitmask of the next token, int32 (V / 32,); the same array every time."""
        ...


def plain_lattice(words: Mapping[str, int], tokenizer: Tokenizer) -> Lattice:
    """Our own: no marks, small letters, compiled anew."""
    typography = Typography(marks=(), capitals="lower")
    return compile(
        haiku_grammar.FORM, Lexicon.from_words(words), tokenizer, typography=typography,
        use_cache=False,
    )  # fmt: skip


class Ours:
    exact, leads = True, False

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._mask = allocate_token_bitmask(1, tokenizer.n_vocab)
        self._token = np.zeros(1, np.int64)

    def compile(self, words: Mapping[str, int]) -> None:
        self.lattice = plain_lattice(words, self._tokenizer)
        self.start()

    def start(self) -> None:
        self._states = self.lattice.start()

    def step(self, token: int) -> None:
        self._token[0] = token
        self.lattice.advance(self._states, self._token)

    def fill(self) -> Array:
        self.lattice.fill_next_token_bitmask(self._states, self._mask)
        return self._mask[0]


class XGrammar:
    exact, leads = False, False

    def __init__(self, tokenizer: Tokenizer) -> None:
        import xgrammar

        info = xgrammar.TokenizerInfo(
            _bytes(tokenizer), vocab_size=tokenizer.n_vocab, stop_token_ids=tokenizer.eos
        )
        self._compiler = xgrammar.GrammarCompiler(info, max_threads=processors())
        self._matcher = xgrammar.GrammarMatcher
        self._mask = xgrammar.allocate_token_bitmask(1, tokenizer.n_vocab)

    def compile(self, words: Mapping[str, int]) -> None:
        text = haiku_grammar.ebnf(haiku_grammar.by_syllables(words))
        self._grammar = self._compiler.compile_grammar(text)
        self.start()

    def start(self) -> None:
        self._state = self._matcher(self._grammar)

    def step(self, token: int) -> None:
        if not self._state.accept_token(token):
            raise SystemExit(f"XGrammar refuses token {token}")

    def fill(self) -> Array:
        self._state.fill_next_token_bitmask(self._mask)
        return self._mask[0].numpy()


class LLGuidance:
    exact, leads = False, True

    def __init__(self, tokenizer: Tokenizer) -> None:
        import llguidance
        import llguidance.numpy
        import llguidance.tiktoken
        import tiktoken

        spelled = _bytes(tokenizer)[: tokenizer.eos]
        encoding = tiktoken.Encoding(
            "gpt2", pat_str=r"\S+|\s+", mergeable_ranks={b: i for i, b in enumerate(spelled)},
            special_tokens={"<|endoftext|>": tokenizer.eos},
        )  # fmt: skip
        tokens = llguidance.tiktoken.lltokenizer_from_encoding(encoding)
        limits = llguidance.LLParserLimits(  # the usual ones are for small grammars
            initial_lexer_fuel=10**9, step_lexer_fuel=10**9, max_lexer_states=10**7,
            step_max_items=10**7, max_grammar_size=10**7,
        )  # fmt: skip
        self._make = lambda text: llguidance.LLMatcher(tokens, text, limits=limits)
        self._mask = allocate_token_bitmask(1, tokenizer.n_vocab)
        self._fill = llguidance.numpy.fill_next_token_bitmask

    def compile(self, words: Mapping[str, int]) -> None:
        self._matcher = self._make(haiku_grammar.lark(haiku_grammar.by_syllables(words)))
        if self._matcher.is_error():
            raise SystemExit(self._matcher.get_error().splitlines()[0])

    def start(self) -> None:
        self._matcher.reset()

    def step(self, token: int) -> None:
        if not self._matcher.consume_token(token):
            raise SystemExit(f"llguidance refuses token {token}: {self._matcher.get_error()}")

    def fill(self) -> Array:
        self._fill(self._matcher, self._mask)
        return self._mask[0]


class OutlinesCore:
    exact, leads = False, False

    def __init__(self, tokenizer: Tokenizer) -> None:
        import outlines_core

        spelled = {b: [i] for i, b in enumerate(_bytes(tokenizer)) if i != tokenizer.eos}
        self._vocabulary = outlines_core.Vocabulary(tokenizer.eos, spelled)
        self._make, self._guide = outlines_core.Index, outlines_core.Guide
        self._mask = allocate_token_bitmask(1, tokenizer.n_vocab)

    def compile(self, words: Mapping[str, int]) -> None:
        text = haiku_grammar.regex(haiku_grammar.by_syllables(words))
        self._index = self._make(text, self._vocabulary)
        self.start()

    def start(self) -> None:
        self._state = self._guide(self._index)

    def step(self, token: int) -> None:
        self._state.advance(token, False)

    def fill(self) -> Array:
        self._state.write_mask_into(self._mask.ctypes.data, self._mask.size, 4)
        return self._mask[0]


class GLRMask:
    exact, leads = False, False

    def __init__(self, tokenizer: Tokenizer) -> None:
        import glrmask

        spelled = {i: b for i, b in enumerate(_bytes(tokenizer)) if i != tokenizer.eos}
        self._vocabulary = glrmask.Vocab.from_id_to_bytes(spelled)
        self._package, self._end = glrmask, glrmask.TokenSet([tokenizer.eos])

    def compile(self, words: Mapping[str, int]) -> None:
        text = haiku_grammar.lark(haiku_grammar.by_syllables(words))
        package = self._package
        whole = package.Expr.sequence(package.Grammar.from_lark(text), self._end)
        self._constraint = package.Grammar.from_expr(whole).compile(self._vocabulary)
        self._mask = np.zeros(self._constraint.mask_len(), np.int32)
        self.start()

    def start(self) -> None:
        self._state = self._constraint.start()

    def step(self, token: int) -> None:
        if not self._state.commit_token(token):
            raise SystemExit(f"glrmask refuses token {token}")

    def fill(self) -> Array:
        self._state.fill_mask(self._mask)
        return self._mask


def _bytes(tokenizer: Tokenizer) -> list[bytes]:
    return [tokenizer.token_bytes(i) for i in range(tokenizer.n_vocab)]


ENGINES: dict[str, tuple[str, Callable[[Tokenizer], MaskEngine]]] = {
    "constrained-gpt": ("constrained_gpt", Ours),  # module, maker
    "xgrammar": ("xgrammar", XGrammar),
    "llguidance": ("llguidance", LLGuidance),
    "glrmask": ("glrmask", GLRMask),
    "outlines-core": ("outlines_core", OutlinesCore),
}
