"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from exporter.errors import StateError


def write_whole(path: Path, text: Iterable[str]) -> None:
    """Make the file under another name first, so that whoever reads ``path`` sees the former file or all of this one.

    Raises StateError where it cannot be written; nothing is left behind then.
    """
    begun = path.with_name(f"{path.name}.part")
    try:
        with begun.open("w", encoding="utf-8") as file:
            file.writelines(text)
            file.flush()
            os.fsync(file.fileno())
        begun.replace(path)
    except OSError as error:
        raise StateError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        with suppress(OSError):
            begun.unlink(missing_ok=True)
