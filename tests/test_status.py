"""The status page: what it shows, that it escapes, and that it needs nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import re
from decimal import Decimal
from html.parser import HTMLParser

import pytest

from exporter.serve import status
from exporter.serve.status import FigureRow, SourceRow, State, StatusPage, UnpricedRow, render, render_message

NOW = 1_795_362_000.0
EVIL = "<script>alert('\"&')</script>"


class Reader(HTMLParser):
    """Collects text, checks that elements nest."""

    VOID = frozenset({"meta", "link", "wbr", "br"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)
        assert self.open == []
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)


def row(revenue: str | None, cost: str | None, *, complete: bool = True, basis: str = "cash") -> FigureRow:
    r, c = (None if v is None else Decimal(v) for v in (revenue, cost))
    profit = None if r is None or c is None else r - c
    ratio = profit / r if profit is not None and r is not None and r > 0 else None
    return FigureRow(basis, "30d", r, c, profit, ratio, complete)


def page(**values: object) -> Reader:
    base: dict[str, object] = {"version": "1.2.3", "now": NOW, "at": NOW - 7, "currency": "usd"}
    return Reader(render(StatusPage(**{**base, **values})))  # type: ignore[arg-type]


def test_figures() -> None:
    shown = page(
        figures=[row("1234567.895", "234567.89"), row("236700.1", "104230.94", complete=False, basis="mrr")],
        mrr=Decimal("240120.55"),
        subscribers=3217,
    ).text
    assert "Last 30 days Cash 1,234,567.90 234,567.89 1,000,000.01 81.0 %" in shown
    assert "Last 30 days MRR 236,700.10 104,230.94 132,469.16 ≤ 56.0 %" in shown
    assert "≤ at most" in shown
    assert "Monthly recurring revenue 240,120.55 USD of 3,217 subscribers" in shown
    assert "figures of 7 s ago" in shown


def test_losses_absent_figures_and_currencies_without_minor_units() -> None:
    assert "100.00 160.00 −60.00 −60.0 %" in page(figures=[row("100", "160")]).text
    assert "Cash 0.00 5.00 −5.00 –" in page(figures=[row("0", "5")]).text
    assert "Cash – 5.00 – –" in page(figures=[row(None, "5")]).text
    assert "Cash 1,000 400 600 60.0 %" in page(figures=[row("1000", "399.6")], currency="jpy").text
    assert "Cash 0.00 0.00 0.00 –" in page(figures=[row("-0.001", "0")]).text
    assert "Cash 10,000.00 10,001.00 −1.00 0.0 %" in page(figures=[row("10000", "10001")]).text
    assert "≤ at most" not in page(figures=[row("100", "160")]).text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (SourceRow("a", "ok", 900, NOW - 312), "a ok Data of 5 min ago Read every 15 min"),
        (SourceRow("a", "waiting", 60), "a waiting Data of never Read every 60 s"),
        (SourceRow("a", "reading history", 60, None, 0.614), "61% of history read"),
        (
            SourceRow("a", "stale", 900, NOW - 5400, None, "auth: no"),
            "a stale Data of 90 min ago Read every 15 min Last error auth: no",
        ),
        (
            SourceRow("a", "failing", 900, NOW - 3, 1.0, "timeout"),
            "Data of 3 s ago Read every 15 min Last error timeout",
        ),
        (
            SourceRow("a", "ok", 900, NOW + 5, None, "not expanded"),
            "Data of 0 s ago Read every 15 min Note not expanded",
        ),
        (SourceRow("a", "ok", 7200, NOW - 3 * 86_400), "Data of 3 d ago Read every 2 h"),
    ],
)
def test_sources(source: SourceRow, text: str) -> None:
    assert text in page(sources=[source]).text


def test_what_is_missing_is_said() -> None:
    shown = page(at=None, writer=False, notes=["No rate for eur."], docs_url="https://example.org/docs").text
    assert "no figures yet" in shown
    assert "both sides must have been read whole once" in shown
    assert "None is configured" in shown
    assert "No rate for eur." in shown
    assert "another process writes" in shown
    unpriced = page(unpriced=[UnpricedRow("piapi", "no_match", "30d", 1284)]).text
    assert "piapi no match Last 30 days 1,284" in unpriced


def test_everything_is_escaped() -> None:
    states: list[State] = ["ok", "stale"]
    html = render(
        StatusPage(
            version=EVIL,
            now=NOW,
            at=NOW,
            currency=EVIL,
            sources=[SourceRow(EVIL, state, 1, NOW, None, EVIL) for state in states],
            figures=[FigureRow(EVIL, EVIL, Decimal(1), Decimal(1), Decimal(0), Decimal(0), True)],
            unpriced=[UnpricedRow(EVIL, EVIL, EVIL, 1)],
            notes=[EVIL],
            docs_url=f"https://example.org/{EVIL}",
        )
    )
    assert "<script" not in html
    assert "alert('" not in html
    Reader(html)
    assert "<script" not in render_message(EVIL, EVIL)


def test_needs_nothing_from_elsewhere_and_no_script() -> None:
    read = page(sources=[SourceRow("a", "reading history", 60, None, 0.5)], figures=[row("2", "1")])
    assert not {"script", "iframe", "img", "object", "form"} & {tag for tag, _ in read.tags}
    for _, attributes in read.tags:
        assert "style" not in attributes, "the content security policy forbids inline styles"
        assert not any(name.startswith("on") for name in attributes)
        assert "src" not in attributes
    assert [a["href"] for tag, a in read.tags if tag == "link"] == ["data:,"]
    assert "url(" not in status.SHELL.template
    assert "@import" not in status.SHELL.template


def test_is_accessible() -> None:
    read = page(sources=[SourceRow("a", "reading history", 60, None, 0.5)], figures=[row("2", "1")])
    tags = [tag for tag, _ in read.tags]
    assert tags.count("h1") == tags.count("main") == 1
    assert dict(read.tags)["html"] == {"lang": "en"}
    assert all(a.get("scope") for tag, a in read.tags if tag == "th")
    assert all(a.get("aria-label") for tag, a in read.tags if tag in ("progress", "nav"))
    assert "prefers-color-scheme: dark" in status.SHELL.template


def test_the_policy_names_the_style_sheet_that_is_served() -> None:
    style = re.findall(r"<style>(.*?)</style>", render_message("a", "b"), re.DOTALL)
    assert len(style) == 1
    digest = base64.b64encode(hashlib.sha256(style[0].encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in status.CONTENT_SECURITY_POLICY
