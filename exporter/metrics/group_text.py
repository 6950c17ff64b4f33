"""The catalogue's paragraphs on figures by customer and by product, in the form of ``catalogue._TEXT``."""

from __future__ import annotations

from typing import Final

TEXT: Final = """
# Margin by customer and by product
In the reporting currency, by contribution: revenue less usage, the fees of the label's charges, and the plans and
fixed costs that `allocate_by` shares; costs of nobody in particular are in `unattributed`. The labels with series of
their own are chosen once per business day from `30d`; `other` is all the rest, `unattributed` what nobody knows whose
it is, and the sum over all labels is the total.

gauge margin_customer_revenue_amount{customer_id,basis,window,currency}
    Net revenue of a customer in the window before fees, major units of the reporting currency; refunds and disputes
    follow their charge. @joined

gauge margin_customer_cost_amount{customer_id,window,currency}
    Usage cost of a customer in the window, major units of the reporting currency. Where a window begins within a
    business day, the cost of that part of the day is shared as that of the day. @joined

gauge margin_customer_gross_profit_amount{customer_id,basis,window,currency}
    Revenue of a customer less usage and the fees of their charges in the window, negative when losing money, major
    units of the reporting currency. @joined

gauge margin_product_revenue_amount{product,basis,window,currency}
    Net revenue of a product in the window before fees, major units of the reporting currency. Basis cash: payments by
    the lines of the invoices they settled; money that no invoice names is unattributed. @joined

gauge margin_product_cost_amount{product,window,currency}
    Usage cost of a product in the window, as the usage row says, else of its customer's only product in use, major
    units of the reporting currency. @joined

gauge margin_product_gross_profit_amount{product,basis,window,currency}
    Revenue of a product less usage and the fees of its payments in the window, negative when losing money, major units
    of the reporting currency. @joined
"""
