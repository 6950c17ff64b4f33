"""Shapes of what is sold: customers, products, prices, subscriptions, events, the account itself.

After Stripe's published fixtures (https://github.com/stripe/openapi, openapi/fixtures3.json, MIT), in the shape of
API version 2026-10-28.endive: periods on the items, ``discounts[]``.
"""

from __future__ import annotations

from exporter.demo.shape import Shape

PRODUCT = Shape(
    {
        "id": "<id>",
        "object": "product",
        "active": True,
        "created": "<created>",
        "default_price": None,
        "description": None,
        "images": [],
        "livemode": "<livemode>",
        "marketing_features": [],
        "metadata": {},
        "name": "<name>",
        "package_dimensions": None,
        "shippable": None,
        "statement_descriptor": None,
        "tax_code": None,
        "type": "service",
        "unit_label": None,
        "updated": "<created>",
        "url": None,
    }
)

PRICE = Shape(
    {
        "id": "<id>",
        "object": "price",
        "active": True,
        "billing_scheme": "<billing_scheme>",
        "created": "<created>",
        "currency": "<currency>",
        "custom_unit_amount": None,
        "livemode": "<livemode>",
        "lookup_key": None,
        "metadata": {},
        "nickname": "<nickname>",
        "product": "<product>",
        "recurring": "<recurring>",
        "tax_behavior": "<tax_behavior>",
        "tiers_mode": "<tiers_mode>",
        "transform_quantity": "<transform>",
        "type": "<type>",
        "unit_amount": "<unit_amount>",
        "unit_amount_decimal": "<unit_amount_decimal>",
    }
)

RECURRING = Shape(
    {
        "interval": "<interval>",
        "interval_count": "<interval_count>",
        "meter": None,
        "trial_period_days": None,
        "usage_type": "<usage_type>",
    }
)

PLAN = Shape(
    {
        "id": "<id>",
        "object": "plan",
        "active": True,
        "amount": "<unit_amount>",
        "amount_decimal": "<unit_amount_decimal>",
        "billing_scheme": "<billing_scheme>",
        "created": "<created>",
        "currency": "<currency>",
        "interval": "<interval>",
        "interval_count": "<interval_count>",
        "livemode": "<livemode>",
        "metadata": {},
        "meter": None,
        "nickname": "<nickname>",
        "product": "<product>",
        "tiers_mode": "<tiers_mode>",
        "transform_usage": "<transform>",
        "trial_period_days": None,
        "usage_type": "<usage_type>",
    }
)

CUSTOMER = Shape(
    {
        "id": "<id>",
        "object": "customer",
        "address": None,
        "balance": 0,
        "created": "<created>",
        "currency": "<currency>",
        "default_source": None,
        "delinquent": "<delinquent>",
        "description": None,
        "discount": "<discount>",
        "email": None,
        "invoice_prefix": "<prefix>",
        "invoice_settings": {
            "custom_fields": None,
            "default_payment_method": None,
            "footer": None,
            "rendering_options": None,
        },
        "livemode": "<livemode>",
        "metadata": "<metadata>",
        "name": None,
        "next_invoice_sequence": 2,
        "phone": None,
        "preferred_locales": [],
        "shipping": None,
        "tax_exempt": "none",
        "test_clock": None,
    }
)

COUPON = Shape(
    {
        "id": "<id>",
        "object": "coupon",
        "amount_off": "<amount_off>",
        "created": "<created>",
        "currency": "<currency>",
        "duration": "<duration>",
        "duration_in_months": "<months>",
        "livemode": "<livemode>",
        "max_redemptions": None,
        "metadata": {},
        "name": "<name>",
        "percent_off": "<percent_off>",
        "redeem_by": None,
        "times_redeemed": 1,
        "valid": "<valid>",
    }
)

DISCOUNT = Shape(
    {
        "id": "<id>",
        "object": "discount",
        "checkout_session": None,
        "customer": "<customer>",
        "customer_account": None,
        "end": "<end>",
        "invoice": None,
        "invoice_item": None,
        "promotion_code": None,
        "source": {"coupon": "<coupon>", "type": "coupon"},
        "start": "<start>",
        "subscription": "<subscription>",
        "subscription_item": "<item>",
    }
)

TRIAL_OFFER = Shape(
    {
        "id": "<id>",
        "object": "product_catalog.trial_offer",
        "active": True,
        "duration": {"relative": {"iterations": "<iterations>"}, "type": "relative"},
        "end_behavior": {"transition": "<transition>", "type": "transition"},
        "livemode": "<livemode>",
        "nickname": None,
        "price": "<price>",
    }
)

CURRENT_TRIAL = Shape({"end_date": "<end>", "start_date": "<start>", "trial_offer": "<offer>"})

SUBSCRIPTION_ITEM = Shape(
    {
        "id": "<id>",
        "object": "subscription_item",
        "billing_thresholds": None,
        "created": "<created>",
        "current_period_end": "<period_end>",
        "current_period_start": "<period_start>",
        "current_trial": "<current_trial>",
        "discounts": "<discounts>",
        "metadata": {},
        "plan": "<plan>",
        "price": "<price>",
        "quantity": "<quantity>",
        "subscription": "<subscription>",
        "tax_rates": [],
    }
)

SUBSCRIPTION = Shape(
    {
        "id": "<id>",
        "object": "subscription",
        "application": None,
        "application_fee_percent": None,
        "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None},
        "billing_cycle_anchor": "<anchor>",
        "billing_cycle_anchor_config": None,
        "billing_mode": {"flexible": None, "type": "classic"},
        "billing_schedules": [],
        "billing_thresholds": None,
        "cancel_at": "<cancel_at>",
        "cancel_at_period_end": "<cancel_at_period_end>",
        "canceled_at": "<canceled_at>",
        "cancellation_details": {"comment": None, "feedback": None, "reason": "<cancellation_reason>"},
        "collection_method": "charge_automatically",
        "created": "<created>",
        "currency": "<currency>",
        "customer": "<customer>",
        "customer_account": None,
        "days_until_due": None,
        "default_payment_method": None,
        "default_source": None,
        "default_tax_rates": [],
        "description": None,
        "discounts": "<discounts>",
        "ended_at": "<ended_at>",
        "invoice_settings": {
            "account_tax_ids": None,
            "custom_fields": None,
            "description": None,
            "footer": None,
            "issuer": {"type": "self"},
        },
        "items": {
            "object": "list",
            "data": "<items>",
            "has_more": "<items_more>",
            "url": "<items_url>",
        },
        "latest_invoice": "<latest_invoice>",
        "livemode": "<livemode>",
        "managed_payments": None,
        "metadata": {},
        "next_pending_invoice_item_invoice": None,
        "on_behalf_of": None,
        "pause_collection": "<pause_collection>",
        "payment_settings": {"payment_method_options": None, "save_default_payment_method": "off"},
        "pending_invoice_item_interval": None,
        "pending_setup_intent": None,
        "pending_update": None,
        "schedule": None,
        "start_date": "<created>",
        "status": "<status>",
        "status_details": None,
        "test_clock": None,
        "transfer_data": None,
        "trial_end": "<trial_end>",
        "trial_settings": {"end_behavior": {"missing_payment_method": "create_invoice"}},
        "trial_start": "<trial_start>",
    }
)

EVENT = Shape(
    {
        "id": "<id>",
        "object": "event",
        "api_version": "2026-10-28.endive",
        "created": "<created>",
        "data": {"object": "<object>"},
        "livemode": "<livemode>",
        "pending_webhooks": 0,
        "request": {"id": None, "idempotency_key": None},
        "type": "<type>",
    }
)

ACCOUNT = Shape(
    {
        "id": "<id>",
        "object": "account",
        "business_profile": {"mcc": "5734", "name": "AI Studio Demo", "url": None},
        "business_type": "company",
        "capabilities": {"card_payments": "active", "transfers": "active"},
        "charges_enabled": True,
        "controller": {"type": "account"},
        "country": "US",
        "created": "<created>",
        "default_currency": "usd",
        "details_submitted": True,
        "email": None,
        "metadata": {},
        "payouts_enabled": True,
        "settings": {
            "dashboard": {"display_name": "AI Studio Demo", "timezone": "Etc/UTC"},
            "payouts": {
                "debit_negative_balances": True,
                "schedule": {"delay_days": 2, "interval": "daily"},
                "statement_descriptor": None,
            },
        },
        "type": "standard",
    }
)
