"""What to write into pricing.yaml for usage that has no price: YAML to paste, in which only prices are missing. Pure.

A price that is not filled in is a mistake to the parser, never 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

from exporter.cost.pricebook import in_force
from exporter.cost.pricefile import PriceFile
from exporter.cost.pricevalues import plain
from exporter.margin.unpriced import Missing
from exporter.values import RESERVED
from exporter.yamldoc import nearest
from exporter.yamltext import quoted, slug

FILL_IN = "FILL_IN"

NOT_PRICES = {
    "unknown_status": "say what the status means: status_map in margin.yaml",
    "bad_row": "the log holds values that are no usable numbers; no price helps",
    "not_grouped": "its rows are waiting to be read again, or have been purged; no price helps",
}


@dataclass
class _Section:
    """What is said of one provider."""

    comments: list[str] = field(default_factory=list)
    aliases: list[str] = field(default_factory=list)
    billing: list[str] = field(default_factory=list)
    units: list[str] = field(default_factory=list)
    prices: list[str] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    models: set[tuple[str, ...]] = field(default_factory=set)


def stub(file: PriceFile, missing: Sequence[Missing]) -> Iterator[str]:
    """Lines of a whole pricing.yaml that holds what ``file`` lacks; what belongs to a provider of ``file`` says so."""
    sections: dict[str, _Section] = {}
    notes: list[str] = []
    known = {plain(alias): name for name, one in file.providers.items() for alias in (name, *one.aliases)}
    for one in missing:
        provider, model, reason = one.named
        said = f"{_requests(one)} of {quoted(provider)} {quoted(model)}: {reason}"
        if reason in NOT_PRICES or not plain(provider):
            notes.append(f"{said}; {NOT_PRICES.get(reason, 'the rows name no provider: map columns.provider')}")
            continue
        name = known.get(plain(provider))
        if name is None:
            name = slug(provider.casefold(), 40, r"[^a-z0-9_-]+", {*file.providers, *sections, *RESERVED})
            known[plain(provider)] = name
            section = sections[name] = _Section()
            near = nearest(provider, file.providers)
            if near:
                section.comments.append(f"or another name of one that is there{near}: then add it to its aliases")
            if plain(name) != plain(provider):
                section.aliases.append(provider)
        section = sections.setdefault(name, _Section())
        if name in file.providers and not section.comments:
            section.comments.append("is there already: add this to what it has")
            section.ids.update(entry.id for entry in file.providers[name].prices)
        if reason == "unknown_billing":
            section.billing += [status for status in sorted(one.statuses) if status not in section.billing]
        elif reason == "no_unit_price" and name in file.providers:
            units = file.providers[name].units
            section.units += [
                f"      {unit}: [{{from: {_day(one.first)}, price: {FILL_IN}, currency: usd}}]"
                for unit in units
                if in_force(units[unit], one.first) is None
            ]
        elif (way := (plain(model), *one.quantities)) not in section.models:
            section.models.add(way)
            section.prices += _entry(one, section, said)
    yield f"# Replace each {FILL_IN} by what the provider charges; say from which page, and on which day you read it."
    yield from (f"# {note}" for note in notes)
    yield "schema: margin-pricing/1"
    yield "providers:" if sections else "providers: {}"
    for name, section in sections.items():
        yield from _lines(name, section)


def _lines(name: str, section: _Section) -> Iterator[str]:
    empty = not (section.aliases or section.billing or section.units or section.prices)
    yield f"  {name}:{' {}' if empty else ''}{''.join(f'  # {comment}' for comment in section.comments)}"
    if section.aliases:
        yield f"    aliases: [{', '.join(map(quoted, section.aliases))}]"
    if section.billing:
        yield "    bill_on:"
        yield from (f"      {status}: {{fraction: {FILL_IN}, source: {FILL_IN}}}" for status in section.billing)
    if section.units:
        yield "    units:"
        yield from dict.fromkeys(section.units)
    if section.prices:
        yield "    prices:"
        yield from section.prices


def _entry(one: Missing, section: _Section, said: str) -> list[str]:
    id_ = slug(one.named.model, 64, r"[^A-Za-z0-9._-]+", section.ids | RESERVED)
    section.ids.add(id_)
    lines = [f"      # {said}"]
    if one.named.reason == "missing_quantity":
        lines.append(
            "      # a price matches, but needs a quantity or attribute that these rows lack: map it in margin.yaml,"
        )
        lines.append("      # or price them by what they have")
    if one.named.reason == "no_version":
        lines.append("      # a price matches, but none of its versions is in force then: rather give it another one")
    for name, values in sorted(one.attributes.items()):
        shown = ", ".join(quoted(value) for value in sorted(values)[:8])
        lines.append(f"      # attribute {name}: {shown}{', …' if len(values) > 8 else ''}")
    lines += [
        f"      - id: {id_}",
        f"        match: {{model: {{equals: {quoted(one.named.model)}}}}}",
        "        versions:",
        f"          - from: {_day(one.first)}",
        "            source:",
        "            checked:",
        "            charges:" + ("  # keep those that are billed: charges add up" if len(one.quantities) > 1 else ""),
    ]
    for quantity in one.quantities or ("requests",):
        rate = f"rates: [{{price: {FILL_IN}, currency: usd}}]"
        lines.append(f"              - {{name: {quantity}, quantity: {quantity}, {rate}}}")
    return lines


def _requests(one: Missing) -> str:
    return f"{one.requests:,} request{'s' * (one.requests != 1)} from {_day(one.first)} to {_day(one.last - 1)}"


def _day(epoch: int) -> date:
    return datetime.fromtimestamp(epoch, UTC).date()
