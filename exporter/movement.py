"""Movements of monthly recurring revenue: what one customer's change is called. Pure, without I/O.

Definitions: https://docs.stripe.com/billing/subscriptions/analytics. A customer is compared with itself before and
after, in each currency of its own: new, expansion, contraction, churn, reactivation. What changed only because it is
now known better or counted by another rule is a restatement, and nobody's doing.

For every change ``after = before + new + reactivation + expansion - contraction - churn + restatement_up -
restatement_down`` holds per currency, to the minor unit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, get_args

Cause = Literal["observed", "rules", "drift"]
"""Why a figure is written: Stripe says so (or time has come), the rules changed, or a mistake of ours was healed."""

NewMrr = Literal["customer", "subscription"]
"""Whose beginning is new MRR: a customer's, or each subscription's, also that of a customer who has one already."""

Movement = Literal["new", "expansion", "contraction", "churn", "reactivation", "restatement_up", "restatement_down"]
MOVEMENTS: tuple[Movement, ...] = get_args(Movement)
DOWN: frozenset[Movement] = frozenset({"contraction", "churn", "restatement_down"})
"""Movements that are subtracted; amounts are always positive."""

SubscriberMovement = Literal["new", "reactivation", "churn", "restatement_up", "restatement_down"]
SUBSCRIBER_MOVEMENTS: tuple[SubscriberMovement, ...] = get_args(SubscriberMovement)


class Holding(NamedTuple):
    """One subscription item of a customer. ``mrr`` in minor units of ``currency`` per month, never negative;
    ``unknown``: it cannot be valued, and ``mrr`` is 0; ``note``: what is known to be inexact, such as a tax inside."""

    item: tuple[str, str]
    product: str
    currency: str
    mrr: int
    unknown: bool = False
    note: str = ""


class Move(NamedTuple):
    """One movement of a customer in one currency. ``amount`` > 0 in minor units per month; ``after``: the customer's
    MRR in this currency when it had happened."""

    currency: str
    movement: Movement
    amount: int
    after: int


def moves_of(
    before: Sequence[Holding], after: Sequence[Holding], ever: bool, cause: Cause, new: NewMrr = "customer"
) -> list[Move]:
    """What happened to one customer between two states. ``ever``: it had MRR at some time before.

    A customer with MRR in another currency is not gone, and not new: one who changes currency contracts in the one
    and expands in the other. An item that cannot be valued makes nobody new or churned: what it is found to be worth,
    or is no more, is restated. So is the change of an item of which it has become known how inexact it was.
    """
    active_before = any(item.mrr or item.unknown for item in before)
    active_after = any(item.mrr or item.unknown for item in after)
    unknown = {item.item for item in (*before, *after) if item.unknown} | _corrected(before, after)
    entered: Movement = "reactivation" if ever and not active_before else "new"
    moves: list[Move] = []
    for currency in sorted({item.currency for item in (*before, *after)}):
        old, now = ([item for item in state if item.currency == currency] for state in (before, after))
        reached, is_ = sum(item.mrr for item in old), sum(item.mrr for item in now)
        began = risen = fallen = 0
        for was, change in _changes(old, now, unknown, new) if cause == "observed" else ():
            if change < 0:
                fallen -= change
            elif not active_before or (not was and new == "subscription"):
                began += change
            else:
                risen += change
        for movement, amount in ((entered, began), ("expansion", risen)):
            if amount:
                reached += amount
                moves.append(Move(currency, movement, amount, reached))
        if fallen:
            reached -= fallen
            moves.append(Move(currency, "contraction" if reached or active_after else "churn", fallen, reached))
        if is_ > reached:
            moves.append(Move(currency, "restatement_up", is_ - reached, is_))
        elif is_ < reached:
            moves.append(Move(currency, "restatement_down", reached - is_, is_))
    return moves


def _changes(
    old: Iterable[Holding], now: Iterable[Holding], unknown: set[tuple[str, str]], new: NewMrr
) -> list[tuple[int, int]]:
    """MRR before and its change, of the customer or of each of its subscriptions, in one currency. What is restated
    is left out of the change."""
    was: dict[str, int] = {}
    change: dict[str, int] = {}
    for sign, state in ((-1, old), (1, now)):
        for item in state:
            unit = item.item[0] if new == "subscription" else ""
            was[unit] = was.get(unit, 0) + (item.mrr if sign < 0 else 0)
            change[unit] = change.get(unit, 0) + (0 if item.item in unknown else sign * item.mrr)
    return [(was[unit], change[unit]) for unit in sorted(was)]


def _corrected(before: Iterable[Holding], after: Iterable[Holding]) -> set[tuple[str, str]]:
    notes = {item.item: item.note for item in before}
    return {item.item for item in after if notes.get(item.item, item.note) != item.note}


def subscriber_move(
    before: Iterable[Holding], after: Iterable[Holding], moves: Iterable[Move]
) -> SubscriberMovement | None:
    """Whether the customer became or stopped being a subscriber (one with MRR above 0 in any currency), and how."""
    was, is_ = any(item.mrr for item in before), any(item.mrr for item in after)
    if was == is_:
        return None
    kinds = {move.movement for move in moves}
    if is_:
        return "new" if "new" in kinds else "reactivation" if "reactivation" in kinds else "restatement_up"
    return "churn" if "churn" in kinds else "restatement_down"


def product_moves(before: Sequence[Holding], after: Sequence[Holding], cause: Cause) -> dict[str, SubscriberMovement]:
    """By product: whether the customer began to pay for it (``new``) or stopped (``churn``), as by a change of plan."""
    moved: dict[str, SubscriberMovement] = {}
    for product in sorted({item.product for item in (*before, *after)}):
        was, is_ = (any(item.mrr for item in state if item.product == product) for state in (before, after))
        if was == is_:
            continue
        restated = cause != "observed" or any(item.unknown for item in (*before, *after) if item.product == product)
        if restated:
            moved[product] = "restatement_up" if is_ else "restatement_down"
        else:
            moved[product] = "new" if is_ else "churn"
    return moved


def closing(sums: Mapping[str, int]) -> int:
    """What a beginning and its movements come to: all of ``sums`` by movement, those that lead down subtracted."""
    return sum(-amount if name in DOWN else amount for name, amount in sums.items())
