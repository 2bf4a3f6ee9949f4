"""From a topic to the token ids the model reads first.

A chat model is shown a few haiku as turns of its own template; a base model the same haiku on a
page, each under its topic; a model fine-tuned here is given the tags it was trained with. Knows
wording and special tokens, no lattice. Called by `generate`, and by `finetune` for the tags.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from constrained_gpt.lexicon import Form

MAX_CHARACTERS = 1000
TAGS = "tags"  # what `haiku finetune` trains a model to be asked with
STYLES = ("page", "chatml", TAGS)

# Written for this purpose: plain words, one season word each, lines that end where a breath ends.
_PAGE = (
    (
        "morning frost",
        "A crow on the fence\nshakes the frost from the long wire\nand then only sky.",
    ),
    (
        "a train station in summer heat",
        "Noon at the station,\none cicada keeps singing\nto the empty tracks.",
    ),
    ("my grandmother", "Plum blossoms again.\nI set out her blue tea bowl\nand pour for no one."),
    ("the sea", "Wild geese in the dusk —\nthe tide has carried my name\nback to the wet sand."),
)


class Speller(Protocol):
    """What a prompt needs of a tokenizer."""

    @property
    def chat(self) -> str | None: ...
    @property
    def eos(self) -> int: ...
    def encode(self, text: str) -> list[int]: ...
    def encode_special(self, text: str) -> list[int]: ...


@dataclass(frozen=True)
class Prompt:
    """ids: what the model reads first. end: the token that ends a poem after it."""

    ids: tuple[int, ...]
    end: int


def checked(prompt: object) -> str:
    """The topic, cleaned of outer space; raises if there is nothing to write about."""
    if not isinstance(prompt, str):
        raise TypeError(f"the prompt is a topic such as 'autumn rain', not {type(prompt).__name__}")
    try:
        prompt.encode()
    except UnicodeEncodeError:
        raise ValueError("the prompt holds a lone surrogate, which is no text; remove it") from None
    topic = " ".join(prompt.split())
    if not any(ch.isprintable() and not ch.isspace() for ch in topic):
        raise ValueError("the prompt is empty; give a topic such as 'autumn rain'")
    if len(topic) > MAX_CHARACTERS:
        raise ValueError(
            f"the prompt has {len(topic):,} characters; give a topic of at most {MAX_CHARACTERS:,}"
        )
    return topic


def tags(name: str, season: str = "", kigo: str = "", topic: str = "") -> str:
    """The line before a poem that says what it is to be; what is not known is left out.

    >>> tags("haiku", "autumn", "moon", "an old bell")
    'haiku, autumn, moon, about an old bell:\n'
    """
    about = f"about {topic}" if topic else ""
    return ", ".join(part for part in (name, season, kigo, about) if part) + ":\n"


def build(
    tokenizer: Speller,
    topic: str,
    form: Form,
    style: str | None = None,
    *,
    page: Sequence[tuple[str, str]] = _PAGE,
) -> Prompt:
    """The prompt for a topic. style: one of STYLES; None: as the tokenizer suggests. page: the
    haiku shown before it, each after its topic, unless the style is TAGS."""
    style = style or tokenizer.chat or "page"
    if style not in STYLES:
        raise ValueError(
            f"the model wants prompts of style {style!r}, which is not known here; use one that "
            f"wants {', '.join(STYLES)}"
        )
    if style == TAGS:
        text = tags(form.name, _season(form), " or ".join(_kigo(form)), topic)
        return Prompt(tuple(tokenizer.encode(text)), tokenizer.eos)
    if style == "chatml":
        turns = "".join(
            f"<|im_start|>user\nWrite a haiku about {about}.<|im_end|>\n"
            f"<|im_start|>assistant\n{poem}<|im_end|>\n"
            for about, poem in page
        )
        before = f"<|im_start|>system\nYou are a poet.<|im_end|>\n{turns}<|im_start|>user\n"
        after = "<|im_end|>\n<|im_start|>assistant\n"
        ids = [
            *tokenizer.encode_special(before),
            *tokenizer.encode(_request(topic, form)),  # the topic is text, whatever it looks like
            *tokenizer.encode_special(after),
        ]
        return Prompt(tuple(ids), tokenizer.eos)
    shown = "".join(f"Haiku about {about}:\n{poem}\n\n" for about, poem in page)
    return Prompt(
        tuple(tokenizer.encode(f"{shown}Haiku about {topic}:\n")), tokenizer.encode("\n")[0]
    )


def _season(form: Form) -> str:
    return form.kigo if isinstance(form.kigo, str) and form.kigo not in ("off", "any") else ""


def _kigo(form: Form) -> list[str]:
    return sorted(form.kigo) if isinstance(form.kigo, frozenset) else []


def _request(topic: str, form: Form) -> str:
    season = _season(form)
    words = f" Use the words {' or '.join(_kigo(form))}." if _kigo(form) else ""
    name = form.name if form.name in ("haiku", "senryu", "tanka", "cinquain") else "poem"
    of = f" {season}" if season and season not in topic.lower() else ""
    return f"Write a{of} {name} about {topic}.{words}"
