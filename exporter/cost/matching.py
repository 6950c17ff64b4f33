"""Whether a text is matched, as pricing.yaml says. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable

from exporter.cost.pricefile import Matcher
from exporter.cost.pricevalues import plain

Test = Callable[[str], bool]


def matcher_test(matcher: Matcher) -> Test:
    """Whether a text, made ``plain``, is matched."""
    if matcher.any is not None:
        tests = tuple(matcher_test(one) for one in matcher.any)
        return lambda text: any(test(text) for test in tests)
    if matcher.regex is not None:
        expression = re.compile(matcher.regex, re.IGNORECASE)
        return lambda text: expression.search(text) is not None
    if matcher.prefix is not None:
        prefix = plain(matcher.prefix)
        return lambda text: text.startswith(prefix)
    wanted = plain(matcher.equals)
    return lambda text: text == wanted


def anything(text: str) -> bool:
    """Every text."""
    return True
