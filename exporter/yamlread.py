"""YAML text becomes plain values, and the place of each key and value in the file is kept.

Plain words are read as in YAML 1.2 (https://yaml.org/spec/1.2.2/#103-core-schema): only ``true`` and ``false`` are
booleans, so that ``no``, ``on`` and ``12:30`` stay text. Numbers with a point become ``Decimal``, never ``float``.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final, NamedTuple

import yaml

MAX_VALUES: Final = 200_000
"""Values after aliases are written out: a file of a few lines can otherwise ask for billions."""
MAX_DIGITS: Final = 40

Place = tuple[str | int, ...]
"""Keys and indexes from the top of the file down to a value."""


class Mark(NamedTuple):
    """A place in the file, counted from 1."""

    line: int
    column: int


class Mistake(NamedTuple):
    """One line of the report."""

    mark: Mark
    place: Place
    text: str


class Loader(yaml.SafeLoader):
    """The scanner, parser and composer of PyYAML with YAML 1.2's idea of plain words."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (PyYAML's own shape)


NUMBER: Final = re.compile(
    r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)


def _resolvers() -> None:
    number = list("-+.0123456789")
    for tag, pattern, first in (
        ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
        ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
        ("int", r"[-+]?(?:0|[1-9][0-9]*)", number),
        ("float", NUMBER.pattern, number),
    ):
        Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(f"(?:{pattern})\\Z"), first)


_resolvers()


def _mark(mark: yaml.Mark | None) -> Mark:
    return Mark(mark.line + 1, mark.column + 1) if mark else Mark(1, 1)


class TooBig(Exception):
    """The file asks for more values than any real file holds."""


class Builder:
    """Values from nodes, with the place of each key and value, and the mistakes that YAML itself lets pass."""

    def __init__(self) -> None:
        self.values: dict[Place, Mark] = {}
        self.keys: dict[Place, Mark] = {}
        self.mistakes: list[Mistake] = []
        self.spoiled: set[Place] = set()  # values that were lost to a mistake: nobody need complain of them again
        self._built = 0
        self._open: set[int] = set()

    def build(self, node: yaml.Node, place: Place) -> object:
        self._built += 1
        if self._built > MAX_VALUES:
            raise TooBig(f"its aliases expand to more than {MAX_VALUES} values")
        if id(node) in self._open:
            raise TooBig(f"the alias at {show(place) or 'the top'} holds itself")
        self.values[place] = _mark(node.start_mark)
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode) and node.tag.endswith(":map"):
                return self._mapping(node, place)
            if isinstance(node, yaml.SequenceNode) and node.tag.endswith(":seq"):
                return tuple(self.build(child, (*place, i)) for i, child in enumerate(node.value))
            if isinstance(node, yaml.ScalarNode):
                return self._scalar(node, place)
            self._spoil(node, place, f"the tag {_tag(node)} is not supported")
            return None
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, object]:
        result: dict[str, object] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._wrong(key_node, place, "a key must be plain text")
                continue
            key = key_node.value
            if key == "<<" and key_node.style is None:
                self._wrong(key_node, place, 'merging with "<<" is not supported; write the keys out')
                continue
            if key in result:
                first = self.keys[(*place, key)].line
                self._wrong(key_node, place, f'key "{key}" is here twice (first on line {first})')
                continue
            self.keys[(*place, key)] = _mark(key_node.start_mark)
            result[key] = self.build(value_node, (*place, key))
        return result

    def _scalar(self, node: yaml.ScalarNode, place: Place) -> object:
        tag, text = node.tag.removeprefix("tag:yaml.org,2002:"), node.value
        if tag == "str":
            return text
        if tag == "null":
            return None
        if tag == "bool":
            return text.lower() == "true"
        if tag in ("int", "float"):
            return self._number(node, place, text)
        self._spoil(node, place, f"the tag {_tag(node)} is not supported")
        return None

    def _number(self, node: yaml.ScalarNode, place: Place, text: str) -> int | Decimal | None:
        """A number with a point is taken only if every reader of YAML would take it for the same number."""
        if re.fullmatch(r"[-+]?[0-9]+", text) and len(text) <= MAX_DIGITS:
            return int(text)
        if not NUMBER.fullmatch(text):  # an explicit tag: !!int twelve
            self._spoil(node, place, f'"{text[:60]}" is not a number')
            return None
        if "inf" in text.lower() or "nan" in text.lower():
            self._spoil(node, place, "must be a finite number")
            return None
        exact = Decimal(text)
        if len(text) > MAX_DIGITS or Decimal(repr(float(text))) != exact:
            self._spoil(node, place, f'has more digits than a YAML number keeps; write it in quotes: "{text[:60]}"')
            return None
        return exact

    def _spoil(self, node: yaml.Node, place: Place, text: str) -> None:
        self.spoiled.add(place)
        self._wrong(node, place, text)

    def _wrong(self, node: yaml.Node, place: Place, text: str) -> None:
        self.mistakes.append(Mistake(_mark(node.start_mark), place, text))


def _tag(node: yaml.Node) -> str:
    return str(node.tag).replace("tag:yaml.org,2002:", "!!")


def show(place: Place) -> str:
    """``providers.kling.prices[0].match``"""
    shown = ""
    for step in place:
        if isinstance(step, int):
            shown += f"[{step}]"
        else:
            word = step if re.fullmatch(r"[\w./-]+", step) else f'"{step}"'
            shown += f".{word}" if shown else word
    return shown
