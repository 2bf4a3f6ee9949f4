"""Inflection: the plural of a phrase's last word, the irregular ones included.

Knows spelling rules and asks the dictionary whether a derived form is a word. kigo.py derives the
variants of a phrase with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from .pronunciations import pronunciations

IRREGULAR = {
    "leaf": "leaves", "sheaf": "sheaves", "loaf": "loaves", "wolf": "wolves", "calf": "calves",
    "half": "halves", "knife": "knives", "life": "lives", "wife": "wives", "shelf": "shelves",
    "thief": "thieves", "scarf": "scarves", "hoof": "hooves", "elf": "elves",
    "goose": "geese", "tooth": "teeth", "foot": "feet", "mouse": "mice", "louse": "lice",
    "dormouse": "dormice", "man": "men", "woman": "women", "child": "children", "ox": "oxen",
    "snowman": "snowmen", "fisherman": "fishermen", "grandchild": "grandchildren",
    "cactus": "cacti", "larva": "larvae", "potato": "potatoes", "tomato": "tomatoes",
    "mosquito": "mosquitoes", "echo": "echoes", "mango": "mangoes", "tornado": "tornadoes",
    "buffalo": "buffalo", "deer": "deer", "sheep": "sheep", "fish": "fish", "trout": "trout",
    "salmon": "salmon", "cod": "cod", "squid": "squid", "shrimp": "shrimp", "carp": "carp",
    "elk": "elk", "moose": "moose", "bison": "bison", "quail": "quail", "grouse": "grouse",
    "swine": "swine", "mackerel": "mackerel", "herring": "herring", "plankton": "plankton",
}  # fmt: skip
SINGULAR = {plural: singular for singular, plural in IRREGULAR.items()}

# Words whose -s form is another word (a verb, a name, an illness), or is no English at all.
_NO_PLURAL = """
spring fall may march april june july august september october november december january
february monday tuesday wednesday thursday friday saturday sunday christmas easter cold cool
warm hot heat chill ice clear bright dry wet mild late early deep long short green red white
yellow gold golden brown sweet fresh ripe bare still calm begin begins end ends go goes come
comes melt melts bloom blooms return returns corn rice wheat barley hay rye millet buckwheat
moss grass frost mist haze fog hail sleet slush swim swimming sweat rain kale spinach celery
parsley asparagus tofu tea wine beer cider soup sunburn thunder lightning foliage pollen
plough plow harvesting year years
"""
NO_PLURAL = frozenset(_NO_PLURAL.split())
# Plural-looking words that have no singular, or another one.
_NO_SINGULAR = """
clothes leaves news lens always perhaps afterwards towards downwards upwards series species
christmas thanks tennis iris bus gas glass grass moss frost cosmos lotus crocus narcissus
hibiscus asparagus eucalyptus citrus cactus watercress cress mess loess compass harness
wilderness darkness brightness coolness stillness chess press dress princess goddess swiss
lass pass bass sea bass marches falls springs mars venus uranus dregs doldrums shorts
trousers jeans pants pajamas goggles glasses sunglasses
"""
NO_SINGULAR = frozenset(_NO_SINGULAR.split())


def plural(word: str) -> str:
    """The plural of a noun by rule or from the irregular list."""
    if word in IRREGULAR:
        return IRREGULAR[word]
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return word + "es"
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return word[:-1] + "ies"
    return word + "s"


def singular(word: str) -> str | None:
    """The singular of a plural noun, or None if the word does not look like one."""
    if word in SINGULAR:
        return SINGULAR[word]
    if word in NO_SINGULAR or not word.endswith("s") or word.endswith(("ss", "us", "is", "os")):
        return None
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("ches", "shes", "xes", "sses", "zes")):
        return word[:-2]
    return word[:-1]


@lru_cache(maxsize=8192)
def plural_if_word(word: str) -> str | None:
    """The plural of a singular if it is a word; None for plurals and for what has no plural."""
    if word in NO_PLURAL or singular(word) is not None:
        return None
    if (word in NO_SINGULAR or word.endswith("os")) and word not in ("iris", "lotus", "crocus"):
        return None
    many = plural(word)
    return many if many != word and (word in IRREGULAR or pronunciations(many)) else None


def variants(keys: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The phrase with its last word in the plural. Never the singular: roses are summer's, but a
    moon that rose is not.
    """
    many = plural_if_word(keys[-1])
    if many is not None:
        yield (*keys[:-1], many)
