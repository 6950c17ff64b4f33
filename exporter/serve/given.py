"""What flags say, read: times, days, accounts. What cannot be read is a ConfigError that names the flag."""

from __future__ import annotations

from datetime import UTC, date, datetime

from exporter.config import AccountSettings, Settings
from exporter.errors import ConfigError


def moment(flag: str, text: str) -> int:
    """``2026-07-01`` or ``2026-07-01T12:00:00Z`` (UTC unless it says otherwise) → seconds since the epoch."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f'{flag}: "{text}" is not a time such as 2026-07-01 or 2026-07-01T12:00:00Z') from None
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())


def day(flag: str, text: str) -> date:
    """``2026-11-01``"""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ConfigError(f'{flag}: "{text}" is not a day; write it as 2026-11-01') from None


def accounts(flag: str, name: str, settings: Settings) -> list[AccountSettings]:
    """The account of this name; all of them where no name is given. At least one."""
    found = [account for account in settings.accounts if name in ("", account.name)]
    if not found:
        known = ", ".join(account.name for account in settings.accounts) or "none"
        raise ConfigError(f'{flag}: there is no account "{name}"; margin.yaml has {known}')
    return found
