"""Shapes of invoices, their lines and payments, and of credit notes.

After Stripe's published fixtures (https://github.com/stripe/openapi, openapi/fixtures3.json, MIT), in the shape of
API version 2026-10-28.endive: ``parent`` says what the invoice is for, ``pricing`` what a line was priced by.
"""

from __future__ import annotations

from exporter.demo.shape import Shape
from exporter.demo.shapes_money import ADDRESS

INVOICE_LINE = Shape(
    {
        "id": "<id>",
        "object": "line_item",
        "amount": "<amount>",
        "currency": "<currency>",
        "description": None,
        "discount_amounts": "<discount_amounts>",
        "discountable": "<discountable>",
        "discounts": [],
        "invoice": "<invoice>",
        "livemode": "<livemode>",
        "metadata": {},
        "parent": "<parent>",
        "period": {"end": "<end>", "start": "<start>"},
        "pretax_credit_amounts": [],
        "pricing": {
            "price_details": {"price": "<price>", "product": "<product>"},
            "type": "price_details",
            "unit_amount_decimal": "<unit_amount_decimal>",
        },
        "quantity": "<quantity>",
        "quantity_decimal": "<quantity_decimal>",
        "subtotal": "<amount>",
        "taxes": "<taxes>",
    }
)

LINE_PARENT = Shape(
    {
        "invoice_item_details": None,
        "subscription_item_details": {
            "invoice_item": None,
            "proration": "<proration>",
            "proration_details": {"credited_items": None},
            "subscription": "<subscription>",
            "subscription_item": "<item>",
        },
        "type": "subscription_item_details",
    }
)

INVOICE = Shape(
    {
        "id": "<id>",
        "object": "invoice",
        "account_country": "US",
        "account_name": "AI Studio Demo",
        "account_tax_ids": None,
        "amount_due": "<due>",
        "amount_overpaid": 0,
        "amount_paid": "<paid>",
        "amount_remaining": "<remaining>",
        "amount_shipping": 0,
        "application": None,
        "attempt_count": "<attempts>",
        "attempted": "<attempted>",
        "auto_advance": False,
        "automatic_tax": {
            "disabled_reason": None,
            "enabled": False,
            "liability": None,
            "provider": None,
            "status": None,
        },
        "automatically_finalizes_at": None,
        "billing_reason": "<reason>",
        "collection_method": "charge_automatically",
        "created": "<created>",
        "currency": "<currency>",
        "custom_fields": None,
        "customer": "<customer>",
        "customer_account": None,
        "customer_address": ADDRESS,
        "customer_email": None,
        "customer_name": None,
        "customer_phone": None,
        "customer_shipping": None,
        "customer_tax_exempt": "none",
        "customer_tax_ids": [],
        "default_payment_method": None,
        "default_source": None,
        "default_tax_rates": [],
        "description": None,
        "discounts": [],
        "due_date": None,
        "effective_at": "<created>",
        "ending_balance": 0,
        "footer": None,
        "from_invoice": None,
        "hosted_invoice_url": None,
        "invoice_pdf": None,
        "issuer": {"type": "self"},
        "last_finalization_error": None,
        "latest_revision": None,
        "lines": {"object": "list", "data": "<lines>", "has_more": "<lines_more>", "url": "<lines_url>"},
        "livemode": "<livemode>",
        "metadata": {},
        "next_payment_attempt": None,
        "number": "<number>",
        "on_behalf_of": None,
        "parent": "<parent>",
        "payment_settings": {"default_mandate": None, "payment_method_options": None},
        "period_end": "<created>",
        "period_start": "<created>",
        "post_payment_credit_notes_amount": "<post_credit>",
        "pre_payment_credit_notes_amount": "<pre_credit>",
        "receipt_number": None,
        "rendering": None,
        "shipping_cost": None,
        "shipping_details": None,
        "starting_balance": 0,
        "statement_descriptor": None,
        "status": "<status>",
        "status_transitions": {
            "finalized_at": "<finalized_at>",
            "marked_uncollectible_at": "<uncollectible_at>",
            "paid_at": "<paid_at>",
            "voided_at": "<voided_at>",
        },
        "subtotal": "<subtotal>",
        "subtotal_excluding_tax": "<subtotal>",
        "test_clock": None,
        "total": "<total>",
        "total_discount_amounts": "<total_discounts>",
        "total_excluding_tax": "<total_net>",
        "total_pretax_credit_amounts": [],
        "total_taxes": "<total_taxes>",
        "webhooks_delivered_at": "<created>",
    }
)

INVOICE_PARENT = Shape(
    {
        "quote_details": None,
        "subscription_details": {"metadata": {}, "subscription": "<subscription>"},
        "type": "subscription_details",
    }
)

INVOICE_PAYMENT = Shape(
    {
        "id": "<id>",
        "object": "invoice_payment",
        "amount_paid": "<amount_paid>",
        "amount_requested": "<amount_requested>",
        "created": "<created>",
        "currency": "<currency>",
        "invoice": "<invoice>",
        "is_default": True,
        "livemode": "<livemode>",
        "payment": {"payment_intent": "<payment_intent>", "type": "payment_intent"},
        "status": "<status>",
        "status_transitions": {"canceled_at": "<canceled_at>", "paid_at": "<paid_at>"},
    }
)

CREDIT_NOTE_LINE = Shape(
    {
        "id": "<id>",
        "object": "credit_note_line_item",
        "amount": "<amount>",
        "description": None,
        "discount_amount": 0,
        "discount_amounts": [],
        "invoice_line_item": "<invoice_line_item>",
        "livemode": "<livemode>",
        "metadata": None,
        "pretax_credit_amounts": [],
        "quantity": 1,
        "tax_rates": [],
        "taxes": "<taxes>",
        "type": "<type>",
        "unit_amount": None,
        "unit_amount_decimal": None,
    }
)

CREDIT_NOTE = Shape(
    {
        "id": "<id>",
        "object": "credit_note",
        "amount": "<total>",
        "amount_shipping": 0,
        "created": "<created>",
        "currency": "<currency>",
        "customer": "<customer>",
        "customer_account": None,
        "customer_balance_transaction": None,
        "discount_amount": 0,
        "discount_amounts": [],
        "effective_at": "<created>",
        "invoice": "<invoice>",
        "lines": {"object": "list", "data": "<lines>", "has_more": "<lines_more>", "url": "<lines_url>"},
        "livemode": "<livemode>",
        "memo": None,
        "metadata": {},
        "number": "<number>",
        "out_of_band_amount": "<out_of_band>",
        "pdf": "<pdf>",
        "post_payment_amount": "<post>",
        "pre_payment_amount": "<pre>",
        "pretax_credit_amounts": [],
        "reason": None,
        "refunds": "<refunds>",
        "shipping_cost": None,
        "status": "<status>",
        "subtotal": "<net>",
        "subtotal_excluding_tax": "<net>",
        "total": "<total>",
        "total_excluding_tax": "<net>",
        "total_taxes": "<total_taxes>",
        "type": "<type>",
        "voided_at": "<voided_at>",
    }
)
