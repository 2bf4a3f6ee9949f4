"""Inflection: the plurals of a phrase, the irregular ones included.

Knows spelling rules and reviewed lists of what has no plural; asks no dictionary, since few list
the flowers of a saijiki. kigo.py derives the variants of a phrase with it.
"""

from __future__ import annotations

from collections.abc import Iterator

# A noun and its plural, or several. A noun that is its own plural is listed with itself.
_IRREGULAR = """
leaf leaves; sheaf sheaves; loaf loaves; wolf wolves; calf calves; half halves; knife knives;
life lives; wife wives; shelf shelves; thief thieves; scarf scarves scarfs; hoof hooves hoofs;
elf elves; goose geese; tooth teeth; foot feet; mouse mice; dormouse dormice; louse lice;
ox oxen; man men; woman women; child children; grandchild grandchildren; potato potatoes;
tomato tomatoes; mosquito mosquitoes mosquitos; echo echoes; mango mangoes mangos;
tornado tornadoes tornados; cactus cacti cactuses; gladiolus gladioli gladioluses;
narcissus narcissi narcissuses; octopus octopuses octopi; chrysalis chrysalises chrysalides;
larva larvae; fungus fungi funguses; mary marys; january januarys; february februarys; july julys;
monarch monarchs; cyclamen cyclamens;
deer deer; reindeer reindeer; sheep sheep; fish fish fishes; trout trout; salmon salmon; cod cod;
squid squid; shrimp shrimp shrimps; carp carp; elk elk; moose moose; bison bison;
buffalo buffalo buffaloes; quail quail quails; grouse grouse; swine swine; mackerel mackerel;
herring herring herrings; plankton plankton
"""
IRREGULAR: dict[str, tuple[str, ...]] = {
    one: tuple(many)
    for one, *many in (entry.split() for entry in " ".join(_IRREGULAR.split()).split(";"))
}
SINGULAR = {many: one for one, several in IRREGULAR.items() for many in several}

# No plural, or one that is a verb, a name, an illness: verbs and what stands after them, the small
# words a phrase may end with, qualities, stuffs, feasts and Japanese nouns.
_NO_PLURAL = """
begin begins bound come comes depart emerge end ends fall freeze gather go goes leave
melt migrate peep return returns rise scatter shine sing swim turn lengthen
back down forward near north out over south
about across again ago ahead along another apart around arrive as asleep at away before behind
between bitten deeper eaten fallen far fell forth from frozen froze full gone hard her here hers
herself him himself his in into it its like me my no off on open our quick redden shorter shut
since solid some than that the their theirs them thick this those through to today toward towards
twice unfurl up upon us under underfoot visible with you your yours
autumnal balmy barefoot bare bright brown calm clear cold cool covered dead deep dewy dry early
fresh foggy frostbitten frosty golden green hot icy late leafless lenten long longer mild moonless
moonlit muggy red ripe short snowbound snowcapped snowless snowy springlike still subzero sultry
summery sunburned sunburnt sweet sweltering vernal warm wet white wintry yellow
spring may march midspring midsummer midwinter springtide springtime summertime wintertime
air altair asparagus asphalt bamboo barley birdsong borealis calligraphy celery chickweed chicory
chill citronella coltsfoot coolness corn crabgrass duckweed edamame firewood flu fluff foliage
frogspawn frostbite fuzz gingerbread gold greenery greening gruel hay haze heat heatstroke
hibernation hockey humidity ice influenza kale laughter lightning loneliness longlegs melancholy
meltwater mildew millet mistletoe money moonglow moonlight mud mugwort parsley pollen porridge
rhubarb rice rime runoff rye sap seclusion sleet slush snowmelt solitude soup spawn spinach
starlight stubble sunburn sunlight sunshine surf sweat thistledown thunder thundersnow tinsel tofu
wheat whitebait
atonement beltane candlemas chanukah claus diwali epiphany hanukkah hashanah higan hogmanay holi
imbolc juneteenth kippur kwanzaa losar michaelmas nowruz obon oktoberfest omisoka orion passover
pentecost pleiades purim samhain santa saturnalia seollal setsubun sharon sirius sukkot syne
tanabata tet whitsun william xmas year years yule yuletide
ajisai akatombo akatonbo akikaze amanogawa arare asagao ayame baiu bonenkai dotera fubuki
fujibakama fukuwarai furin ganjitsu gantan hagi hanabi hanafubuki hanagumori hanaikada hanamatsuri
hanami hanetsuki hanten harukaze hatsugama hatsuhi hatsuhinode hatsukamado hatsukaze hatsumairi
hatsumode hatsuyu hatsuyuki hatsuyume hatsuzora hibari higanbana higurashi hikizome himawari
hinamatsuri hiyayakko hotaru hototogisu hozuki imo inazuma irori izayoi kabutomushi kadomatsu
kagamibiraki kagero kagerou kakezome kaki kakigori kakitsubata kakizome kantsubaki kareha kareno
karuta katatsumuri kawahori kawazu kayari kigan kiku kikyo kingyo kinmokusei kinuta kitakaze
kogarashi koi koinobori konayuki korogi koromogae koshogatsu kotatsu kouyou koyo kuchinashi
mamemaki mangetsu manjushage manzai matsumushi matsunouchi matsuri meigetsu mikazuki mikoshi
mizore mochi momiji momijigari mugicha mukaebi nagareboshi nanakusa nanohana natsukusa nazuna
nengajo nowaki nuizome oborozuki ochiba oden odori odoshi ohanami okuribi omikuji osechi oshogatsu
otoshidama ozoni ramune rikka risshu risshun sagicho sakura samidare sarumawashi sasanqua sazanka
semishigure shabondama shakuyaku shidarezakura shigure shimekazari shimenawa shimo shincha shinnen
shinryoku shiohigari shirauo shiroiki shishimai shogatsu soba somen sudare sugoroku suiren suisen
sumire susuharai susuki suzumushi suzuran takarabune takoage tanpopo tanuki tokoroten tombo
toshidama toshikoshi toso tsubaki tsubame tsukimi tsutsuji tsuyu uchiwa uguisu unohana urabon
wakaba wakame yaezakura yamabuki yomizome yozakura yudachi yukata yuki yukidoke yukimi zansetsu
zoni
"""
NO_PLURAL = frozenset(_NO_PLURAL.split())
# As a word by itself the -s form is a verb: a cab is hailed, glasses fog.
NO_PLURAL_ALONE = frozenset({"fog", "hail"})
# Nouns in -ing that have a plural; a gerund has none (sowing, moon viewing).
_ING = """
beginning bunting carving duckling evening fledgling gathering gosling greeting hatchling lacewing
morning nestling offering pudding reading redwing ring seedling starling stocking string swing
wedding wing
"""
ING = frozenset(_ING.split())
# Plurals without a singular, and what else in -s takes no other ending.
_NO_SINGULAR = """
clothes doldrums dregs fireworks glasses goggles jeans news pajamas pants shorts sunglasses
thanks tracks trousers woods
"""
NO_SINGULAR = frozenset(_NO_SINGULAR.split())
# Singulars in -s.
_SINGULAR_S = """
bus cosmos gas iris lens rhinoceros walrus
"""
SINGULAR_S = frozenset(_SINGULAR_S.split())


def plurals(word: str) -> tuple[str, ...]:
    """The plurals of a noun, by rule or from the irregular list.

    >>> plurals("dragonfly"), plurals("cactus"), plurals("snowman")
    (('dragonflies',), ('cacti', 'cactuses'), ('snowmen',))
    """
    if word in IRREGULAR:
        return IRREGULAR[word]
    if word.endswith("man"):
        return (word[:-3] + "men",)
    if word.endswith("fish"):
        return (word,)
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return (word + "es",)
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return (word[:-1] + "ies",)
    return (word + "s",)


def singular(word: str) -> str | None:
    """The singular of a plural noun, or None if the word does not look like one."""
    if word in SINGULAR:
        return SINGULAR[word]
    if word.endswith("men"):
        return word[:-3] + "man"
    if word in NO_SINGULAR or word in SINGULAR_S or not word.endswith("s"):
        return None
    if word.endswith(("ss", "us", "is", "os")):
        return None
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("ches", "shes", "xes", "sses", "zes")):
        return word[:-2]
    return word[:-1]


def has_plural(word: str) -> bool:
    """Whether a word of a phrase is a noun in the singular that has a plural."""
    if word in NO_PLURAL or word in NO_SINGULAR:
        return False
    if word.endswith("ing"):
        return word in ING
    if word.endswith("less") or (word.endswith("ed") and not word.endswith(("bed", "eed", "led"))):
        return False
    return word in IRREGULAR or singular(word) is None


def variants(keys: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The phrase with its noun in the plural: the last word, or the one before "of".

    Never the singular: roses are summer's, but a moon that rose is not.
    """
    place = keys.index("of", 1) - 1 if "of" in keys[1:] else len(keys) - 1
    noun = keys[place]
    if has_plural(noun) and (len(keys) > 1 or noun not in NO_PLURAL_ALONE):
        for many in plurals(noun):
            if many != noun:
                yield (*keys[:place], many, *keys[place + 1 :])
