"""What may go wrong while the demo runs: each function changes the account, its key, or what happens from now on."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import text

from exporter.demo.live import Live
from exporter.demo.usage_log import table

MONEY = ("pack", "signup", "change", "refund", "discount", "renew")


def no_usage(live: Live) -> None:
    """Nobody calls a provider any more, or the application has stopped to write it down."""
    live.paused |= {"usage"}


def no_money(live: Live) -> None:
    """Nobody pays any more."""
    live.paused |= set(MONEY)


def runaway(live: Live) -> None:
    """A retry loop: every call is made twenty times."""
    live.usage_factor = 20


def hidden_money(live: Live) -> None:
    """Stripe's balance holds 42.17 dollars that no balance transaction tells of."""
    live.world.hide("usd", 4217)


def misprint(live: Live) -> None:
    """Stripe's report says a cent more than the balance transactions."""
    live.world.desk.misprint = 1


def without_reports(live: Live) -> None:
    """The key lacks the permission to order reports."""
    _deny(live, "rak_report_runs_and_report_types_read")


def without_invoices(live: Live) -> None:
    """The key lacks the permission to read invoices."""
    _deny(live, "rak_invoice_read")


def without_sources(live: Live) -> None:
    """The key lacks the permission to read what is behind a balance transaction."""
    _deny(live, "rak_balance_transaction_source_read")


def _deny(live: Live, permission: str) -> None:
    for key in live.world.keys.values():
        key.denied.add(permission)


def wrong_key(live: Live) -> None:
    """Stripe does not know the key."""
    live.world.faults.add("unauthorized")


def stripe_down(live: Live) -> None:
    """Stripe answers every request with an error of its own."""
    live.world.faults.add("server_error")


def table_gone(live: Live) -> None:
    """Somebody has renamed the table of the usage log."""
    if live.engine is not None:
        with live.engine.begin() as connection:
            connection.execute(text(f'ALTER TABLE "{table.name}" RENAME TO "{table.name}_old"'))
        live.engine = None


def webhooks_silent(live: Live) -> None:
    """Stripe posts no events any more."""
    live.world.listeners.clear()


def churn_wave(live: Live) -> None:
    """Customers worth 400 dollars a month, or a tenth of all, leave at once."""
    live.money.leave(live.now, 40_000)


def silent_change(live: Live) -> None:
    """Three yearly subscriptions are for three seats instead of one, and no event tells."""
    lasting = [
        one
        for one in live.money.subscriptions.values()
        if one.items[0].price.endswith("_year") and one.status == "active" and not one.cancel_at_period_end
    ]
    for one in sorted(lasting, key=lambda one: (-one.period_end, one.id))[:3]:
        changed = replace(one, items=(replace(one.items[0], quantity=3), *one.items[1:]))
        live.money.subscriptions[one.id] = changed
        live.world.change(changed)
