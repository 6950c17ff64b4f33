"""The health of recurring revenue: pure functions of running sums, the log of movements and the dates of trials.

Definitions: https://docs.stripe.com/billing/subscriptions/analytics; what Stripe does not define is in
``docs/DECISIONS.md``. Nothing here is 0 or infinite for want of a denominator: such a figure is missing. Money is in
the reporting currency at today's rates, on both sides of a ratio, so that a rate moves none of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from exporter.clock import day_of
from exporter.config import Settings
from exporter.margin.retention import NOTHING, Moved, Retained, retained
from exporter.margin.runrate import Mrr
from exporter.money import major
from exporter.movement import MOVEMENTS, SUBSCRIBER_MOVEMENTS
from exporter.store.flows import Flow, SubscriberFlow
from exporter.store.trials import TrialCounts

RATED = ("30d", "365d")
"""The windows that have ratios: the past 30 days, and the 365 business days before today."""


@dataclass(frozen=True)
class Span:
    """What one account did in a window. ``opening`` and ``closing`` are the running sums at its two ends, by currency
    and by product ("" for all); None where the window begins before the account's baseline. ``moved`` is None in
    windows that have no retention, ``trials`` in those without trials."""

    account: str
    opening: Mapping[str, Flow] | None
    closing: Mapping[str, Flow]
    people_opening: Mapping[str, SubscriberFlow] | None
    people_closing: Mapping[str, SubscriberFlow]
    moved: Moved | None = None
    trials: TrialCounts | None = None


@dataclass(frozen=True)
class WindowHealth:
    """Figures of one window. Amounts in major units of the reporting currency per month.

    - ``movements``: MRR by movement; ``net_new``: new + reactivation + expansion − contraction − churn;
      ``churned``: churn + contraction, Stripe's churned revenue.
    - ``mrr_churn``: churned / MRR at the window's beginning. ``subscriber_churn``: churned subscribers / (subscribers
      at its beginning + new ones). ``quick_ratio``: (new + expansion) / (contraction + churn).
    - ``net_retention``, ``gross_retention``: see ``retention``.
    - ``trial_conversion``: trials that ended in the window and went on / trials that ended in it.
    - ``product_churn``: as subscriber churn, by (account, product); a change of plan leaves the one product.
    """

    movements: Mapping[str, Fraction] = field(default_factory=dict)
    net_new: Fraction | None = None
    churned: Fraction | None = None
    mrr_churn: Fraction | None = None
    subscriber_churn: Fraction | None = None
    quick_ratio: Fraction | None = None
    net_retention: Fraction | None = None
    gross_retention: Fraction | None = None
    trials: Mapping[str, TrialCounts] = field(default_factory=dict)
    trial_conversion: Fraction | None = None
    product_churn: Mapping[tuple[str, str], Fraction] = field(default_factory=dict)


def window_health(spans: Sequence[Span], weights: Mapping[str, Fraction | None], *, rates: bool) -> WindowHealth:
    """Figures of a window over all accounts. ``weights``: reporting units for one minor unit of each currency, None
    without a rate today; ``rates``: whether ratios are wanted, too."""
    trials = {span.account: span.trials for span in spans if span.trials is not None}
    conversion = _ratio(sum(t.converted for t in trials.values()), sum(t.ended for t in trials.values()))
    if any(span.opening is None for span in spans):
        return WindowHealth(trials=trials, trial_conversion=conversion)
    known = {currency: weight for currency, weight in weights.items() if weight is not None}
    held = {currency for span in spans for currency in span.closing if _matters(span, currency)}
    subscriber_churn = _subscriber_churn(spans, "") if rates else None
    product_churn = _product_churn(spans) if rates else {}
    if not held <= known.keys():
        return WindowHealth(
            subscriber_churn=subscriber_churn, trials=trials, trial_conversion=conversion, product_churn=product_churn
        )
    moved: dict[str, Fraction] = {
        name: sum((_flowed(span, name, known) for span in spans), Fraction(0)) for name in MOVEMENTS
    }
    churned = moved["churn"] + moved["contraction"]
    gained = moved["new"] + moved["expansion"]
    opening = sum((_opening(span, known) for span in spans), Fraction(0))
    opening += moved["restatement_up"] - moved["restatement_down"]  # as the same rules would have counted it
    kept = _retained(spans, known)
    return WindowHealth(
        movements=moved,
        net_new=gained + moved["reactivation"] - churned,
        churned=churned,
        mrr_churn=_ratio(churned, opening) if rates else None,
        subscriber_churn=subscriber_churn,
        quick_ratio=_ratio(gained, churned) if rates else None,
        net_retention=None if kept is None else _ratio(kept.net, kept.start),
        gross_retention=None if kept is None else _ratio(kept.gross, kept.start),
        trials=trials,
        trial_conversion=conversion,
        product_churn=product_churn,
    )


@dataclass(frozen=True)
class Health:
    """Everything at one moment. ``arpu`` and ``ltv`` in major units of the reporting currency; ``product_subscribers``
    and ``product_arpu`` by (account, product)."""

    windows: Mapping[str, WindowHealth]
    arpu: Fraction | None
    ltv: Fraction | None
    product_subscribers: Mapping[tuple[str, str], int]
    product_arpu: Mapping[tuple[str, str], Fraction]


def health_of(
    spans: Mapping[str, Sequence[Span]],
    people: Sequence[SubscriberFlow],
    mrr: Mrr,
    settings: Settings,
    at: int,
) -> Health:
    """Health at ``at``, from the spans of each window, the subscribers as they stand, and MRR."""
    weights = _weights(spans, mrr, settings, at)
    windows = {name: window_health(of, weights, rates=name in RATED) for name, of in spans.items()}
    active = sum(flow.subscribers for flow in people if not flow.product)
    average = None if mrr.reporting is None else arpu(Fraction(mrr.reporting), active)
    by_product = {(flow.account, flow.product): flow.subscribers for flow in people if flow.product}
    worth: dict[tuple[str, str], Fraction] = {}
    unknown: set[tuple[str, str]] = set()
    for (account, product, currency), amount in mrr.by_product.items():
        weight = weights[currency]
        if weight is None:
            unknown.add((account, product))
        elif amount:
            worth[account, product] = worth.get((account, product), Fraction(0)) + amount * weight
    averages = {key: arpu(amount, by_product.get(key, 0)) for key, amount in worth.items() if key not in unknown}
    return Health(
        windows=windows,
        arpu=average,
        ltv=ltv(average, windows["30d"].subscriber_churn),
        product_subscribers={key: count for key, count in by_product.items() if count},
        product_arpu={key: value for key, value in averages.items() if value is not None},
    )


def _weights(spans: Mapping[str, Sequence[Span]], mrr: Mrr, settings: Settings, at: int) -> dict[str, Fraction | None]:
    """Reporting units for one minor unit of each currency, at today's rate."""
    today = day_of(at, settings.zone)
    currencies = {currency for of in spans.values() for span in of for currency in span.closing}
    currencies.update(currency for _, _, currency in mrr.by_product)
    rates = {currency: settings.fx.rate(currency, today) for currency in currencies}
    return {
        currency: None if rate is None else Fraction(major(1, currency)) * Fraction(rate)
        for currency, rate in rates.items()
    }


def arpu(mrr: Fraction, subscribers: int) -> Fraction | None:
    """Average revenue per user: MRR / active subscribers, per month."""
    return _ratio(mrr, subscribers)


def ltv(average: Fraction | None, churn: Fraction | None) -> Fraction | None:
    """Lifetime value of a subscriber: ARPU / subscriber churn rate of 30 days; missing while nobody churned."""
    return None if average is None or churn is None else _ratio(average, churn)


def _ratio(part: Fraction | int, whole: Fraction | int) -> Fraction | None:
    return Fraction(part) / whole if whole > 0 else None


def _flowed(span: Span, movement: str, weights: Mapping[str, Fraction]) -> Fraction:
    assert span.opening is not None
    total = Fraction(0)
    for currency, flow in span.closing.items():
        before = span.opening.get(currency)
        change = flow.amounts[movement] - (before.amounts[movement] if before else 0)
        if change:
            total += change * weights[currency]
    return total


def _matters(span: Span, currency: str) -> bool:
    """Whether the window has anything of the currency: what there is, or what moved."""
    assert span.opening is not None
    before, after = span.opening.get(currency), span.closing[currency]
    return after.mrr != 0 or before is None or before.amounts != after.amounts


def _opening(span: Span, weights: Mapping[str, Fraction]) -> Fraction:
    assert span.opening is not None
    return sum((flow.mrr * weights[currency] for currency, flow in span.opening.items() if flow.mrr), Fraction(0))


def _retained(spans: Sequence[Span], weights: Mapping[str, Fraction]) -> Retained | None:
    total = NOTHING
    for span in spans:
        if span.moved is None:
            return None
        closing = {currency: flow.mrr for currency, flow in span.closing.items()}
        total = total.plus(retained(span.moved, closing, weights))
    return total


def _subscriber_churn(spans: Sequence[Span], product: str) -> Fraction | None:
    """Churned / (active at the beginning + new): 100 / (1000 + 100) = 9.1 %, as Stripe's example has it."""
    active = churned = new = 0
    for span in spans:
        assert span.people_opening is not None
        before, after = span.people_opening.get(product), span.people_closing[product]
        moved = {name: after.counts[name] - (before.counts[name] if before else 0) for name in SUBSCRIBER_MOVEMENTS}
        active += (before.subscribers if before else 0) + moved["restatement_up"] - moved["restatement_down"]
        churned += moved["churn"]
        new += moved["new"]
    return _ratio(churned, active + new)


def _product_churn(spans: Sequence[Span]) -> dict[tuple[str, str], Fraction]:
    found = {
        (span.account, product): _subscriber_churn([span], product)
        for span in spans
        for product in span.people_closing
        if product
    }
    return {key: ratio for key, ratio in found.items() if ratio is not None}
