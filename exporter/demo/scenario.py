"""The history of a believable business that sells AI video: pure, seeded, the same for the same seed and day.

``history(seed, now)`` has some 2,000 customers over 14 months on monthly, yearly, weekly, daily and half-yearly
plans, and everything that happens to their money. ``usage_rows`` (``usage.py``) is what they made with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter
from random import Random

from exporter.clock import DAY
from exporter.demo import catalogue
from exporter.demo.books import Books
from exporter.demo.coupons import coupons
from exporter.demo.facts import History, Payout, Topup, Transaction
from exporter.demo.lives import Life
from exporter.demo.purse import Span

CUSTOMERS = 2000
DAYS = 425
WEEK = 7 * DAY


def namespace(seed: int) -> str:
    """Part of every id: two seeds are two accounts that share nothing."""
    return f"Dm{seed:06x}"


def history(seed: int, now: int, *, customers: int = CUSTOMERS, days: int = DAYS) -> History:
    """The business of ``seed`` from ``days`` days before today's midnight (UTC) until ``now``."""
    return history_and_spans(seed, now, customers=customers, days=days)[0]


def history_and_spans(
    seed: int, now: int, *, customers: int = CUSTOMERS, days: int = DAYS
) -> tuple[History, list[Span]]:
    """The same, with the spans in which customers use the product."""
    tomorrow = now - now % DAY + DAY
    start = tomorrow - DAY - days * DAY
    made = History(seed, start, now, catalogue.products(start), catalogue.prices(start), coupons=coupons(start))
    books = Books(made, namespace(seed))
    spans: list[Span] = []
    for index in range(customers):
        rng = Random(f"{seed}:customer:{index}")  # noqa: S311 - a story, not a secret
        # More sign up as the business grows, and most in the afternoon.
        day = int((days + 1) * rng.random() ** 0.9)
        signup = start + day * DAY + int(rng.triangular(0, DAY - 1, 0.65 * DAY))
        Life(books, index, rng, spans).live(signup)
    _single_rows(books)
    made.transactions.sort(key=attrgetter("at", "id"))
    _stripe_fees(books)
    made.transactions.sort(key=attrgetter("at", "id"))
    _pay_out(books)
    for facts in (
        made.customers,
        made.subscriptions,
        made.invoices,
        made.credit_notes,
        made.charges,
        made.refunds,
        made.disputes,
        made.transactions,
        made.events,
    ):
        facts.sort(key=attrgetter("at", "id"))
    return made, spans


def _single_rows(books: Books) -> None:
    """The owner's first money, and a correction by Stripe in mid-history."""
    made = books.history
    at = made.start + 9 * 3600
    if at <= made.now:
        id = f"tu_{books.namespace}000001"
        row = books.row("topup", at, "topup", "usd", 50_000, 0, id, "Top-up", ready=at)
        made.topups.append(Topup(id, at, "usd", 50_000, row))
    at = made.start + 200 * DAY + 40_000
    if at <= made.now:
        books.row("adjust", at, "other_adjustment", "usd", -1234, 0, None, "Correction of an earlier fee", ready=at)


def _stripe_fees(books: Books) -> None:
    """Billing's 0.7 % of the week's payments, a row per currency every Monday."""
    made = books.history
    volume: dict[tuple[int, str], int] = {}
    for row in made.transactions:
        if row.category == "charge":
            key = (row.at - row.at % WEEK + WEEK + 4 * DAY, row.currency)
            volume[key] = volume.get(key, 0) + row.amount
    for (monday, currency), amount in sorted(volume.items()):
        at, fee = monday + 7200, (amount * 7 + 500) // 1000
        if at <= made.now and fee:
            tail = f"fee{currency}{at // DAY:06d}"
            books.row(tail, at, "fee", currency, -fee, 0, None, "Billing - Usage Fee", ready=at)


def _pay_out(books: Books) -> None:
    """Whatever is available goes to the bank: dollars every working day at 00:20, euros every Monday."""
    made = books.history
    rows: list[Transaction] = []
    for currency in ("usd", "eur"):
        open_rows = [row for row in made.transactions if row.currency == currency]
        ready = sorted(open_rows, key=lambda row: (max(row.available_on, row.at), row.id))
        place, waiting, held = 0, 0, list[str]()
        for midnight in range(made.start, made.now + 1, DAY):
            at, weekday = midnight + 1200, (midnight // DAY + 3) % 7
            if at > made.now or weekday > 4 or (currency == "eur" and weekday):
                continue
            while place < len(ready) and max(ready[place].available_on, ready[place].at) <= at:
                waiting += ready[place].net
                held.append(ready[place].id)
                place += 1
            if waiting < 100:
                continue
            tail = f"{currency}{at // DAY:06d}"
            id = f"po_{books.namespace}{tail}"
            row = Transaction(
                f"txn_{books.namespace}po{tail}", at, "payout", currency, -waiting, 0, id, at, "STRIPE PAYOUT"
            )
            rows.append(row)
            payout = Payout(id, at, currency, waiting, row.id, at + 2 * DAY - 1200)
            made.payouts.append(payout)
            books.event(at, "payout.created", payout, f"po{tail}")
            made.paid_out_by.update(dict.fromkeys([*held, row.id], id))
            waiting, held = 0, []
    made.transactions += rows
    made.payouts.sort(key=attrgetter("at", "id"))


def sums(transactions: Iterable[Transaction]) -> dict[str, int]:
    """Σ net by currency: what the balance must be."""
    total: dict[str, int] = {}
    for row in transactions:
        total[row.currency] = total.get(row.currency, 0) + row.net
    return total
