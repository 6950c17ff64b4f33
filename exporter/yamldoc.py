"""A YAML file becomes a typed, frozen model; every mistake in it becomes one line that says where and what to do.

    pricing.yaml:12:7: providers.kling.prices[0].match: unknown key "prefx" (did you mean "prefix"?)

This is the bottom of the house: it knows no file's model.
"""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, WithJsonSchema
from pydantic_core import ErrorDetails

from exporter.errors import ConfigError
from exporter.yamlread import MAX_DIGITS, Builder, Loader, Mark, Mistake, Place, TooBig, show

MAX_BYTES: Final = 4 << 20

M = TypeVar("M", bound=BaseModel)


class Document(BaseModel):
    """Base of every model that is read from a file: unknown keys refused, values not coerced, frozen.

    ``elsewhere`` are keys that somebody may well look for here, with what to do instead.
    """

    elsewhere: ClassVar[Mapping[str, str]] = {}

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class Mistakes(ValueError):
    """Raised by a model's validator to point at values below it: ``Mistakes([(("accounts", 1, "name"), "…")])``."""

    def __init__(self, items: Iterable[tuple[Place, str]]) -> None:
        self.items = tuple(items)
        super().__init__("; ".join(text for _, text in self.items))


class DocumentError(ConfigError):
    """All that is wrong in one file: ``mistakes`` in its order. The text is one line for each."""

    def __init__(self, name: str, mistakes: Iterable[Mistake]) -> None:
        self.name = name
        self.mistakes = tuple(sorted(mistakes, key=_order))
        super().__init__("\n".join(line_of(name, mistake) for mistake in self.mistakes))


def raise_mistakes(items: Sequence[tuple[Place, str]]) -> None:
    """Raise ``Mistakes`` if there are any."""
    if items:
        raise Mistakes(items)


def nearest(word: str, words: Iterable[str]) -> str:
    """`` (did you mean "prefix"?)``, or nothing when no word is near. Case does not count."""
    by_lower = {str(w).lower(): str(w) for w in words}
    found = difflib.get_close_matches(str(word).lower(), by_lower, n=1, cutoff=0.6)
    return f' (did you mean "{by_lower[found[0]]}"?)' if found else ""


def _decimal(value: object) -> Decimal:
    if isinstance(value, Decimal):
        number = value
    elif isinstance(value, int) and not isinstance(value, bool):
        number = Decimal(value)
    elif isinstance(value, str) and re.fullmatch(r"\s*[-+]?(\d+(\.\d*)?|\.\d+)\s*", value, re.ASCII):
        number = Decimal(value.strip())
    else:
        raise ValueError('must be a decimal number such as "0.14"')
    if not number.is_finite():
        raise ValueError("must be a finite number")
    if number < 0:
        raise ValueError("must not be negative")
    if abs(number.adjusted()) > MAX_DIGITS or len(number.as_tuple().digits) > MAX_DIGITS:
        raise ValueError(f"has more than {MAX_DIGITS} digits")
    return number


DecimalText = Annotated[
    Decimal,
    BeforeValidator(_decimal),
    WithJsonSchema({"type": ["string", "number"], "pattern": r"^\s*\+?(\d+(\.\d*)?|\.\d+)\s*$", "minimum": 0}),
]
"""A number ≥ 0, exact, best written as a string in the file: ``"0.14"``."""


def load(path: Path, model: type[M], context: object = None) -> M:
    """Read ``path`` into ``model``. ``context`` reaches the model's validators (``info.context``).

    Raises ``ConfigError`` with one line per mistake, in the order of the file.
    """
    return parse(read_text(path), str(path), model, context)


def read_text(path: Path) -> str:
    """The file's text. Raises ``ConfigError`` when it cannot be read, is not UTF-8, is empty or far too large."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{path}: is larger than {MAX_BYTES >> 20} MiB; is this the right file?")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise ConfigError(f"{path}:{line}:{column}: is not UTF-8 text; save the file as UTF-8") from None


def parse(text: str, name: str, model: type[M], context: object = None) -> M:
    """As ``load``, from text; ``name`` stands for the file in messages."""
    return parse_marked(text, name, model, context)[0]


def parse_marked(text: str, name: str, model: type[M], context: object = None) -> tuple[M, Mapping[Place, Mark]]:
    """As ``parse``, with where in the file each value is."""
    builder = Builder()
    try:
        node = yaml.compose(text, Loader=Loader)
        if node is None:
            raise DocumentError(name, [Mistake(Mark(1, 1), (), "the file is empty")])
        data = builder.build(node, ())
    except yaml.MarkedYAMLError as error:
        raise DocumentError(name, [_syntax(error)]) from None
    except yaml.reader.ReaderError as error:
        mark = Mark(text.count("\n", 0, error.position) + 1, error.position - text.rfind("\n", 0, error.position))
        raise DocumentError(name, [Mistake(mark, (), "holds a control character; remove it")]) from None
    except TooBig as error:
        raise DocumentError(name, [Mistake(Mark(1, 1), (), str(error))]) from None
    except RecursionError:
        raise DocumentError(name, [Mistake(Mark(1, 1), (), "is nested too deeply")]) from None
    result: M | None = None
    mistakes = list(builder.mistakes)
    try:
        result = model.model_validate(data, context=context)
    except ValidationError as error:
        for found in _mistakes(error, model, builder.keys, builder.values):
            if found.place not in builder.spoiled:
                mistakes.append(found)
    if mistakes or result is None:
        raise DocumentError(name, mistakes)
    return result, builder.values


def validate(data: Mapping[str, object], name: str, model: type[M], context: object = None) -> M:
    """Build ``model`` from values that come from no file; ``name`` says where they come from."""
    try:
        return model.model_validate(dict(data), context=context)
    except ValidationError as error:
        raise ConfigError("\n".join(f"{name}: {m.text}" for m in _mistakes(error, model, {}, {}))) from None


def _mistakes(
    error: ValidationError, model: type[BaseModel], keys: Mapping[Place, Mark], values: Mapping[Place, Mark]
) -> Iterator[Mistake]:
    for details in error.errors(include_url=False, include_input=True):
        place: Place = details["loc"]
        if details["type"] == "default_factory_not_called" or (details["type"] == "too_short" and details["input"]):
            continue  # follows from another mistake: what is wrong below does not count as there
        if place and place[-1] == "[key]":  # pydantic's sign that the key itself is wrong
            yield Mistake(_nearest_mark(keys, values, place[:-1]), place[:-2], _text(details, model, place[:-1]))
            continue
        cause = details.get("ctx", {}).get("error")
        if isinstance(cause, Mistakes):
            for below, text in cause.items:
                whole = place + below
                yield Mistake(_nearest_mark(values, values, whole), whole, text)
        elif details["type"] in ("extra_forbidden", "missing"):
            yield Mistake(_nearest_mark(keys, values, place), place[:-1], _text(details, model, place))
        else:
            yield Mistake(_nearest_mark(values, values, place), place, _text(details, model, place))


def _nearest_mark(first: Mapping[Place, Mark], values: Mapping[Place, Mark], place: Place) -> Mark:
    """Where ``place`` is in the file, or else the nearest thing around it."""
    if place in first:
        return first[place]
    while place and place not in values:
        place = place[:-1]
    return values.get(place, Mark(1, 1))


_SAID = {
    "string_type": "must be text; write it in quotes",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list",
    "dict_type": "must be keys and values",
    "mapping_type": "must be keys and values",
    "model_type": "must be keys and values",
    "too_short": "must not be empty",
    "string_too_short": "must not be empty",
}


def _text(details: ErrorDetails, model: type[BaseModel], place: Place) -> str:
    kind, given, context = details["type"], details["input"], details.get("ctx", {})
    if kind == "extra_forbidden":
        found = _model_at(model, place[:-1])
        if found is not None and issubclass(found, Document) and (instead := found.elsewhere.get(str(place[-1]))):
            return f'unknown key "{place[-1]}": {instead}'
        return f'unknown key "{place[-1]}"{nearest(str(place[-1]), _known_keys(found))}'
    if kind == "missing":
        return f'the key "{place[-1]}" is missing'
    if kind == "value_error":
        return str(context["error"])
    if given is None and kind != "literal_error":
        return f"{_SAID.get(kind, details['msg'])}; it is empty"
    if kind == "literal_error":
        words = re.findall(r"'([^']*)'", str(context["expected"]))
        said = f'"{given}"' if isinstance(given, str) else "this"
        return f"{said} is not one of {', '.join(words)}{nearest(str(given), words)}"
    if kind in ("greater_than_equal", "less_than_equal", "greater_than", "less_than"):
        bound = context.get("ge", context.get("le", context.get("gt", context.get("lt"))))
        words_for = {"greater_than_equal": "at least", "less_than_equal": "at most"}
        words_for |= {"greater_than": "more than", "less_than": "less than"}
        return f"must be {words_for[kind]} {bound}"
    if kind == "decimal_max_places":
        return f"must have at most {context['decimal_places']} decimals"
    return _SAID.get(kind, details["msg"])


def _known_keys(model: type[BaseModel] | None) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()] if model else []


def _model_at(model: type[BaseModel], place: Place) -> type[BaseModel] | None:
    """The model of what is at ``place``, by walking the models' types."""
    at: Any = model
    for step in place:
        at = _below(at, step)
    at = _bare(at)
    return at if isinstance(at, type) and issubclass(at, BaseModel) else None


def _bare(kind: Any) -> Any:
    """The type without ``Annotated`` and ``| None``."""
    while True:
        if typing.get_origin(kind) is Annotated:
            kind = typing.get_args(kind)[0]
        elif typing.get_origin(kind) in (typing.Union, types.UnionType):
            kind = next(arg for arg in typing.get_args(kind) if arg is not type(None))
        else:
            return kind


def _below(kind: Any, step: str | int) -> Any:
    """The type of what lies under key or index ``step`` of ``kind``."""
    kind = _bare(kind)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        for name, field in kind.model_fields.items():
            if step in (field.alias, name):
                return field.annotation
        return None
    args = typing.get_args(kind)
    return (args[0] if isinstance(step, int) else args[-1]) if args else None


def line_of(name: str, mistake: Mistake) -> str:
    """``pricing.yaml:12:7: providers.kling: …``"""
    where = show(mistake.place)
    return f"{name}:{mistake.mark.line}:{mistake.mark.column}: {where + ': ' if where else ''}{mistake.text}"


def _order(mistake: Mistake) -> tuple[Mark, str]:
    return mistake.mark, show(mistake.place) + mistake.text


def _syntax(error: yaml.MarkedYAMLError) -> Mistake:
    mark = error.problem_mark or error.context_mark
    problem = error.problem or error.context or "cannot be read"
    if "'\\t'" in problem:
        problem = "a tab cannot indent YAML; use spaces"
    elif "single document" in str(error.context):
        problem = 'a second document starts here ("---"); one file is one document'
    elif error.context and error.context != problem:
        problem = f"{problem} ({error.context})"
    return Mistake(Mark(mark.line + 1, mark.column + 1) if mark else Mark(1, 1), (), f"is not YAML: {problem}")
