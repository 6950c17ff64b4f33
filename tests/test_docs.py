"""The pages as a whole: each link leads somewhere, each command that stands in one can be given."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter import cli

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "benchmarks/*.md", "grafana/**/*.md", "prometheus/**/*.md", "tests/data/*.md")
    for path in ROOT.glob(pattern)
    if "node_modules" not in path.parts
)
SOURCES = sorted(
    path
    for pattern in ("exporter/**/*.py", "exporter/**/*.yaml", "grafana/boards/*.py", "prometheus/**/*.yml", "*.y*ml")
    for path in ROOT.glob(pattern)
)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def prose(page: str) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", page, flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """What its headings can be linked by, as GitHub and most others make it of their words."""
    found: dict[str, int] = {}
    for heading in re.findall(r"^#+ +(.+?) *$", prose(page.read_text("utf-8")), re.MULTILINE):
        words = re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        found[anchor] = found.get(anchor, -1) + 1
    return {f"{anchor}-{n}" if n else anchor for anchor, last in found.items() for n in range(last + 1)}


def links(page: Path) -> Iterator[str]:
    text = prose(page.read_text("utf-8"))
    yield from re.findall(r"\]\(([^)\s]+)\)", text)
    yield from re.findall(r'(?:src|srcset|href)="([^"]+)"', text)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    wrong = []
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            wrong.append(link)
    assert wrong == []


def test_pages_that_the_code_names_are_there() -> None:
    wrong = []
    for source in SOURCES:
        text = source.read_text("utf-8")
        for file, anchor in re.findall(r"(?<![\w/-])((?:docs|benchmarks)/[\w-]+\.md)(?:#([\w-]+))?", text):
            if not (ROOT / file).is_file() or (anchor and anchor not in anchors(ROOT / file)):
                wrong.append(f"{name_of(source)}: {file}#{anchor}")
    assert wrong == []


def test_the_check_of_links_can_fail(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# One: `two` (3)\n\n## Two\n\n## Two\n\n```\n# no heading\n```\n[a](#one-two-3) [b](#there) ![c](c.png)"
    )
    assert anchors(page) == {"one-two-3", "two", "two-1"}
    assert list(links(page)) == ["#one-two-3", "#there", "c.png"]
    with pytest.raises(AssertionError, match=r"\['#there', 'c\.png'\]"):
        test_links_lead_somewhere(page)


# --- commands -------------------------------------------------------------------------------------------------------


def commands() -> Iterator[tuple[str, str]]:
    """``(page, line)``: each call of margin-exporter in a block of code, or in code within a line if it has flags."""
    for page in PAGES:
        text = page.read_text("utf-8")
        blocks = re.findall(r"^```(?:sh|console|)\n(.*?)^```|^((?: {4,}.*\n)+)", text, re.MULTILINE | re.DOTALL)
        lines = [line for pair in blocks for line in re.sub(r"\\\n", " ", "".join(pair)).splitlines()]
        lines += re.findall(r"`(margin-exporter [^`]*)`", prose(text))
        for line in lines:
            found = re.search(r"(?:^|[ /$])margin-exporter +(?=[a-z])([^|>]*)", re.sub(r"<\(.*?\)", "FILE", line))
            if found and not re.search(r"…|\.\.\.|^\S* \|", found[1]):
                yield name_of(page), found[1].split(" #")[0].strip()


def test_commands_in_the_pages_can_be_given(capsys: pytest.CaptureFixture[str]) -> None:
    for page, line in sorted(set(commands())):
        words = shlex.split(line)
        try:
            cli.build_parser().parse_args(words)
        except SystemExit:
            # A name alone, such as `margin-exporter pricing lint`, stands for the command, whatever else it needs.
            named = words[0] in cli.COMMANDS and not any(word.startswith("-") for word in words)
            assert named, f"{page}: {line}\n{capsys.readouterr().err}"


def test_the_check_of_commands_can_fail() -> None:
    found = {line for page, line in commands() if page == "docs/reports.md"}
    assert "report --window 2026-10 --by customer" in found
    with pytest.raises(SystemExit):
        cli.build_parser().parse_args(["report", "--windows", "2026-10"])


def test_targets_of_make_are_there() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for page in PAGES:
        named = re.findall(r"(?:^ {4,}|`)make ([a-z]+)", page.read_text("utf-8"), re.MULTILINE)
        assert set(named) <= targets, name_of(page)


def files() -> list[str]:
    """What git tracks; in a copy that git does not know, all that lies there."""
    if (git := shutil.which("git")) is not None:
        said = subprocess.run([git, "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
        if tracked := said.stdout.splitlines():
            return tracked
    return [name_of(path) for path in ROOT.rglob("*") if path.is_file()]


def test_files_that_pages_name_are_there() -> None:
    below = {part for file in files() for part in (file, *map(str, Path(file).parents))}
    wrong = []
    for page in PAGES:
        for named in re.findall(
            r"`((?:exporter|docs|grafana|prometheus|benchmarks|tests)/\w[\w./-]*)`", page.read_text("utf-8")
        ):
            if named.rstrip("/") not in below:
                wrong.append(f"{name_of(page)}: {named}")
    assert wrong == []
