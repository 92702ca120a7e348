"""The house keeps its own rules: short files, docstrings that begin with a subject, comments neither rare nor thick."""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest
from conftest import REPOSITORY

from convcli.engine import native

PACKAGE = REPOSITORY / "convcli"
FILES = sorted(PACKAGE.rglob("*.py"))
MOST_LINES = 300
#: Files that are longer, with the reason. A file that has become short leaves this table.
LONGER: dict[str, str] = {}

RIDDLE = re.compile(r"(What|Whatever|Whoever|One that|That of)\b")
#: Rooms with docstrings that still open with a riddle; a room leaves this set with its last one.
RIDDLING: set[str] = set()

#: Comments for 100 lines of code in each room, directives for tools not counted.
FEWEST_COMMENTS, MOST_COMMENTS = 5, 9


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def room_of(path: Path) -> str:
    room, _, rest = name_of(path).partition("/")
    return room if rest else "beside the rooms"


ROOMS = sorted({room_of(path) for path in FILES})


def riddles(source: str) -> list[str]:
    """Return the first lines of the docstrings that open with a riddle."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    texts = [ast.get_docstring(node) or "" for node in ast.walk(ast.parse(source)) if isinstance(node, documented)]
    return [text.splitlines()[0] for text in texts if RIDDLE.match(text)]


def count_comments(source: str) -> tuple[int, int]:
    """Return the number of comments that speak to readers and of lines of code, docstrings and blank lines left out."""
    n_comments, code = 0, set()
    begins_statement = True
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            n_comments += not re.match(r"#\s*(noqa|type:)", token.string)
        elif token.type in (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT):
            begins_statement = True
        elif token.type not in (tokenize.NL, tokenize.ENDMARKER):
            if not (token.type == tokenize.STRING and begins_statement):
                code.update(range(token.start[0], token.end[0] + 1))
            begins_statement = False
    return n_comments, len(code)


def test_files_are_short_and_the_longer_ones_are_known() -> None:
    found = {name_of(path) for path in FILES if len(path.read_text(encoding="utf-8").splitlines()) > MOST_LINES}
    assert found == set(LONGER)
    assert all(LONGER.values())


@pytest.mark.parametrize("room", ROOMS)
def test_docstrings_open_with_a_subject_or_a_verb(room: str) -> None:
    files = [path for path in FILES if room_of(path) == room]
    found = {name_of(path): lines for path in files if (lines := riddles(path.read_text(encoding="utf-8")))}
    if room in RIDDLING:
        assert found, f"{room} has no riddle left: take it out of RIDDLING"
    else:
        assert not found


@pytest.mark.parametrize("room", ROOMS)
def test_comments_are_neither_rare_nor_thick(room: str) -> None:
    counts = [count_comments(path.read_text(encoding="utf-8")) for path in FILES if room_of(path) == room]
    n_comments, n_lines = map(sum, zip(*counts, strict=True))
    assert n_lines > 100
    assert FEWEST_COMMENTS <= 100 * n_comments / n_lines <= MOST_COMMENTS


def test_the_compiled_module_is_named_in_the_engine_only() -> None:
    named = {name_of(path) for path in FILES if re.search(r"(?<!\w)_core\b", path.read_text(encoding="utf-8"))}
    assert named == {"engine/native/__init__.py", "engine/native/build.py"}


def test_the_measures_can_fail() -> None:
    source = '"""What is one."""\n\n# why\nx = 1  # noqa: F841\n\n\ndef f():\n    """Do it."""\n    return """\n"""\n'
    assert riddles(source) == ["What is one."]
    assert riddles('"""Whatsoever."""') == []
    assert count_comments(source) == (1, 4)


@pytest.mark.subprocess
def test_one_picture_and_one_shape_walk_through_few_files() -> None:
    """Fewer files are the honest gain at start-up: every one of them is loaded by every turn of a shell loop."""
    walk = subprocess.run(
        [sys.executable, REPOSITORY / "benchmarks" / "walk.py"], capture_output=True, text=True, check=True
    )
    found = re.findall(r"^(\w+): (\d+) files entered, (\d+) Python calls", walk.stderr, re.MULTILINE)
    walked = {command: (int(files), int(calls)) for command, files, calls in found}
    # Without the compiled loops other algorithms are asked too.
    assert 0 < walked["apply"][0] <= (45 if native.core else 50)
    assert 0 < walked["apply"][1] <= 800
    assert 0 < walked["shape"][0] <= 12
