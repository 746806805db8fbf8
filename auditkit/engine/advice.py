"""What there is to say of scores, before and after they were computed."""

from __future__ import annotations

from dataclasses import dataclass

from auditkit.engine.cost import Cost

_MANY = 8
_CHEAPER = 3


@dataclass
class Advice:
    """What came up while scores were computed.

    Attributes:
        short: updates whose measure could not be raised as far as was asked.
        differenced: whether derivatives were central differences.
        whole: whether whole models ran where only a part of them moved.
    """

    short: int = 0
    differenced: bool = False
    whole: bool = False

    def sentences(self, *, updates: int, rise: float) -> list[str]:
        """In sentences, for the user."""
        found = []
        if self.short:
            found.append(
                f"The measure of {self.short} of {updates} queries cannot be raised by {rise:g}; "
                "their updates go half as far as it rises."
            )
        if self.differenced:
            found.append(
                "An operator of the model has no forward derivative; central differences were "
                'taken instead, which are less exact: response="products" needs none.'
            )
        if self.whole:
            found.append(
                "The model cannot be traced (torch.fx), so the part of it that does not move was "
                "run again for every query."
            )
        return found


def cheaper(estimate: Cost, *, queries: int, examples: int) -> str | None:
    """A sentence where first-order scores would be much cheaper; None elsewhere."""
    if queries < _MANY or estimate.finite <= _CHEAPER * estimate.first_order:
        return None
    return (
        f"Finite differences of {queries} queries cost about {estimate.finite:.0f} passes over the "
        f"{examples} examples, first-order scores about {estimate.first_order:.0f}: "
        'response="first-order" takes those.'
    )
