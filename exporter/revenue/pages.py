"""Pages of Stripe's lists, decoded straight from their bytes into the few fields that are read.

Fields that Stripe adds flow past; a field that is missing where it must be, or of another type, is an error that names
it. Shapes: https://docs.stripe.com/api/pagination and the object pages of each list.
"""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")


class Page(msgspec.Struct, Generic[T]):
    """One page of a list, newest first."""

    data: list[T]
    has_more: bool


class Reference(msgspec.Struct, gc=False):
    """An object of which only the id matters, where Stripe may send the whole."""

    id: str


def id_of(value: str | Reference | None) -> str | None:
    """The id, whether Stripe sent it alone or inside the object."""
    return value.id if isinstance(value, Reference) else value
