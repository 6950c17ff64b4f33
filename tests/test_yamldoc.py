"""Each kind of mistake in a YAML file, with the exact line it is answered with."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from exporter.errors import ConfigError
from exporter.yamldoc import DecimalText, Document, load, nearest, parse, validate


class Leaf(Document):
    prefix: str | None = None
    price: DecimalText | None = None


class Tree(Document):
    name: str = "x"
    kind: Literal["flat", "tiered"] = "flat"
    count: int = Field(default=1, ge=1, le=5)
    big: bool = False
    words: tuple[str, ...] = ()
    leaves: dict[str, Leaf] = Field(default_factory=dict)
    list_: tuple[Leaf, ...] | None = Field(default=None, alias="list")
    needed: str


def mistakes(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text, "f.yaml", Tree)
    return str(caught.value)


BAD = {
    "unknown key": (
        "needed: a\nlist:\n  - {prefx: a}\n",
        'f.yaml:3:6: list[0]: unknown key "prefx" (did you mean "prefix"?)',
    ),
    "unknown key in a mapping": (
        "needed: a\nleaves: {a.b c: {pric: 1}}\n",
        'f.yaml:2:18: leaves."a.b c": unknown key "pric" (did you mean "price"?)',
    ),
    "unknown key, nothing near": ("needed: a\nzzz: 1\n", 'f.yaml:2:1: unknown key "zzz"'),
    "missing key": ("name: a\n", 'f.yaml:1:1: the key "needed" is missing'),
    "key twice": ("needed: a\nneeded: b\n", 'f.yaml:2:1: key "needed" is here twice (first on line 1)'),
    "not text": ("needed: 1\n", "f.yaml:1:9: needed: must be text; write it in quotes"),
    "no value": ("needed:\n", "f.yaml:1:8: needed: must be text; write it in quotes; it is empty"),
    "not a whole number": ("needed: a\ncount: 1.5\n", "f.yaml:2:8: count: must be a whole number"),
    "too small": ("needed: a\ncount: 0\n", "f.yaml:2:8: count: must be at least 1"),
    "too large": ("needed: a\ncount: 9\n", "f.yaml:2:8: count: must be at most 5"),
    "not a boolean": ("needed: a\nbig: yes\n", "f.yaml:2:6: big: must be true or false"),
    "not a list": ("needed: a\nwords: b\n", "f.yaml:2:8: words: must be a list"),
    "not a mapping": ("needed: a\nleaves: [b]\n", "f.yaml:2:9: leaves: must be keys and values"),
    "not a mapping at the top": ("- a\n", "f.yaml:1:1: must be keys and values"),
    "a scalar at the top": ("hello\n", "f.yaml:1:1: must be keys and values"),
    "wrong word": (
        "needed: a\nkind: tierd\n",
        'f.yaml:2:7: kind: "tierd" is not one of flat, tiered (did you mean "tiered"?)',
    ),
    "wrong word, no text": ("needed: a\nkind: 3\n", "f.yaml:2:7: kind: this is not one of flat, tiered"),
    "negative": ("needed: a\nleaves: {a: {price: -1}}\n", "f.yaml:2:21: leaves.a.price: must not be negative"),
    "negative text": ('needed: a\nleaves: {a: {price: "-1"}}\n', "f.yaml:2:21: leaves.a.price: must not be negative"),
    "no number": (
        "needed: a\nleaves: {a: {price: x}}\n",
        'f.yaml:2:21: leaves.a.price: must be a decimal number such as "0.14"',
    ),
    "exponent in text": (
        'needed: a\nleaves: {a: {price: "1e9"}}\n',
        'f.yaml:2:21: leaves.a.price: must be a decimal number such as "0.14"',
    ),
    "a boolean for a number": (
        "needed: a\nleaves: {a: {price: true}}\n",
        'f.yaml:2:21: leaves.a.price: must be a decimal number such as "0.14"',
    ),
    "infinite": ("needed: a\nleaves: {a: {price: .inf}}\n", "f.yaml:2:21: leaves.a.price: must be a finite number"),
    "not a number at all": (
        "needed: a\nleaves: {a: {price: .NaN}}\n",
        "f.yaml:2:21: leaves.a.price: must be a finite number",
    ),
    "does not round-trip": (
        "needed: a\nleaves: {a: {price: 0.10000000000000000001}}\n",
        "f.yaml:2:21: leaves.a.price: has more digits than a YAML number keeps; "
        'write it in quotes: "0.10000000000000000001"',
    ),
    "absurdly long": (
        f'needed: a\nleaves: {{a: {{price: "{"9" * 50}"}}}}\n',
        "f.yaml:2:21: leaves.a.price: has more than 40 digits",
    ),
    "long whole number": (
        f"needed: a\ncount: {'9' * 50}\n",
        f'f.yaml:2:8: count: has more digits than a YAML number keeps; write it in quotes: "{"9" * 50}"',
    ),
    "tagged nonsense": ("needed: a\ncount: !!int twelve\n", 'f.yaml:2:8: count: "twelve" is not a number'),
    "foreign tag": ("needed: !env X\n", "f.yaml:1:9: needed: the tag !env is not supported"),
    "foreign tag on a mapping": (
        "needed: a\nleaves: !!python/object:os.system {}\n",
        "f.yaml:2:9: leaves: the tag !!python/object:os.system is not supported",
    ),
    "merge key": (
        "needed: a\nleaves: {a: &a {price: 1}, b: {<<: *a}}\n",
        'f.yaml:2:32: leaves.b: merging with "<<" is not supported; write the keys out',
    ),
    "a list as key": ("needed: a\n? [b]\n: c\n", "f.yaml:2:3: a key must be plain text"),
    "tab": (
        "needed: a\nleaves:\n\ta: {}\n",
        "f.yaml:3:1: is not YAML: a tab cannot indent YAML; use spaces",
    ),
    "unclosed": (
        "needed: [a\n",
        "f.yaml:2:1: is not YAML: expected ',' or ']', but got '<stream end>' (while parsing a flow sequence)",
    ),
    "bad indent": (
        "needed: a\n  big: true\n",
        "f.yaml:2:6: is not YAML: mapping values are not allowed here",
    ),
    "two documents": (
        "needed: a\n---\nneeded: b\n",
        'f.yaml:2:1: is not YAML: a second document starts here ("---"); one file is one document',
    ),
    "unknown alias": ("needed: *a\n", "f.yaml:1:9: is not YAML: found undefined alias 'a'"),
    "control character": ("needed: a\nname: \x00b\n", "f.yaml:2:7: holds a control character; remove it"),
    "empty": ("", "f.yaml:1:1: the file is empty"),
    "only comments": ("# nothing\n", "f.yaml:1:1: the file is empty"),
    "alias in itself": ("needed: a\nlist: &a [*a]\n", "f.yaml:1:1: the alias at list[0] holds itself"),
    "too deep": ("needed: " + "[" * 3000, "f.yaml:1:1: is nested too deeply"),
}


@pytest.mark.parametrize(("text", "expected"), BAD.values(), ids=BAD.keys())
def test_each_mistake_has_its_own_line(text: str, expected: str) -> None:
    assert mistakes(text) == expected


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file() -> None:
    text = "kind: x\nbig: 1\nbig: 2\nneeded: 3\nextra: 1\n"
    assert mistakes(text).splitlines() == [
        'f.yaml:1:7: kind: "x" is not one of flat, tiered',
        "f.yaml:2:6: big: must be true or false",
        'f.yaml:3:1: key "big" is here twice (first on line 2)',
        "f.yaml:4:9: needed: must be text; write it in quotes",
        'f.yaml:5:1: unknown key "extra"',
    ]


def test_an_alias_bomb_is_refused_before_it_fills_memory() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    assert mistakes("\n".join(lines)) == "f.yaml:1:1: its aliases expand to more than 200000 values"


def test_plain_words_are_read_as_in_yaml_1_2() -> None:
    tree = parse("needed: no\nwords: [on, 12:30, 2026-01-01, 010, y, 0x1F, 1_000]\nbig: true\n", "f", Tree)
    assert tree.needed == "no"
    assert tree.words == ("on", "12:30", "2026-01-01", "010", "y", "0x1F", "1_000")
    assert tree.big is True


def test_aliases_are_written_out() -> None:
    tree = parse("needed: a\nleaves: {a: &a {price: 1}, b: *a}\n", "f", Tree)
    assert tree.leaves["a"] == tree.leaves["b"]


@given(st.decimals(min_value=0, max_value=10**9, places=9))
def test_a_decimal_string_keeps_every_digit(number: Decimal) -> None:
    tree = parse(f'needed: a\nleaves: {{a: {{price: "{number:f}"}}}}\n', "f", Tree)
    assert tree.leaves["a"].price == number


@given(st.floats(min_value=1e-20, max_value=1e15))
def test_a_yaml_number_is_taken_for_exactly_what_is_written(number: float) -> None:
    tree = parse(f"needed: a\nleaves: {{a: {{price: {number!r}}}}}\n", "f", Tree)
    assert tree.leaves["a"].price == Decimal(repr(number))


@given(st.text())
def test_any_text_gives_a_tree_or_one_error(text: str) -> None:
    with pytest.raises(ConfigError, match=r"\Af:\d+:\d+: "):
        parse(f"{text}\nneeded: 1", "f", Tree)


def test_files(tmp_path: Path) -> None:
    good = tmp_path / "good.yaml"
    good.write_bytes("\ufeffneeded: é\n".encode())
    assert load(good, Tree).needed == "é"
    for name, content, said in (
        ("latin.yaml", b"needed: a\nname: \xe9\n", ":2:7: is not UTF-8 text; save the file as UTF-8"),
        ("big.yaml", b"#" * (5 << 20), ": is larger than 4 MiB; is this the right file?"),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(ConfigError) as caught:
            load(path, Tree)
        assert str(caught.value) == f"{path}{said}"
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "none.yaml", Tree)
    assert str(caught.value) == f"{tmp_path / 'none.yaml'}: cannot be read: No such file or directory"
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(tmp_path, Tree)


def test_values_from_no_file_name_their_origin() -> None:
    assert validate({"needed": "a"}, "environment", Tree).needed == "a"
    with pytest.raises(ConfigError) as caught:
        validate({"count": 9}, "environment", Tree)
    assert str(caught.value) == 'environment: must be at most 5\nenvironment: the key "needed" is missing'


def test_numbers_given_in_python() -> None:
    assert Leaf(price=Decimal("0.1")).price == Decimal("0.1")
    for wrong in (Decimal("NaN"), Decimal("Infinity"), Decimal(-1), 0.1):
        with pytest.raises(ValidationError):
            Leaf.model_validate({"price": wrong})


def test_nearest() -> None:
    assert nearest("PREFX", ["prefix", "regex"]) == ' (did you mean "prefix"?)'
    assert nearest("zzz", ["prefix"]) == ""
