"""Expressions of the dashboards. Every selector comes from here, and here the exporter's catalogue is asked: a renamed
metric, an unknown label or a forgotten ``window`` or ``basis`` breaks the build, not the panel.

Figures take ``max without (instance, job)`` first: replicas serve the same ones, and a sum over instances would count
the business twice.
"""

from __future__ import annotations

from exporter.metrics.catalogue import WINDOWS, labels_of

EACH_WINDOW = "~" + "|".join(WINDOWS)
"""All windows, for tables that keep ``window`` as a column and never sum over it."""

NAMED = "!~other|unattributed"
"""Customers and products that have series of their own."""

SCRAPED = (
    "up", "scrape_duration_seconds", "scrape_samples_post_metric_relabeling",
    "process_resident_memory_bytes", "process_cpu_seconds_total", "process_start_time_seconds",
)  # fmt: skip
"""What Prometheus and its Python client say about any target: not in our catalogue, and the same everywhere."""


def _selector(name: str, matchers: dict[str, str]) -> str:
    """``name{job="$job",…}``; a value that starts with ``~``, ``!`` or ``!~`` brings its own operator."""
    if name not in SCRAPED:
        declared = labels_of(name)
        if declared is None:
            raise ValueError(f"no metric {name} in the catalogue")
        if unknown := set(matchers) - set(declared):
            raise ValueError(f"{name} has no label {sorted(unknown)}; it has {declared}")
        if missing := {"window", "basis"} & set(declared) - set(matchers):
            raise ValueError(f"{name}: pin {sorted(missing)}, or figures of different windows are summed")
    parts = ['job="$job"']
    for label, value in matchers.items():
        operator = next((sign for sign in ("!~", "~", "!") if value.startswith(sign)), "")
        sign = {"": "=", "~": "=~", "!": "!=", "!~": "!~"}[operator]
        parts.append(f'{label}{sign}"{value.removeprefix(operator)}"')
    return f"{name}{{{','.join(parts)}}}"


def metric(name: str, /, **matchers: str) -> str:
    """One metric now. Raises ``ValueError`` for what the catalogue does not know, and where a window is not pinned."""
    return f"max without (instance, job) ({_selector(name, matchers)})"


def instances(name: str, /) -> str:
    """One metric now, of each replica by itself: for what is about the process."""
    return _selector(name, {})


def history(name: str, /, **matchers: str) -> str:
    """:func:`metric` for graphs: finds hourly backfilled samples too, which a 5-minute look-back would miss."""
    return f"max without (instance, job) (last_over_time({_selector(name, matchers)}[$__interval]))"


def at_end(name: str, /, **matchers: str) -> str:
    """The last value of the graph's last two days: for graphs of what is largest now, the same series all along.

    Two, because history has customers once a day and ends some hours before the first scrape: until a step of the
    graph lies behind that, the last sample is more than a day old.
    """
    return f"max without (instance, job) (last_over_time({_selector(name, matchers)}[2d] @ end()))"


def increase(name: str, span: str, /, **matchers: str) -> str:
    """What a counter grew by in ``span``."""
    return f"max without (instance, job) (increase({_selector(name, matchers)}[{span}]))"


def rate(name: str, span: str, /, **matchers: str) -> str:
    """What a counter grew by a second, over ``span``."""
    return f"max without (instance, job) (rate({_selector(name, matchers)}[{span}]))"


def by(labels: str, expression: str) -> str:
    """Sum over everything but ``labels`` (such as ``"provider, currency"``)."""
    return f"sum by ({labels}) ({expression})"


def converted(labels: str, amounts: str) -> str:
    """Sums of amounts in own currencies, in the reporting currency (label ``to``) at the rate in force at each point.

    No figure at all while a currency among them has no rate: a sum that leaves one out would not be one.
    """
    joint = history("margin_revenue_amount", basis="cash", window="30d")  # says what the reporting currency is
    own = f'label_replace(group by (currency) ({joint}), "to", "$1", "currency", "(.+)")'
    rates = f'label_replace({history("margin_fx_rate")}, "currency", "$1", "from", "(.+)") or {own}'
    each = f"{amounts} * on (currency) group_left (to) ({rates})"
    whole = f"count(count by (currency) ({amounts})) == count(count by (currency) ({each}))"
    return f"{by(f'{labels}, to' if labels else 'to', each)} and on () ({whole})"


def threshold(name: str) -> str:
    """A number that an alert compares with (prometheus/rules/thresholds.yml), as a line across the whole graph."""
    return f'max(margin:threshold{{threshold="{name}"}} @ end())'


def newcomers(name: str, label: str) -> str:
    """Values of a label that were not there an interval ago, while others were: the events of annotations."""
    now = f"count by ({label}) ({history(name)})"
    before = now.replace("[$__interval]", "[$__interval] offset $__interval")
    return f"{now} unless {before} and on () count({before})"
