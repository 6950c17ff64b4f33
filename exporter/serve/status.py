"""The status page: each source with its age and last error, the current figures, links. No scripts, one style sheet.

It answers what an operator asks first: is the money current, and if not, which source holds it up?
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from html import escape
from importlib import resources
from string import Template
from typing import Final, Literal

from exporter.clock import iso
from exporter.money import exponent

SHELL: Final = Template(resources.files("exporter.serve").joinpath("status.html").read_text("utf-8"))

_STYLE = re.search(r"<style>(.*?)</style>", SHELL.template, re.DOTALL)
assert _STYLE is not None
CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; style-src 'sha256-"
    + base64.b64encode(hashlib.sha256(_STYLE[1].encode()).digest()).decode()
    + "'"
)
"""Allows the page's own style sheet and nothing else."""

WINDOW_NAMES: Final = {
    "today": "Today",
    "yesterday": "Yesterday",
    "24h": "Last 24 hours",
    "7d": "Last 7 days",
    "30d": "Last 30 days",
    "mtd": "This month",
    "prev_month": "Last month",
}
_AT_MOST: Final = (
    '<p class="hint">≤ at most: something in the window has no price, no exchange rate, is not read yet, or lies before'
    " the usage log.</p>"
)
BASIS_NAMES: Final = {"cash": "Cash", "mrr": "MRR", "recognized": "Recognised"}

State = Literal["ok", "reading history", "failing", "stale", "waiting"]
_STATE_CLASS: Final[dict[State, str]] = {
    "ok": "good",
    "reading history": "warn",
    "failing": "warn",
    "stale": "bad",
    "waiting": "warn",
}


@dataclass(frozen=True)
class SourceRow:
    """One source. Times are epoch seconds, ``interval`` seconds, ``progress`` 0…1 while history is being read.

    ``state``: ``ok``; ``waiting`` for its first read; ``reading history``; ``failing`` (the last read failed, the data
    are still fresh enough); ``stale`` (its figures are withheld). ``error``: why the last read failed, or what
    a good read had to leave out.
    """

    name: str
    state: State
    interval: float
    data_at: float | None = None
    progress: float | None = None
    error: str | None = None


@dataclass(frozen=True)
class FigureRow:
    """One basis and window, in the reporting currency's major units; ``None`` where a figure is absent.

    ``ratio``: gross profit / revenue. ``complete``: false while margin is at most what is shown.
    """

    basis: str
    window: str
    revenue: Decimal | None
    cost: Decimal | None
    gross_profit: Decimal | None
    ratio: Decimal | None
    complete: bool


@dataclass(frozen=True)
class UnpricedRow:
    """Usage rows of a provider without a price, and why."""

    provider: str
    reason: str
    window: str
    requests: int


@dataclass(frozen=True)
class StatusPage:
    """What the page shows. ``at``: time of the figures, ``now``: of the request. ``notes``: one warning a line."""

    version: str
    now: float
    at: float | None
    currency: str
    sources: Sequence[SourceRow] = ()
    figures: Sequence[FigureRow] = ()
    mrr: Decimal | None = None
    subscribers: int | None = None
    unpriced: Sequence[UnpricedRow] = ()
    notes: Sequence[str] = ()
    writer: bool = True
    docs_url: str | None = None


def render(page: StatusPage) -> str:
    """The page as HTML."""
    links = [("/metrics", "Metrics"), ("/-/healthy", "Health"), ("/-/ready", "Readiness")]
    if page.docs_url:
        links.append((page.docs_url, "Documentation"))
    navigation = "".join(f'<a href="{escape(target)}">{escape(name)}</a>' for target, name in links)
    when = f"figures of {_ago(page.at, page.now)}" if page.at is not None else "no figures yet"
    notes = "".join(f"<li>{escape(note)}</li>" for note in page.notes)
    role = "" if page.writer else "<span>Replica: another process writes, this one serves.</span>"
    return SHELL.substitute(
        title="Margin exporter",
        body=f"""<header><h1>Margin exporter</h1><p>{when}</p><nav aria-label="Pages">{navigation}</nav></header>
<main>
{_headline(page)}
{f'<ul class="notes">{notes}</ul>' if notes else ""}
{_figures(page)}
{_sources(page)}
{_unpriced(page)}
</main>
<footer><span>margin-exporter {escape(page.version)}</span>{role}</footer>""",
    )


def render_message(title: str, text: str) -> str:
    """A page that says one thing, such as that there is no such page."""
    return SHELL.substitute(
        title=f"{escape(title)} · Margin exporter",
        body=f'<header><h1>{escape(title)}</h1></header><main><p>{escape(text)} <a href="/">Status</a></p></main>',
    )


def _headline(page: StatusPage) -> str:
    """Four figures to see from across the room."""
    month = next((f for f in page.figures if (f.basis, f.window) == ("cash", "30d")), None)
    currency = escape(page.currency.upper())
    people = "a month" if page.subscribers is None else f"of {page.subscribers:,} subscribers"
    revenue, cost = (month.revenue, month.cost) if month else (None, None)
    cells = [
        ("Monthly recurring revenue", _money(page.mrr, page.currency), f"{currency} {people}"),
        ("Revenue, last 30 days", _money(revenue, page.currency), f"{currency}, cash"),
        ("Cost, last 30 days", _money(cost, page.currency), f"{currency}, usage and fees"),
        ("Gross margin, last 30 days", _percent(month), _profit(month, page.currency)),
    ]
    shown = "".join(
        f'<div class="card"><dt>{name}</dt><dd class="number">{value}</dd><dd>{detail}</dd></div>'
        for name, value, detail in cells
    )
    return f'<dl class="head">{shown}</dl>'


def _figures(page: StatusPage) -> str:
    if not page.figures:
        return '<h2>Figures</h2><p class="soft">None yet: both sides must have been read whole once.</p>'
    rows = "".join(
        f'<tr><th scope="row">{escape(WINDOW_NAMES.get(row.window, row.window))}</th>'
        f'<td class="left pair">{escape(BASIS_NAMES.get(row.basis, row.basis))}</td>'
        + "".join(
            f'<td class="money" data-label="{label}">{_money(value, page.currency)}</td>'
            for label, value in (("Revenue", row.revenue), ("Cost", row.cost), ("Gross profit", row.gross_profit))
        )
        + f'<td class="ratio{_loss(row.ratio)}" data-label="Margin">{_percent(row)}{_bar(row.ratio)}</td></tr>'
        for row in page.figures
    )
    heads = "".join(f'<th scope="col">{name}</th>' for name in ("Revenue", "Cost", "Gross profit", "Margin"))
    hint = "" if all(row.complete for row in page.figures) else _AT_MOST
    return (
        f"<h2>Figures<small>{escape(page.currency.upper())}, revenue before fees; fees are a cost</small></h2>"
        f'<div class="table card"><table class="stack"><thead><tr><th scope="col">Window</th>'
        f'<th scope="col" class="left">Basis</th>{heads}</tr></thead><tbody>{rows}</tbody></table></div>{hint}'
    )


def _sources(page: StatusPage) -> str:
    if not page.sources:
        return '<h2>Sources</h2><p class="soft">None is configured.</p>'
    return f'<h2>Sources</h2><ul class="sources">{"".join(_source(s, page.now) for s in page.sources)}</ul>'


def _source(source: SourceRow, now: float) -> str:
    progress = error = ""
    if source.progress is not None and source.progress < 1:
        share = f"{source.progress:.0%}"
        progress = (
            f'<progress max="1" value="{source.progress:.4f}" aria-label="History read">{share}</progress>'
            f'<p class="soft">{share} of history read</p>'
        )
    if source.error and source.state in ("ok", "reading history"):
        error = f"<dt>Note</dt><dd>{escape(source.error)}</dd>"
    elif source.error:
        error = f'<dt>Last error</dt><dd class="error">{escape(source.error)}</dd>'
    return (
        f'<li class="card"><header><h3>{escape(source.name).replace("/", "/<wbr>")}</h3>'
        f'<span class="state {_STATE_CLASS[source.state]}">{escape(source.state)}</span></header>'
        f"<dl><dt>Data of</dt><dd>{_ago(source.data_at, now)}</dd>"
        f"<dt>Read every</dt><dd>{_span(source.interval)}</dd>{error}</dl>{progress}</li>"
    )


def _unpriced(page: StatusPage) -> str:
    if not page.unpriced:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{escape(row.provider)}</th>'
        f'<td class="left pair">{escape(row.reason.replace("_", " "))}</td>'
        f'<td class="left" data-label="Window">{escape(WINDOW_NAMES.get(row.window, row.window))}</td>'
        f'<td class="number" data-label="Requests">{row.requests:,}</td></tr>'
        for row in page.unpriced
    )
    return (
        "<h2>Usage without a price<small>its cost is in no figure: margin is at most what is shown</small></h2>"
        '<div class="table card"><table class="stack"><thead><tr><th scope="col">Provider</th>'
        '<th scope="col" class="left">Reason</th><th scope="col" class="left">Window</th>'
        f'<th scope="col">Requests</th></tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _profit(row: FigureRow | None, currency: str) -> str:
    if row is None or row.gross_profit is None:
        return "gross profit unknown"
    return f"gross profit {_money(row.gross_profit, currency)}"


def _money(amount: Decimal | None, currency: str) -> str:
    """``12,345.60``, rounded to the currency's minor unit."""
    if amount is None:
        return '<span class="none">–</span>'
    places = exponent(currency)
    rounded = amount.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)
    shown = f"{abs(rounded):,.{places}f}"
    return f'<span class="loss">−{shown}</span>' if rounded < 0 else shown


def _percent(row: FigureRow | None) -> str:
    """The margin ratio; with ``≤`` while figures are incomplete."""
    if row is None or row.ratio is None:
        return '<span class="none">–</span>'
    rounded = (row.ratio * 100).quantize(Decimal("0.1"), ROUND_HALF_UP)
    shown = f'<span class="loss">−{-rounded} %</span>' if rounded < 0 else f"{abs(rounded)} %"
    return shown if row.complete else f'<span title="at most: something has no price yet">≤ {shown}</span>'


def _bar(ratio: Decimal | None) -> str:
    if ratio is None:
        return ""
    width = min(100, max(0, round(abs(ratio) * 100)))
    return (
        '<svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect width="{width}" height="10"></rect></svg>'
    )


def _loss(ratio: Decimal | None) -> str:
    return " loss" if ratio is not None and ratio < 0 else ""


def _ago(then: float | None, now: float) -> str:
    if then is None:
        return '<span class="none">never</span>'
    return f'<time datetime="{iso(then)}" title="{iso(then)}">{_span(max(0.0, now - then))} ago</time>'


def _span(seconds: float) -> str:
    """``42 s``, ``15 min``, ``3 h``, ``2 d``: two digits are enough to judge an age."""
    for limit, unit, name in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / 86_400:.0f} d"
