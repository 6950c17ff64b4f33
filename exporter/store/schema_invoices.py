"""Tables of invoices: what is known of each line, and what cut it back. See ``schema`` for the conventions.

*Facts*: ``invoice``, ``invoice_line``, ``invoice_payment``, ``credit_note``, ``credit_note_line``,
``credit_note_refund``. *Made from facts in the same transaction*: ``line_reversal``, ``recognition_day``.
Only finalised invoices are stored; of a line its ids, amounts and period, never its text.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import BigInteger, Boolean, Column, Index, PrimaryKeyConstraint, String, Table

from exporter.store.schema import metadata

_BY_KEY: Final[dict[str, Any]] = {"sqlite_with_rowid": False}

invoice = Table(
    "invoice",
    metadata,
    Column("account", String, nullable=False),
    Column("id", String, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("finalized_at", BigInteger, nullable=False),
    Column("status", String, nullable=False),
    Column("customer_id", String, nullable=True),
    Column("subscription_id", String, nullable=True),
    Column("currency", String, nullable=False),
    Column("total", BigInteger, nullable=False),  # minor units, with tax, after discounts
    Column("unexplained", BigInteger, nullable=False),  # total without tax − Σ lines: not 0 is a gap
    Column("amount_remaining", BigInteger, nullable=False),
    Column("pre_payment_credit", BigInteger, nullable=False),  # pre_payment_credit_notes_amount
    Column("paid_at", BigInteger, nullable=True),
    Column("voided_at", BigInteger, nullable=True),
    Column("uncollectible_at", BigInteger, nullable=True),
    Column("first", Boolean, nullable=False),  # begins a subscription, is charged at once, and is not paid
    Column("awaits", Boolean, nullable=False),  # … and the subscription is incomplete: the lines do not count
    Column("digest", String, nullable=False),  # of what was read: an unchanged invoice is left alone
    Column("read_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("account", "id"),
)
Index("invoice_subscription", invoice.c.account, invoice.c.subscription_id)
Index("invoice_awaits", invoice.c.account, invoice.c.awaits)
Index("invoice_unexplained", invoice.c.account, invoice.c.unexplained)

invoice_line = Table(
    "invoice_line",
    metadata,
    Column("account", String, nullable=False),
    Column("invoice_id", String, nullable=False),
    Column("id", String, nullable=False),  # il_…; "shipping" and "tax" for those
    Column("kind", String, nullable=False),  # line | shipping | tax: tax is no revenue, but what was collected
    Column("customer_id", String, nullable=True),
    Column("product", String, nullable=False),  # prod_…, "" where the line names none
    Column("currency", String, nullable=False),
    Column("amount", BigInteger, nullable=False),  # minor units, without tax, after discounts; negative for credits
    Column("period_start", BigInteger, nullable=False),
    Column("period_end", BigInteger, nullable=False),  # exclusive; = period_start: a point in time
    Column("known_at", BigInteger, nullable=False),  # the invoice's finalisation
    Column("item_id", String, nullable=True),  # si_… of the subscription item that the line charges
    Column("inclusive_tax", BigInteger, nullable=True),  # minor units of tax that its price included
    Column("quantity", BigInteger, nullable=False),  # of its price; 1 where the line says none
    Column("counts", Boolean, nullable=False),  # false: the first invoice of an incomplete subscription
    PrimaryKeyConstraint("account", "invoice_id", "id"),
    **_BY_KEY,
)
Index("invoice_line_known", invoice_line.c.account, invoice_line.c.known_at)
Index("invoice_line_customer", invoice_line.c.account, invoice_line.c.customer_id)

line_reversal = Table(
    "line_reversal",
    metadata,
    Column("account", String, nullable=False),
    Column("invoice_id", String, nullable=False),
    Column("line_id", String, nullable=False),
    Column("kind", String, nullable=False),  # see exporter.revenue.reversals.Kind
    Column("source", String, nullable=False),  # credit note, balance transaction or invoice that cut it
    Column("at", BigInteger, nullable=False),
    Column("share", String, nullable=False),  # of the line's amount, as "3/10": exact; negative: given back to it
    PrimaryKeyConstraint("account", "invoice_id", "line_id", "kind", "source"),
    **_BY_KEY,
)

invoice_payment = Table(
    "invoice_payment",
    metadata,
    Column("account", String, nullable=False),
    Column("id", String, nullable=False),  # inpay_…
    Column("invoice_id", String, nullable=False),
    Column("status", String, nullable=False),  # open | paid | canceled
    Column("charge_id", String, nullable=True),  # only of charges without a payment intent
    Column("payment_intent_id", String, nullable=True),
    Column("amount_paid", BigInteger, nullable=False),  # minor units of the invoice's currency
    Column("paid_at", BigInteger, nullable=True),
    PrimaryKeyConstraint("account", "id"),
)
Index("invoice_payment_invoice", invoice_payment.c.account, invoice_payment.c.invoice_id)
Index("invoice_payment_intent", invoice_payment.c.account, invoice_payment.c.payment_intent_id)
Index("invoice_payment_charge", invoice_payment.c.account, invoice_payment.c.charge_id)

credit_note = Table(
    "credit_note",
    metadata,
    Column("account", String, nullable=False),
    Column("id", String, nullable=False),
    Column("invoice_id", String, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("voided_at", BigInteger, nullable=True),
    Column("read_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("account", "id"),
)
Index("credit_note_invoice", credit_note.c.account, credit_note.c.invoice_id)

credit_note_line = Table(
    "credit_note_line",
    metadata,
    Column("account", String, nullable=False),
    Column("credit_note_id", String, nullable=False),
    Column("id", String, nullable=False),  # cnli_…; "shipping" for that
    Column("line_id", String, nullable=True),  # the invoice line it credits; null: none in particular
    Column("amount", BigInteger, nullable=False),  # minor units, without tax, after discounts
    Column("tax", BigInteger, nullable=False),
    PrimaryKeyConstraint("account", "credit_note_id", "id"),
    **_BY_KEY,
)

credit_note_refund = Table(
    "credit_note_refund",
    metadata,
    Column("account", String, nullable=False),
    Column("credit_note_id", String, nullable=False),
    Column("refund_id", String, nullable=False),
    Column("amount", BigInteger, nullable=False),  # the part of the refund that the credit note already counts
    PrimaryKeyConstraint("account", "credit_note_id", "refund_id"),
    **_BY_KEY,
)
Index("credit_note_refund_refund", credit_note_refund.c.account, credit_note_refund.c.refund_id)

recognition_day = Table(
    "recognition_day",
    metadata,
    Column("account", String, nullable=False),
    Column("kind", String, nullable=False),  # lines: finalised that day | charges: whose link to an invoice changed
    Column("day", BigInteger, nullable=False),  # UTC day, by its first second
    Column("revision", BigInteger, nullable=False),  # grows with every change
    Column("until", BigInteger, nullable=False),  # nothing of the day's lines changes a figure after this time
    PrimaryKeyConstraint("account", "kind", "day"),
    **_BY_KEY,
)
