"""Margin / Overview: are we making money, what changed, and can the numbers be trusted?"""

from __future__ import annotations

from boards.headline import now, profit_and_loss, trend
from boards.income import cash_in, customers
from boards.panels import Json, annotation, dashboard, variable
from boards.spending import costs
from boards.trust import trust


def build() -> Json:
    """The dashboard."""
    hashes = 'count by (hash) (last_over_time(margin_pricing_info{{job="$job"}}[$__interval]{}))'
    return dashboard(
        "margin-overview",
        "Margin / Overview",
        "Are we making money, what changed, and can the numbers be trusted?",
        [*now(), *trend(), *profit_and_loss(), *costs(), *cash_in(), *customers(), *trust()],
        [
            variable("job", "Job", "margin_snapshot_timestamp_seconds"),
            variable("account", "Account", 'margin_gross_volume_amount{job="$job"}', many=True),
            variable("provider", "Provider", 'margin_cost_amount{job="$job"}', many=True),
        ],
        tags=["founder", "finance"],
        annotations=[
            annotation(
                "Price book",
                f"{hashes.format('')} unless {hashes.format(' offset $__interval')}",
                "purple",
                "Price book changed",
                "{{hash}}",
            ),
            annotation(
                "Money alerts",
                'count by (alertname, provider) (ALERTS{alertstate="firing",signal="money"})',
                "red",
                "{{alertname}}",
                "{{provider}}",
            ),
        ],
    )
