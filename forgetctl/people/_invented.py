"""Made-up values in the shape of given ones. All chance comes from the generator that is given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, repeat
from string import ascii_lowercase

import regex
from numpy.random import Generator

GIVEN = (
    "Adele Alba Alma Amalia Anton Arno Astrid Basil Beate Bruno Camille Carla Casper Celia Clara Conrad Dario Dora "
    "Edgar Elena Elias Emil Esther Fabian Felix Flora Frida Georg Greta Hanna Hector Helena Hugo Ida Irene Isaac Ivo "
    "Jasper Joana Jonas Julia Karin Klara Laura Leon Lidia Linus Livia Lucas Magda Marcel Marta Matilda Mira Nadia "
    "Nils Nora Olga Oscar Otto Paula Pedro Petra Quentin Rafael Regina Rita Robert Rosa Ruben Sabine Samuel Selma "
    "Silvia Simon Sonia Stella Teresa Thea Tobias Ursula Valentin Vera Victor Viola Walter Wanda Xenia Yvonne Zoe"
).split()
FAMILY = (
    "Abbott Adler Aguilar Almeida Arnaud Bachmann Barker Bauer Beaumont Becker Bennett Bernal Blanchard Brandt Calvo "
    "Campos Carver Chevalier Coleman Cortez Dawson Delgado Dietrich Dubois Eckert Ellison Engel Escobar Fabre Faulkner "
    "Ferrer Fischer Fontaine Gallego Garnier Gibson Graf Guerrero Haas Harper Hartmann Herrera Hoffmann Ibarra Jansen "
    "Jimenez Keller Kessler Kramer Lacroix Lambert Lawson Lindner Lozano Marchand Medina Mercier Montoya Moreau "
    "Navarro Newman Ortega Pacheco Parker Pascal Peters Quintana Ramsey Renaud Richter Rossi Salazar Sanders Schreiber "
    "Serrano Shelton Sommer Sutter Thibault Torres Ulrich Vargas Vidal Wagner Walsh Weber Whitfield Winter Zimmermann"
).split()
PLACES = (
    "Aldenham Ashford Bayview Belmont Brookside Cedarville Clearwater Crestwood Dunmore Eastbrook Elmwood Fairhaven "
    "Forestdale Glenwood Greenfield Hartwell Hazelton Highgate Kingsbury Lakeview Linden Longmeadow Maplewood Marlow "
    "Millbrook Newbury Northfield Oakdale Orchard Parkview Pinehurst Queensbury Ravenna Redwood Ridgeway Riverside "
    "Rosedale Sherwood Silverton Southgate Springdale Stonebridge Summerfield Thornbury Valleyview Walnut Waterford "
    "Westbrook Willow Woodbridge"
).split()
NOUNS = (
    "anchor apron badge barley basket beacon blanket bottle bridge button candle canvas carpet castle cellar chapel "
    "copper corner cotton cradle curtain desert drawer engine feather fiddle finger forest garden ginger hammer harbor "
    "helmet hollow island jacket kettle ladder lantern leather lemon marble meadow mirror needle orchard oyster pepper "
    "pillow pocket powder puzzle ribbon saddle silver spider spring statue summer ticket timber tunnel valley velvet "
    "violin walnut window winter"
).split()
ONSETS, VOWELS, CODAS = "b br c d dr f g gr h j k l m n p r s st t tr v w".split(), "aeiou", "l m n r s t nd rt".split()
LETTERS = {
    regex.compile(pattern): letters
    for pattern, letters in {
        r"\p{Han}": "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗伟芳娜秀英敏静丽强军洋勇艳杰娟涛明超霞平刚文华建国玉梅",
        r"\p{Hangul}": "김이박최정강조윤장임한오서신권황안송류홍민준서연지우현수영희경은미선진호성재혜주나리",
        r"\p{Hiragana}": "あいうえおかきくけこさしすせそたちつてとなにのはひふへほまみむめもやゆよらりるれろわ",
        r"\p{Katakana}": "アイウエオカキクケコサシスセソタチツテトナニノハヒフヘホマミムメモヤユヨラリルレロワン",
        r"\p{Cyrillic}": "абвгдежзиклмнопрстуфхцчшя",
        r"\p{Greek}": "αβγδεζηθικλμνξοπρστυφχψω",
        r"\p{Arabic}": "ابتجحدرزسشصطعفقكلمنهوي",
        r"\p{Hebrew}": "אבגדהוזחטיכלמנסעפצקרשת",
        r"\p{Devanagari}": "अआइउकखगघचजटडतदधनपबभमयरलवशसह",
        r"\p{Thai}": "กขคงจชซดตทนบปผพมยรลวสหอ",
    }.items()
}
"""Letters of other scripts, which are drawn one by one: those of common names where a script has too many."""
_WORD = regex.compile(r"\p{Latin}[\p{Latin}\p{M}]*|[\p{L}\p{N}]")
SHORT_WORD = 3
"""Letters up to which a word holds a text together, as an article or a state's initials, and stays."""
DRAWS = 4000
"""Made of words of the lists; what is made after them also of such as no list has, for there may be too few."""


def draws() -> Iterator[bool]:
    """For every draw of a value whether words that no list has may be in it."""
    return chain(repeat(False, DRAWS), repeat(True))


def like_digits(value: str, random: Generator, keep: int = 0) -> str:
    """Other digits for digits, and letters for letters, but for the first `keep` of them. A number begins with 0 if it
    did before, and only then."""
    places = [place for place, letter in enumerate(value) if letter.isalnum()][keep:]
    made = list(value)
    for place in places:
        made[place] = _like_letter(value[place], random, first=place == places[0])
    return "".join(made)


def like_words(
    value: str, random: Generator, *, invent: bool, names: Sequence[Sequence[str]] = (PLACES, FAMILY)
) -> str:
    """Other words for words, each written as the one that it stands for, and other digits for digits.

    names: lists from which a capital word is taken, by its place among them; the last list again for all further ones.
    invent: whether half of them are in no list.
    """
    count = 0
    all_short = all(map(_is_short, _WORD.findall(value)))

    def other(match: regex.Match[str]) -> str:
        nonlocal count
        word = str(match[0])
        if word.isdecimal() or (len(word) == 1 and not word.isascii()):
            return _like_letter(word, random, first=False)
        if _is_short(word) and not all_short:
            return word
        choices = NOUNS if word.islower() else names[min(count, len(names) - 1)]
        count += not word.islower()
        made = syllables(random) if invent and random.random() < 0.5 else _one_of(choices, random)
        return _written_as(word, made)

    return str(_WORD.sub(other, value))


def syllables(random: Generator) -> str:
    """A word of two or three syllables."""
    count = int(random.integers(2, 4))
    made = "".join(_one_of(ONSETS, random) + _one_of(VOWELS, random) for _ in range(count))
    return made + _one_of([*CODAS, "", ""], random)


def _is_short(word: str) -> bool:
    return word.isascii() and len(word) <= SHORT_WORD and not word.istitle() and not word.isdecimal()


def _written_as(word: str, made: str) -> str:
    if word.islower():
        return made.lower()
    return made.upper() if word[1:].isupper() else made.capitalize()


def _one_of(choices: Sequence[str], random: Generator) -> str:
    return choices[int(random.integers(len(choices)))]


def _like_letter(letter: str, random: Generator, *, first: bool) -> str:
    if letter.isdecimal():
        return "0" if first and letter == "0" else str(random.integers(int(first), 10))
    letters = next((letters for script, letters in LETTERS.items() if script.match(letter)), ascii_lowercase)
    made = _one_of(letters, random)
    return made.upper() if letter.isupper() else made
