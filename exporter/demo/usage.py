"""What customers made: the rows of the usage log, in the order of time. Pure and seeded like the scenario."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from itertools import accumulate
from random import Random

from exporter.clock import DAY
from exporter.demo.facts import Settlement, Usage
from exporter.demo.offers import MEAN_COST, NOVELTY, NOVELTY_DAYS, NOVELTY_SHARE, OFFERS, WORDS, Offer
from exporter.demo.purse import Span
from exporter.demo.scenario import history_and_spans, namespace

COST_SHARE = 0.53
"""Of what a plan brings in, spent on providers by the average customer."""
FAILS, MODERATED, CANCELED = 0.045, 0.015, 0.005
RETAKES = 40
"""Every so many-th job of a customer that succeeds is made once more."""
CENTS = 10_000_000

_WEIGHTS = list(accumulate(offer.weight for offer in OFFERS))


@lru_cache(maxsize=16)
def price_change_at(now: int) -> int:
    """When Kling units and FLUX.2 flex became cheaper: the first of the month that lies five months back."""
    today = datetime.fromtimestamp(now, UTC)
    year, month = divmod(today.year * 12 + today.month - 1 - 5, 12)
    return int(datetime(year, month + 1, 1, tzinfo=UTC).timestamp())


def usage_rows(seed: int, now: int, spans: list[Span] | None = None) -> list[Usage]:
    """All rows until ``now``, oldest first. ``spans`` spares making the history again."""
    if spans is None:
        spans = history_and_spans(seed, now)[1]
    rows: list[Usage] = []
    maker = RowMaker(seed, now)
    by_customer: dict[int, list[Span]] = {}
    for span in spans:
        by_customer.setdefault(span.index, []).append(span)
    for index, lives in by_customer.items():
        rng = Random(f"{seed}:usage:{index}")  # noqa: S311 - a story, not a secret
        taste = min(6.0, math.exp(rng.gauss(-0.18, 0.6)))  # mean 1: most use little, a few cost more than they pay
        for span in lives:
            if span.end > span.start:
                rows += maker.of_span(rng, span, taste)
    rows.sort(key=lambda row: (row.at, row.id))
    return rows


class RowMaker:
    """Makes rows; ``now`` decides which calls are still open. Also used for the rows that keep coming."""

    def __init__(self, seed: int, now: int, *, first_serial: int = 0) -> None:
        self.namespace = namespace(seed)
        self.now = now
        self.change = price_change_at(now)
        self.novelty_from = now - now % DAY - NOVELTY_DAYS * DAY
        self._first_serial = first_serial
        self._serial: dict[int, int] = {}

    def of_span(self, rng: Random, span: Span, taste: float) -> Iterator[Usage]:
        """The calls of one customer on one plan."""
        per_second = span.monthly * CENTS * COST_SHARE * taste / MEAN_COST / (30.4 * DAY)
        if per_second <= 0:
            return
        at = float(span.start)
        while True:
            at += rng.expovariate(per_second)
            if at >= span.end or at > self.now:
                return
            if at % DAY < 6 * 3600 and rng.random() < 0.7:
                at += 8 * 3600  # people sleep
                if at >= span.end or at > self.now:
                    return
            yield from self.job(rng, span.index, span.customer, span.product, int(at))

    def job(self, rng: Random, index: int, customer: str, product: str, at: int) -> Iterator[Usage]:
        """One thing that a customer wants made: a call, and further attempts when it fails.

        Every draw is made before anything is cut off at now, so that now moves no later draw.
        """
        novel = at >= self.novelty_from and rng.random() < NOVELTY_SHARE
        offer = NOVELTY if novel else rng.choices(OFFERS, cum_weights=_WEIGHTS)[0]
        serial = self._serial[index] = self._serial.get(index, self._first_serial) + 1
        job = f"vid{self.namespace}{index:05x}{serial:05x}"
        user = f"usr{self.namespace}{index:05x}{int(rng.random() ** 2 * 3)}"
        known = product if rng.random() < 0.7 else None
        for attempt in range(3):
            row = self._call(rng, offer, f"cl{job[3:]}{attempt}", job, user, customer, known, at)
            if at <= self.now:
                yield row if row.updated <= self.now else _open(row)
            if row.outcome == "succeeded" and serial % RETAKES == 0:
                yield from self._retake(offer, job, user, customer, known, row)
            if row.outcome != "failed" or rng.random() > 0.7:
                return
            at = row.updated + int(20 + rng.random() * 200)

    def _retake(
        self, offer: Offer, job: str, user: str, customer: str, product: str | None, row: Usage
    ) -> Iterator[Usage]:
        """The customer wants another one in place of ``row``. Of a stream of its own: it moves no other draw."""
        rng = Random(f"{job}:retake")  # noqa: S311 - a story, not a secret
        at = row.updated + int(60 + rng.random() * 600)
        again = self._call(rng, offer, f"cl{job[3:]}r", job, user, customer, product, at)
        if at <= self.now:
            yield again if again.updated <= self.now else _open(again)

    def _call(
        self, rng: Random, offer: Offer, id: str, job: str, user: str, customer: str, product: str | None, at: int
    ) -> Usage:
        made = offer.make(rng, at >= self.change)
        words = WORDS[offer.provider]
        luck, guess = rng.random(), rng.random()
        cost = made.cost
        if luck > FAILS + MODERATED + CANCELED:
            outcome, status = "succeeded", words.succeeded[int(guess * len(words.succeeded))]
        elif luck > MODERATED + CANCELED:
            outcome, status, cost = "failed", words.failed, 0
        elif luck > CANCELED:
            outcome, status = "moderated", words.moderated
            cost = None if cost is None else cost * words.moderated_permille // 1000
        else:
            outcome, status, cost = "canceled", "canceled", 0
        logged = None
        if made.cost is not None and guess < 0.6:  # an application's own table of prices: old, rounded, incomplete
            logged = f"{made.cost * (9 if guess < 0.3 else 12) // (CENTS * 10) / 100:.2f}"
        name = words.names[int(luck * 997) % len(words.names)]
        # fmt: off
        return Usage(
            id, at, at + 1 + int(offer.seconds_to_make * (0.5 + guess)), name, offer.model, offer.operation, status,
            customer, user, job, product, logged, made.seconds, made.images, made.megapixels, made.characters,
            made.credits, made.units, made.resolution, made.audio, cost, outcome, f"{offer.provider}/{offer.entry}",
        )
        # fmt: on


def _open(row: Usage) -> Usage:
    """The same call while the provider still works on it."""
    settlement = Settlement(row.updated, row.status, row.outcome, row.cost)
    pending = WORDS[row.key.partition("/")[0]].pending
    return row._replace(updated=row.at, status=pending, outcome="pending", cost=0, settles=settlement)
