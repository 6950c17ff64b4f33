"""One request → one answer, as Stripe would give it. Pure reading: nothing here changes the account.

Rules of lists: https://docs.stripe.com/api/pagination; of expansion: https://docs.stripe.com/api/expanding_objects;
of events (30 days): https://docs.stripe.com/api/events.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from exporter.demo import params
from exporter.demo.facts import Transaction
from exporter.demo.params import Query
from exporter.demo.refusals import (
    forbidden,
    invalid,
    missing,
    no_key,
    no_such_url,
    other_mode,
    wrong_key,
)
from exporter.demo.render import RESOURCE_OF_PREFIX, Renderer
from exporter.demo.reports import REPORT
from exporter.demo.resources import FOLDERS, ITEM, RESOURCES, SOURCE_PERMISSIONS, Keep, Resource
from exporter.demo.world import Key, World

EVENT_RETENTION = 30 * 86_400
OLDEST_VERSION = "2025-09-30"
"""clover: since then a discount names its coupon in ``source``, the shape that is served here."""
_VERSION = re.compile(r"^(\d{4}-\d{2}-\d{2})(\.[a-z]+)?$")


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: str
    more: bool = False
    """A list page with more behind it."""
    kind: str = "application/json"


def endpoint_of(path: str) -> str:
    """The path with ids taken out: ``/v1/charges/{id}``."""
    parts = path.split("/")
    place = 4 if len(parts) > 2 and parts[2] in ("reporting", *FOLDERS) else 3
    if len(parts) > place and parts[1] == "v1":
        parts[place] = "{id}"
    return "/".join(parts)


def answer(world: World, request: Request, lacking: frozenset[str] = frozenset()) -> Answer:
    """Raises Refusal. ``lacking`` are permissions that the key lacks for this request on top of its own."""
    key = _authenticate(world, request)
    version = request.headers.get("stripe-version", "")
    match = _VERSION.match(version)
    if match is None or match[1] < OLDEST_VERSION:
        raise invalid(f"Invalid Stripe API version: '{version}'. This account answers {OLDEST_VERSION} or later.")
    with world.lock:
        world.versions[version] += 1
        world.settle()
        return _Reading(world, key, lacking).answer(request)


def _authenticate(world: World, request: Request) -> Key:
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            secret = base64.b64decode(secret, validate=True).decode().partition(":")[0]
        except ValueError:
            secret = ""
    if not secret or scheme.lower() not in ("bearer", "basic"):
        raise no_key()
    key = world.keys.get(secret)
    if key is None:
        raise wrong_key(secret)
    return key


class _Reading:
    def __init__(self, world: World, key: Key, lacking: frozenset[str]) -> None:
        self.world = world
        self.key = key
        self.denied = key.denied | lacking
        self.own_mode = key.livemode == world.livemode
        self.renderer = Renderer(world, key.livemode)

    def answer(self, request: Request) -> Answer:
        parts = request.path.strip("/").split("/")
        if parts[0] != "v1" or len(parts) < 2:
            raise no_such_url(request.method, request.path)
        folder, name, rest = "", parts[1], parts[2:]
        if name in ("reporting", "files"):
            return self._reporting(name, rest, request)
        if name in FOLDERS and rest:
            folder, name, rest = f"{name}/", rest[0], rest[1:]
        resource = RESOURCES.get(name)
        single = not folder and name in ("account", "balance", "subscription_items")
        if not single and (resource is None or resource.folder != folder):
            raise no_such_url(request.method, request.path)
        if request.method != "GET":
            raise forbidden(f"rak_{name.rstrip('s')}_write", self.world.account)
        query = params.parse(request.query)
        if name in ("account", "balance") and not rest:
            self._need("rak_balance_read" if name == "balance" else "rak_connected_account_read")
            params.expansion(query, {}, False)
            params.nothing_left(query)
            if name == "account":
                return Answer(200, self.renderer.account())
            return Answer(200, self.renderer.balance() if self.own_mode else _empty_balance(self.key.livemode))
        if name == "subscription_items" and not rest:
            self._need("rak_subscription_read")
            return self._items(query)
        if resource is not None and not rest:
            self._need(resource.permission)
            return self._list(resource, query)
        if resource is not None and len(rest) == 1:
            self._need(resource.permission)
            return self._retrieve(resource, rest[0], query)
        if name in ("invoices", "credit_notes") and len(rest) == 2 and rest[1] == "lines":
            self._need("rak_invoice_read")
            return self._lines(name, rest[0], query)
        raise no_such_url(request.method, request.path)

    def _reporting(self, name: str, rest: list[str], request: Request) -> Answer:
        """Reports and their files. Ordering a report takes the permission to read reports, and no other."""
        desk = self.world.desk
        if name == "files":
            if request.method != "GET" or len(rest) not in (1, 2) or rest[1:] not in ([], ["contents"]):
                raise no_such_url(request.method, request.path)
            self._need("rak_file_read")
            params.nothing_left(params.parse(request.query))
            if rest[1:]:
                return Answer(200, desk.contents(rest[0]), kind="text/csv")
            return Answer(200, json.dumps(desk.file(rest[0])))
        self._need("rak_report_runs_and_report_types_read")
        if request.method == "POST" and rest == ["report_runs"]:
            params.nothing_left(params.parse(request.query))
            return Answer(200, json.dumps(desk.order(self.world, request.body.decode("latin-1"), self.key.livemode)))
        if request.method != "GET" or len(rest) not in (1, 2) or rest[0] not in ("report_runs", "report_types"):
            raise no_such_url(request.method, request.path)
        params.nothing_left(params.parse(request.query))
        if rest[0] == "report_types":
            kinds = [desk.kind(self.world, id) for id in ([REPORT] if len(rest) == 1 else rest[1:])]
        else:
            kinds = desk.runs() if len(rest) == 1 else [desk.retrieve(rest[1])]
        if len(rest) == 2:
            return Answer(200, json.dumps(kinds[0]))
        return _page([json.dumps(kind) for kind in kinds], False, f"/v1/reporting/{rest[0]}")

    def _need(self, permission: str) -> None:
        if permission in self.denied:
            raise forbidden(permission, self.world.account)

    def _retrieve(self, resource: Resource, id: str, query: Query) -> Answer:
        expand = params.expansion(query, resource.expandable, False)
        params.nothing_left(query)
        fact = self.world.collections[resource.name].get(id)
        if fact is None or (resource.name == "events" and fact.at < self._oldest_event()):
            raise missing(resource.noun, id)
        if not self.own_mode:
            raise other_mode(resource.noun, id, self.key.livemode)
        self._may_expand([fact], expand)
        return Answer(200, self.renderer.render(resource.name, fact, expand))

    def _list(self, resource: Resource, query: Query) -> Answer:
        limit = params.limit(query)
        expand = params.expansion(query, resource.expandable, True)
        low_at, high_at = params.created(query) if resource.created else (None, None)
        keeps: list[Keep] = []
        if resource.name == "events":
            low_at = max(low_at or 0, self._oldest_event())
            keeps += _event_types(query)
        elif resource.default is not None and "status" not in query.plain:
            keeps.append(resource.default)
        for name in [name for name in query.plain if name in resource.filters]:
            keeps.append(resource.filters[name](self.world, name, query.plain.pop(name)))
        after, before = query.plain.pop("starting_after", None), query.plain.pop("ending_before", None)
        params.nothing_left(query)
        if after is not None and before is not None:
            raise invalid("You cannot parameterize both starting_after and ending_before.", "starting_after")
        collection = self.world.collections[resource.name]
        low = 0 if low_at is None else collection.first_at_or_after(low_at)
        high = len(collection) if high_at is None else collection.first_at_or_after(high_at)
        for name, id in (("starting_after", after), ("ending_before", before)):
            if id is not None:
                position = collection.position(id) if self.own_mode else None
                if position is None:
                    raise missing(resource.noun, id, name)
                if name == "starting_after":
                    high = min(high, position)
                else:
                    low = max(low, position + 1)
        if not self.own_mode:
            high = low
        page, more = collection.page(limit, low, max(low, high), before is not None, _all_of(keeps))
        self._may_expand(page, expand)
        render = self.renderer.render
        return _page([render(resource.name, fact, expand) for fact in page], more, resource.path)

    def _may_expand(self, page: list[Any], expand: Mapping[str, Any]) -> None:
        """An expanded object needs its own permission (https://docs.stripe.com/keys/restricted-api-keys).

        ``page``: the objects on which the fields are; empty below them.
        """
        for field in expand:
            if field == "source" and page and isinstance(page[0], Transaction):
                self._need("rak_balance_transaction_source_read")
                kinds = {fact.source.partition("_")[0] for fact in page if fact.source}
                for kind in sorted(kinds & SOURCE_PERMISSIONS.keys()):
                    self._need(SOURCE_PERMISSIONS[kind])
            elif field == "coupon":
                self._need("rak_coupon_read")
            elif field in _PREFIX_OF_FIELD:
                self._need(RESOURCES[RESOURCE_OF_PREFIX[_PREFIX_OF_FIELD[field]]].permission)
            self._may_expand([], expand[field])

    def _items(self, query: Query) -> Answer:
        """``/v1/subscription_items?subscription=…``, in the subscription's own order."""
        limit = params.limit(query)
        expand = params.expansion(query, ITEM, True)
        self._may_expand([], expand)
        id = query.plain.pop("subscription", None)
        after = query.plain.pop("starting_after", None)
        params.nothing_left(query)
        if id is None:
            raise invalid("Missing required param: subscription.", "subscription", "parameter_missing")
        subscription = self.world.collections["subscriptions"].get(id)
        if subscription is None:
            raise invalid(f"No such subscription: '{id}'", "subscription", "resource_missing")
        items = _after(subscription.items, after, "subscription_item")
        made = [self.renderer.subscription_item(subscription, item, expand) for item in items[:limit]]
        return _page(made, len(items) > limit, "/v1/subscription_items")

    def _lines(self, name: str, id: str, query: Query) -> Answer:
        limit = params.limit(query)
        after = query.plain.pop("starting_after", None)
        params.nothing_left(query)
        fact = self.world.collections[name].get(id)
        if fact is None:
            raise missing(name.removesuffix("s"), id)
        lines = _after(fact.lines, after, "line_item")
        if name == "invoices":
            made = [self.renderer.invoice_line(fact, line) for line in lines[:limit]]
        else:
            made = [self.renderer.credit_line(line) for line in lines[:limit]]
        return _page(made, len(lines) > limit, f"/v1/{name}/{id}/lines")

    def _oldest_event(self) -> int:
        return int(self.world.clock.now()) - EVENT_RETENTION


_PREFIX_OF_FIELD = {
    "customer": "cus",
    "charge": "ch",
    "balance_transaction": "txn",
    "failure_balance_transaction": "txn",
    "invoice": "in",
    "latest_invoice": "in",
    "product": "prod",
}


def _page(objects: list[str], more: bool, url: str) -> Answer:
    has_more = "true" if more else "false"
    body = f'{{"object": "list", "data": [{",".join(objects)}], "has_more": {has_more}, "url": "{url}"}}'
    return Answer(200, body, more)


def _empty_balance(livemode: bool) -> str:
    zero = '[{"amount": 0, "currency": "usd", "source_types": {"card": 0}}]'
    mode = "true" if livemode else "false"
    return f'{{"object": "balance", "available": {zero}, "livemode": {mode}, "pending": {zero}}}'


def _after(parts: tuple[Any, ...], cursor: str | None, noun: str) -> tuple[Any, ...]:
    if cursor is None:
        return parts
    for place, part in enumerate(parts):
        if part.id == cursor:
            return parts[place + 1 :]
    raise missing(noun, cursor, "starting_after")


def _all_of(keeps: list[Keep]) -> Callable[[Any], bool] | None:
    if len(keeps) < 2:
        return keeps[0] if keeps else None
    return lambda fact: all(keep(fact) for keep in keeps)


def _event_types(query: Query) -> list[Keep]:
    """``type`` (``*`` allowed) or up to 20 ``types[]``; ``delivery_success`` is true of all: nobody listens."""
    keeps: list[Keep] = []
    kind = query.plain.pop("type", None)
    kinds = query.lists.pop("types", None)
    if kind is not None and kinds is not None:
        raise invalid("You may only specify one of these parameters: type, types.", "type")
    if kinds is not None:
        if len(kinds) > 20:
            raise invalid("You may specify up to 20 values for this parameter.", "types")
        wanted = frozenset(kinds)
        keeps.append(lambda fact: fact.type in wanted)
    if kind is not None:
        pattern = kind
        keeps.append(lambda fact: fnmatchcase(fact.type, pattern))
    if "delivery_success" in query.plain:
        value = query.plain.pop("delivery_success")
        if value not in ("true", "false"):
            raise invalid(f"Invalid boolean: {value}", "delivery_success")
        if value == "false":
            keeps.append(lambda fact: False)
    return keeps
