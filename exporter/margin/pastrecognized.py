"""Recognised revenue of the past out of the state, for ``figures``: the lines that bend, and what is not known."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence

from sqlalchemy import Connection

from exporter.clock import DAY
from exporter.config import Settings
from exporter.margin.packbook import Findings, PackMemory
from exporter.margin.packread import REVENUE, PackReader, logs_of_packs
from exporter.margin.pastearned import PastEarned
from exporter.margin.recognition import Cell, Piece
from exporter.margin.recognized import BACK, PieceReader, Recognized
from exporter.store import recognition
from exporter.store.ledger import unexpanded_rows
from exporter.store.usage import UsageKey


class PastRecognized:
    """What ``RecognizedMemory`` reads, for the whole history."""

    def __init__(
        self,
        connection: Connection,
        settings: Settings,
        accounts: Mapping[str, float],
        logs: Mapping[str, float],
        keys: Mapping[int, UsageKey],
        midnights: Sequence[int],
        customers: Collection[str] | None = None,
    ) -> None:
        """``accounts``: name → the time its invoices are from; ``logs``: source → the time its usage is from;
        ``midnights``: the starts of the business days in question. ``customers``: those kept apart, and products;
        None: nothing is kept apart."""
        self._connection = connection
        self._midnights = midnights
        self.packs = logs_of_packs(settings)
        reader = PieceReader(connection, accounts, midnights[0], settings, frozenset(customers or ()))
        packs: Iterator[tuple[Cell, Iterator[Piece]]] = iter(())
        self._findings = Findings()
        if self.packs and self.packs.keys() <= logs.keys():
            used = {name: logs[source] for source, name in self.packs.items()}
            shards, self._findings = PackMemory().read(
                PackReader(connection, accounts, used, settings, reader.cell, customers or ()), keys, midnights[0]
            )
            packs = (cell for shard in shards.values() for cell in shard.pieces())
        self._earned = PastEarned(reader.pieces(sorted(accounts)), packs, settings.fx, apart=customers is not None)
        self._linked_from = {account: self._linked(account) for account in accounts}
        self._unexplained = {account: recognition.unexplained_at(connection, account) for account in accounts}

    def at(self, since: int, at: int, known: Collection[str]) -> Recognized:
        """As known at ``at``, for windows that begin at ``since`` or later. ``known``: the sources that may be used."""
        return Recognized(
            self._earned,
            {account: int(since < linked) for account, linked in self._linked_from.items()},
            {
                account: bisect_right(times, at) - bisect_left(times, since)
                for account, times in self._unexplained.items()
            },
            frozenset(self.packs.keys() - known),
            self._findings,
        )

    def _linked(self, account: str) -> int:
        """From when on it is known of each payment whether an invoice names it; bisected, as it only gets better."""
        if not unexpanded_rows(self._connection).get(account):
            return self._midnights[0]

        def known(midnight: int) -> bool:
            return recognition.unlinked(self._connection, account, midnight, REVENUE, BACK) == 0

        place = bisect_left(self._midnights, True, key=known)
        return self._midnights[place] if place < len(self._midnights) else self._midnights[-1] + DAY
