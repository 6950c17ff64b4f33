"""Secrets: read from the environment or a file, held so that no log, page or traceback shows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NoReturn

from pydantic import PlainValidator, ValidationInfo, WithJsonSchema

MAX_SECRET_BYTES = 64 << 10


class Secret:
    """A text that hides itself. Only ``reveal()`` gives it away."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself: for the one call that needs it."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not written anywhere")


@dataclass(frozen=True)
class Surroundings:
    """What a configuration file may refer to: the environment, and files relative to its own folder."""

    env: Mapping[str, str] = field(repr=False)
    folder: Path = Path()

    def variable(self, name: str) -> str | None:
        """The environment variable ``name``, or the content of the file that ``name + "_FILE"`` gives.

        Empty is unset, as compose files leave it. Raises ValueError when both are set or the file cannot be read.
        """
        plain, file = self.env.get(name, ""), self.env.get(f"{name}_FILE", "")
        if plain and file:
            raise ValueError(f"both {name} and {name}_FILE are set; unset one of them")
        if file:
            return self.file(file, f"{name}_FILE: ")
        return plain.strip() or None

    def file(self, path: str, said: str = "") -> str:
        """The secret in a file, without the line end. Raises ValueError in words for people."""
        whole = self.folder / path
        try:
            data = whole.read_bytes()[: MAX_SECRET_BYTES + 1]
            text = data.decode("utf-8").strip()
        except OSError as error:
            raise ValueError(f"{said}{whole} cannot be read: {error.strerror or error}") from None
        except UnicodeDecodeError:
            raise ValueError(f"{said}{whole} is not text") from None
        if not text or len(data) > MAX_SECRET_BYTES:
            raise ValueError(f"{said}{whole} {'holds no secret' if data else 'is empty'}")
        return text

    def refer(self, reference: str) -> str | None:
        """``env:NAME`` or ``file:/path`` → the text; None when ``reference`` is neither. Raises ValueError."""
        kind, _, rest = reference.partition(":")
        rest = rest.strip()
        if kind == "file":
            if not rest:
                raise ValueError("file: needs a path, such as file:/run/secrets/stripe_api_key")
            return self.file(rest)
        if kind == "env":
            if not rest:
                raise ValueError("env: needs the name of a variable, such as env:STRIPE_API_KEY")
            text = self.variable(rest)
            if text is None:
                raise ValueError(f"{rest} is not set; set it, or {rest}_FILE to the path of a file that holds it")
            return text
        return None


def surroundings(info: ValidationInfo[Any]) -> Surroundings:
    """Those of the file being read; none for a model built in Python."""
    return info.context if isinstance(info.context, Surroundings) else Surroundings({})


def secret_reference(value: object, info: ValidationInfo[Any]) -> Secret:
    """``env:NAME`` or ``file:/path`` → the secret there. Raises ValueError in words for people."""
    if isinstance(value, Secret):
        return value
    text = surroundings(info).refer(value) if isinstance(value, str) else None
    if text is None:
        raise ValueError(
            "a secret is never written in this file; give env:NAME (a variable) or file:/path (a file that holds it)"
        )
    return Secret(text)


SecretReference = Annotated[
    Secret,
    PlainValidator(secret_reference),
    WithJsonSchema({"type": "string", "pattern": "^(env|file):.+$", "description": "env:NAME or file:/path"}),
]
"""``env:NAME`` or ``file:/path`` in the file, a ``Secret`` in Python; a literal secret is refused."""
