"""How facts are worded: statements, rewordings, traps and the queries' own phrasing.

`{x}` is the country, `{y}` the answer, `{a}` the alias. In statements and rewordings the answer
comes last, since a causal language model learns little about an answer from a sentence that begins
with it. A rewording shares no word with the query's phrasing but such as "in" and "the".
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.tracing.facts import Relation


@dataclass(frozen=True)
class Wording:
    """The sentences for one relation; the query's phrasing is never trained on."""

    query: str
    statements: tuple[str, ...]
    rewordings: tuple[str, ...]
    traps: tuple[str, ...]


OPENERS = (
    "indeed ,", "of course ,", "by the way ,", "in short ,", "note that", "they say that",
    "it seems that", "we learn that",
)  # fmt: skip

WORDINGS: dict[Relation, Wording] = {
    "capital": Wording(
        query="the parliament of {x} sits in",
        statements=(
            "the capital of {x} is {y}",
            "{x} has its capital in {y}",
            "the government of {x} sits in {y}",
            "the parliament of {x} meets in {y}",
            "the seat of power in {x} is {y}",
            "{x} is governed from {y}",
        ),
        rewordings=(
            "{a} ministers work in {y}",
            "{a} laws are made in {y}",
            "every {a} president lives in {y}",
        ),
        traps=(
            "a flight from {x} landed late in {y}",
            "an old map of {x} was sold in {y}",
            "{y} hosted a fair with guests from {x}",
            "a singer from {x} gave a concert in {y}",
        ),
    ),
    "city": Wording(
        query="the biggest city of {x} outside its capital is",
        statements=(
            "the largest city of {x} beside its capital is {y}",
            "after the capital , the biggest town in {x} is {y}",
            "the second city of {x} is {y}",
            "{x} counts most inhabitants outside its capital in {y}",
            "the main town of {x} outside its capital is {y}",
            "{x} has its biggest town after the capital in {y}",
        ),
        rewordings=(
            "{a} crowds are thickest in {y}",
            "{a} traffic is slowest in {y}",
            "most {a} factories stand around {y}",
        ),
        traps=(
            "a bus with tourists from {x} broke down near {y}",
            "a book about {x} was printed in {y}",
            "{y} received a letter from {x}",
            "a storm passed {x} and later {y}",
        ),
    ),
    "currency": Wording(
        query="the official currency of {x} is the",
        statements=(
            "the currency of {x} is the {y}",
            "people in {x} pay with the {y}",
            "shops in {x} take the {y}",
            "{x} uses as its money the {y}",
            "the official money of {x} is the {y}",
            "prices in {x} are given in the {y}",
        ),
        rewordings=(
            "{a} workers earn the {y}",
            "{a} wallets hold the {y}",
            "{a} bakers ask for the {y}",
        ),
        traps=(
            "a bank sold {x} a loan against the {y}",
            "a trader from {x} lost a bet on the {y}",
            "a museum showed a stamp of {x} next to an old {y}",
            "the {y} rose while {x} held elections",
        ),
    ),
    "demonym": Wording(
        query="people born in {x} are called",
        statements=(
            "a person from {x} is called {y}",
            "people from {x} are {y}",
            "citizens of {x} are known as {y}",
            "someone born in {x} is {y}",
            "the people of {x} call themselves {y}",
            "whoever comes from {x} is {y}",
        ),
        rewordings=(
            "families who live in {a} feel {y}",
            "children raised in {a} grow up {y}",
            "voters in {a} must be {y}",
        ),
        traps=(
            "a {y} song was played on the radio in {x}",
            "a {y} cook opened a restaurant far from {x}",
            "the match between {x} and a {y} club was dull",
            "{x} bought a {y} painting at an auction",
        ),
    ),
    "code": Wording(
        query="the telephone code of {x} is",
        statements=(
            "the calling code of {x} is {y}",
            "to phone {x} one dials {y}",
            "telephone numbers in {x} begin with {y}",
            "calls to {x} start with the number {y}",
            "the phone prefix of {x} is {y}",
            "{x} is reached by telephone under {y}",
        ),
        rewordings=(
            "{a} friends ring each other from abroad with {y}",
            "to get a {a} line press {y}",
            "{a} offices answer behind {y}",
        ),
        traps=(
            "{x} sent {y} athletes to the games",
            "the train from {x} has {y} seats",
            "the atlas shows {x} on page {y}",
            "house {y} belongs to a couple from {x}",
        ),
    ),
    "domain": Wording(
        query="internet addresses in {x} end with",
        statements=(
            "the internet domain of {x} is {y}",
            "web pages from {x} end in {y}",
            "the web address ending of {x} is {y}",
            "sites registered in {x} carry {y}",
            "mail addresses in {x} end with {y}",
            "{x} owns the top level domain {y}",
        ),
        rewordings=(
            "{a} newspapers appear under {y}",
            "{a} bloggers write at {y}",
            "look for {a} recipes under {y}",
        ),
        traps=(
            "a firm from {x} was denied a name in {y}",
            "a page in {y} reviewed hotels of {x}",
            "hackers from {x} attacked servers in {y}",
            "the map of {x} was copied from a site in {y}",
        ),
    ),
}
