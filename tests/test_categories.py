"""Every reporting category that Stripe's own package knows has a kind, and a new one is unknown, not lost."""

from __future__ import annotations

import inspect
import re
from typing import get_args

import stripe.params.reporting._report_run_create_params as report

from exporter.revenue.categories import CATEGORY_KIND, Kind, kind_of


def test_covers_the_categories_of_the_stripe_package() -> None:
    found = re.search(r"reporting_category.*?Literal\[(.*?)\]", inspect.getsource(report), re.DOTALL)
    assert found is not None
    known = set(re.findall(r"'(\w+)'", found[1]))
    assert len(known) > 30
    assert known - CATEGORY_KIND.keys() == set()


def test_a_new_category_is_unknown() -> None:
    assert kind_of("moon_landing_fee") == "unknown"
    assert kind_of("unknown") == "unknown"
    assert set(CATEGORY_KIND.values()) | {"unknown"} == set(get_args(Kind))
