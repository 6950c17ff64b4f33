"""Cost of usage with the columns of FOCUS, the FinOps Foundation's format, for tools that read it.

One row for each business day, provider and model: charges of the category Usage, by the number of requests that have a
price. Plans, fixed costs and Stripe's fees are no usage and are not in it; the sum of ``BilledCost`` is the component
``usage``. Column names, order and meanings are those of https://focus.finops.org/focus-specification/v1-2/; what the
exporter does not know is left empty, and columns that may be left out are left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from exporter.clock import iso
from exporter.errors import StateError
from exporter.margin.ledger import Ledger
from exporter.margin.windows import Window, window
from exporter.serve.books import Books, days_of
from exporter.serve.forms import Value

COLUMNS: Final[Sequence[str]] = (
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargeFrequency",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ContractedCost",
    "EffectiveCost",
    "InvoiceIssuerName",
    "ListCost",
    "PricingCurrency",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "ServiceCategory",
    "ServiceName",
    "SkuId",
    "x_EstimatedCost",
)


def focus_rows(books: Books, ledger: Ledger, span: Window) -> Iterator[tuple[Value, ...]]:
    """Rows of the days of ``span``. Raises StateError where the cost of a day is not known."""
    currency = books.settings.reporting_currency.upper()
    zone = books.settings.zone
    for day in days_of(books, span):
        found = books.figures(ledger, day)
        if found.cost is None:
            raise StateError(f"the cost of {day.name} is not known: a usage log was not read")
        if found.without_rate:
            missing = ", ".join(f"{provider} {model}" for provider, model in sorted(found.without_rate))
            rates = " or ".join(sorted(found.missing_fx))
            raise StateError(
                f"the cost of {day.name} is not known: {missing} has no exchange rate; add {rates} under fx in "
                "margin.yaml"
            )
        requests = _requests(books, ledger, day)
        month = window(day.name[:7], books.at, zone)
        for (provider, model), cost in sorted(found.cost.items()):
            listed = cost + found.off_list.get((provider, model), 0)
            yield (
                cost,
                provider,
                provider,
                currency,
                iso(month.end),
                iso(month.start),
                "Usage",
                None,
                f"{provider} {model}",
                "Usage-Based",
                iso(day.end),
                iso(day.start),
                cost,
                cost,
                provider,
                listed,
                currency,
                requests[provider, model],
                "Requests",
                provider,
                provider,
                "AI and Machine Learning",
                provider,
                model,
                found.estimated.get((provider, model)),
            )


def _requests(books: Books, ledger: Ledger, day: Window) -> Counter[tuple[str, str]]:
    """Requests of a day that have a price, by provider and model."""
    pricing, settings = books.pricing, books.settings
    found: Counter[tuple[str, str]] = Counter()
    for part in ledger.usage_in(day.start, day.end, settings.zone):
        priced = pricing.cost(part, ledger.keys, settings.fx, settings.zone, ledger.settled).by_key
        for total in part.totals:
            if total.key_id in priced:
                found[pricing.labels(ledger.keys[total.key_id])] += total.requests
    return found
