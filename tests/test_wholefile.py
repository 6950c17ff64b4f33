"""Files that are written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.errors import StateError
from exporter.serve.closefile import write_closes
from exporter.serve.wholefile import write_whole


def test_the_former_file_stays_until_all_is_there(tmp_path: Path) -> None:
    path = tmp_path / "figures.om"
    write_whole(path, ["one\n", "two\n"])

    def broken() -> Iterator[str]:
        yield "three\n"
        assert path.read_text() == "one\ntwo\n"
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        write_whole(path, broken())
    assert (path.read_text(), list(tmp_path.iterdir())) == ("one\ntwo\n", [path])
    write_whole(path, ["four\n"])
    assert (path.read_text(), list(tmp_path.iterdir())) == ("four\n", [path])


def test_what_cannot_be_written_is_one_error(tmp_path: Path) -> None:
    below = tmp_path / "file"
    below.touch()
    with pytest.raises(StateError, match=r"file/figures\.om: cannot be written: Not a directory"):
        write_whole(below / "figures.om", ["one\n"])
    with pytest.raises(StateError, match=r"file/closes: cannot be made: Not a directory"):
        write_closes(below / "closes" / "2026-10.json", [])
