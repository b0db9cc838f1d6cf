"""Every `diffmask …` that the documents tell people to type is understood by the command line."""

import functools
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from diffmask_jax.commands import parse

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "docs" / "guide.md"]


def commands_of(markdown: str) -> Iterator[list[str]]:
    """The words behind `diffmask`: of whole lines in blocks of sh, and of code inside of text.

    Of code inside of text not what leaves something out (…) or offers a choice ({a | b}).
    """
    blocks = re.findall(r"```sh\n(.*?)```", markdown, re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    prose = re.sub(r"```.*?```", "", markdown, flags=re.DOTALL)
    code = re.findall(r"`([^`]+)`", prose)
    lines += [line.replace("\n", " ") for line in code if not re.search(r"[…|\[]", line)]
    for line in lines:
        for command in re.split(r" \| |; ", line):
            words = shlex.split(command, comments=True)
            if words[:1] == ["diffmask"] and len(words) > 2:
                yield words[1:]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_is_understood(document, capsys, monkeypatch):
    monkeypatch.setattr(parse, "_parser", functools.cache(parse._parser))  # made once for all
    commands = list(commands_of(document.read_text(encoding="utf-8")))
    assert len(commands) > 5
    for command in commands:
        try:
            parse.parse(command)
        except SystemExit as end:
            assert end.code == 0, f"{shlex.join(command)}: {capsys.readouterr().err}"


def test_a_command_that_is_not_is_found():
    """The reading itself: continued lines, comments, pipes, and code inside of text."""
    text = (
        "```sh\ndiffmask a \\\n  --b 'c d'  # e\nf | diffmask g h\n```\n`diffmask i j` `diffmask …`"
    )
    assert list(commands_of(text)) == [["a", "--b", "c d"], ["g", "h"], ["i", "j"]]


def anchors_of(markdown: str) -> set[str]:
    """The names that GitHub gives to the headings of a document."""
    headings = re.findall(r"^#+ (.+)$", markdown, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", [*DOCUMENTS, *sorted((ROOT / "docs").glob("*.md"))], ids=str)
def test_every_link_leads_somewhere(document):
    links = re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]+))?[^)]*\)", document.read_text("utf-8"))
    for link, anchor in links:
        if "://" in link:
            continue
        place = document.parent / link if link else document
        assert place.exists(), link
        if anchor and place.suffix == ".md":
            assert anchor in anchors_of(place.read_text("utf-8")), f"{link}#{anchor}"


def test_the_reference_is_built_without_a_warning(tmp_path):
    """`make docs`: of docstrings, whose sections must be what they look like."""
    for module in ("mkdocs", "mkdocstrings", "mkdocstrings_handlers"):
        pytest.importorskip(module, reason="needs pip install 'diffmask_jax[docs]'")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert built.returncode == 0, built.stderr
    reference = (tmp_path / "reference.html").read_text(encoding="utf-8")
    for name in ("Explainer", "Explanation", "run_config", "fit_probe", "hard_concrete"):
        assert re.search(rf'id="diffmask_jax\.[\w.]*\b{name}"', reference), name


def test_every_raw_number_is_linked_where_people_read():
    """A table's raw numbers that no page leads to might as well be gone."""
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    read = "".join(page.read_text(encoding="utf-8") for page in pages)
    raw = sorted(file.name for file in (ROOT / "docs" / "raw").iterdir())
    assert raw and not [name for name in raw if f"raw/{name})" not in read]
