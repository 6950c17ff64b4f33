"""One SELECT as an operator writes it into margin.yaml: checked to be that and nothing else before it is sent."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import PlainValidator, WithJsonSchema

_PIECES: Final = re.compile(
    r"""(?P<comment>--[^\n]*|/\*.*?\*/)"""
    r"""|(?P<quoted>'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$)"""
    r"""|(?P<word>[A-Za-z_]\w*)|(?P<mark>[();'"`])|.""",
    re.DOTALL,
)
_WRITING: Final = frozenset(
    "INSERT UPDATE DELETE MERGE CREATE ALTER DROP TRUNCATE GRANT REVOKE COPY CALL ATTACH DETACH PRAGMA INTO".split()
)
"""Words that no SELECT that only reads has need of; a column of such a name is written in quotes."""


def select_text(value: object) -> str:
    """The SELECT without comments and without a semicolon at its end. Raises ValueError."""
    if not isinstance(value, str):
        raise ValueError("must be text: one SELECT")
    pieces: list[str] = []
    words: list[str] = []
    depth = 0
    ended = False
    for found in _PIECES.finditer(value.strip()):
        text = found[0]
        if found["comment"]:
            pieces.append(" ")
            continue
        if ended and not text.isspace():
            raise ValueError("holds more than one statement; give one SELECT")
        if found["word"]:
            words.append(text.upper())
            if words[-1] in _WRITING:
                raise ValueError(f"holds {words[-1]}; only a SELECT is taken (write a column of that name in quotes)")
        mark = found["mark"]
        if mark == ";":
            ended = True
            continue
        if mark in ("'", '"', "`"):
            raise ValueError(f"has a {mark} that is never closed")
        depth += {"(": 1, ")": -1}.get(mark or "", 0)
        if depth < 0:
            raise ValueError('has a ")" without its "("')
        pieces.append(text)
    if depth:
        raise ValueError('has a "(" that is never closed')
    if not words or words[0] not in ("SELECT", "WITH"):
        raise ValueError("must be a SELECT")
    return "".join(pieces).strip()


SelectText = Annotated[str, PlainValidator(select_text), WithJsonSchema({"type": "string"})]
"""A SELECT that stands in parentheses after FROM: the exporter asks it for spans of time."""
