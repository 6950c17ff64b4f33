"""What may be wrong with the demo's margin.yaml and pricing.yaml: each function changes the text of one of them."""

from __future__ import annotations

import time
from dataclasses import dataclass

from exporter.clock import DAY


@dataclass(slots=True)
class Papers:
    """The text of both files, for a history that ends at ``now``."""

    margin: str
    prices: str
    now: int

    def day(self, back: int) -> str:
        """The day so many days ago, as YAML has it."""
        return time.strftime("%Y-%m-%d", time.gmtime(self.now - back * DAY))

    def correct_margin(self, old: str, new: str) -> None:
        """Raises ValueError when ``old`` is not there: the fault would not be one."""
        self.margin = _swapped("margin.yaml", self.margin, old, new)

    def correct_prices(self, old: str, new: str) -> None:
        """Raises ValueError when ``old`` is not there."""
        self.prices = _swapped("pricing.yaml", self.prices, old, new)


def _swapped(name: str, text: str, old: str, new: str) -> str:
    if old not in text:
        raise ValueError(f"the demo's {name} has no {old!r} any more")
    return text.replace(old, new)


def unpriced_model(papers: Papers) -> None:
    """The price of Kling 3.0 fits no model any more."""
    papers.correct_prices("{any: [{prefix: kling-3.0}, {prefix: kling-v3}]}", "{equals: kling-3.0-beta}")


def margin_low(papers: Papers) -> None:
    """A unit of Kling's costs six times as much, since months."""
    papers.correct_prices('price: "0.126"', 'price: "0.756"')


def margin_drop(papers: Papers) -> None:
    """A unit of Kling's costs four times as much since six days."""
    line = 'price: "0.126", currency: usd, source: "demo: pack of 60,000 units"}\n'
    more = f'        - {{from: {papers.day(6)}, price: "0.504", currency: usd, source: "demo: a rise"}}\n'
    papers.correct_prices(line, line + more)


def price_old(papers: Papers) -> None:
    """The price of Luma's pictures was last checked 200 days ago."""
    papers.correct_prices(
        'charges: [{name: image, quantity: images, rates: [{price: "0.0404"',
        f'checked: {papers.day(200)}, charges: [{{name: image, quantity: images, rates: [{{price: "0.0404"',
    )


def pack_empty(papers: Papers) -> None:
    """Six days ago ten units of Kling's were bought in advance."""
    line = "    aliases: [kling ai, klingai]\n"
    bought = f"id: trial, purchased: {papers.day(6)}, unit: kling_unit, quantity: 10"
    pack = f'      - {{{bought}, paid: "1.26", currency: usd, source: "demo"}}\n'
    papers.correct_prices(line, f"{line}    commitments:\n{pack}")


def packs_on_use(papers: Papers) -> None:
    """A payment without an invoice is for a hundred calls."""
    rule = "recognition:\n  charges: {on_use: {unit: requests, quantity: 100}}\n"
    papers.correct_margin("budget:\n", f"{rule}\nbudget:\n")


def full_coverage(papers: Papers) -> None:
    """Margin is shown only while all usage has a price, and one new model has none."""
    papers.correct_margin("budget:\n", 'strict: {coverage_min: "1"}\n\nbudget:\n')


def fx_old(papers: Papers) -> None:
    """Nobody has written down this month's rates."""
    mark = "this month's"
    for line in [line for line in papers.margin.splitlines(keepends=True) if mark in line] or [mark]:
        papers.correct_margin(line, "")


def budget_burn(papers: Papers) -> None:
    """The budget of a month is 100 dollars."""
    papers.correct_margin('amount: "40000"', 'amount: "100"')


def relist_hourly(papers: Papers) -> None:
    """Subscriptions are listed anew every hour."""
    _account(papers, "relist_interval: 1h")


def small_pages(papers: Papers) -> None:
    """History is read in pages of three."""
    _account(papers, "page_size: 3")


def _account(papers: Papers, line: str) -> None:
    papers.correct_margin("    poll_interval: 5s ", f"    {line}\n    poll_interval: 5s ")
