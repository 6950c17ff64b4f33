"""Fixtures that several test files share."""

from __future__ import annotations

from collections.abc import Iterator

import postgres_server
import pytest


@pytest.fixture(scope="session")
def postgres() -> Iterator[postgres_server.Server]:
    """A PostgreSQL server of this test session."""
    with postgres_server.running() as server:
        yield server


@pytest.fixture
def postgres_url(postgres: postgres_server.Server) -> Iterator[str]:
    """URL of an empty PostgreSQL database of this test's own."""
    with postgres.database() as url:
        yield url
