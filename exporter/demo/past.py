"""What may have gone wrong before the demo opens: each function changes the history or the usage log that it is given.

Sizes are in dollars or in shares of the business, so that they are too much for a small business as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle, takewhile
from operator import attrgetter

from exporter.clock import DAY
from exporter.demo.books import Books
from exporter.demo.facts import Charge, History, Usage
from exporter.demo.scenario import namespace

DOLLAR = 10**9
"""Of what providers ask, which is in 10⁻⁹ dollars."""


@dataclass(slots=True)
class Past:
    """The history and the usage log, both until ``history.now``."""

    history: History
    rows: list[Usage]

    @property
    def now(self) -> int:
        return self.history.now

    @property
    def books(self) -> Books:
        return Books(self.history, namespace(self.history.seed))

    def in_order(self) -> None:
        """Every list in the order of time again."""
        made = self.history
        for facts in (made.refunds, made.disputes, made.transactions, made.events):
            facts.sort(key=attrgetter("at", "id"))
        self.rows.sort(key=attrgetter("at", "id"))

    def volume(self, seconds: int) -> int:
        """Charged in so many last seconds, in cents."""
        rows = takewhile(lambda row: row.at > self.now - seconds, reversed(self.history.transactions))
        return sum(row.amount for row in rows if row.category == "charge" and row.currency == "usd")

    def payments(self) -> Iterator[tuple[int, Charge]]:
        """Payments in dollars that nobody has asked back, the newest first, with their places."""
        charges = self.history.charges
        for place in range(len(charges) - 1, -1, -1):
            one = charges[place]
            if one.currency == "usd" and one.at < self.now - 7200 and not (one.failure or one.refunded or one.disputed):
                yield place, one

    def more_calls(self, dollars: int, when: Callable[[int], int], customer: str | None = None) -> None:
        """Calls of Kling 2.5 like those that were made, until they cost so much; the n-th at ``when(n)``."""
        known = [row for row in self.rows if row.key == "kling/kling-2.5-turbo" and row.cost and row.settles is None]
        spent = 0
        for n, row in enumerate(cycle(reversed(known[-500:]))):
            if spent >= dollars * DOLLAR:
                return
            at = when(n)
            made = row._replace(
                id=f"{row.id}x{n}", job=f"{row.job}x{n}", at=at, updated=at + 30, customer=customer or row.customer
            )
            self.rows.append(made)
            spent += row.cost or 0


def cost_spike(past: Past) -> None:
    """A loop: in the last day Kling was called for 800 dollars more."""
    past.more_calls(800, lambda n: past.now - 600 - n * 97 % (22 * 3600))


def customer_loss(past: Past) -> None:
    """One customer on a monthly plan was sold for 24 dollars, and has used 600 dollars of Kling in 20 days."""
    payer = next(
        one for one in past.history.subscriptions if one.status == "active" and one.items[0].price[-5:] == "month"
    )
    past.more_calls(600, lambda n: past.now - 600 - n * 1201 % (20 * DAY), payer.customer)


def usage_stalled(past: Past) -> None:
    """The application wrote its last row two hours ago."""
    past.rows[:] = [row for row in past.rows if row.updated <= past.now - 7200 and row.settles is None]


def usage_nameless(past: Past) -> None:
    """For two days the application has written no customer."""
    past.rows[:] = [row._replace(customer="") if row.at > past.now - 2 * DAY else row for row in past.rows]


def refund_storm(past: Past) -> None:
    """In the last hour payments were given back: 600 dollars, or two fifths of a day's volume."""
    goal, given, books = max(60_000, past.volume(DAY) * 2 // 5), 0, past.books
    for n, (place, charge) in enumerate(past.payments()):
        if given >= goal:
            return
        past.history.charges[place] = books.give_back(charge, f"storm{n:05d}", past.now - 3600 + n)
        given += charge.amount


def dispute_storm(past: Past) -> None:
    """In the last hour banks took payments back: 400 dollars, or 2 % of 30 days' volume."""
    goal, taken, books = max(40_000, past.volume(30 * DAY) // 50), 0, past.books
    for n, (place, charge) in enumerate(past.payments()):
        if taken >= goal:
            return
        past.history.charges[place] = books.contest(charge, f"storm{n:05d}", past.now - 3600 + n)
        taken += charge.amount


def fees_odd(past: Past) -> None:
    """Yesterday Stripe billed a fee of a quarter of the week's volume."""
    amount, at = max(20_000, past.volume(7 * DAY) // 4), past.now - DAY
    past.books.row("oddfee", at, "fee", "usd", -amount, 0, None, "Radar - yearly fee", ready=at)
