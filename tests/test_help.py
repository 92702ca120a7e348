"""Help: sections, examples that run, and three commands to begin with."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
from conftest import run_cli

from convcli.cli.app import COMMANDS
from convcli.pipeline.request import OPTIONS, SECTIONS


def test_flags_stand_under_the_headings_of_their_rows() -> None:
    text = run_cli("apply", "--help").ok().stdout
    parts = re.split(r"^(\w+):$", text, flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert [name for name in sections if name in SECTIONS] == [*SECTIONS]
    for row in OPTIONS:
        assert re.search(rf"{row.flag}\b", sections[row.section]), row.flag
    assert "--help" in sections["Other"]


def test_the_first_help_shows_three_commands() -> None:
    text = run_cli("--help").ok().stdout
    assert len(re.findall(r"^    convcli ", text, flags=re.MULTILINE)) == 3
    assert run_cli().stdout == text or run_cli().stderr == text


@pytest.mark.parametrize("group", [[], ["kernels"], ["job"]], ids=" ".join)
def test_summaries_of_commands_are_whole(group: list[str]) -> None:
    commands = run_cli(*group, "--help").ok().stdout.partition("Commands:\n")[2].splitlines()
    assert len(commands) >= 4
    assert [line for line in commands if not line.endswith(".") or line.endswith("...")] == []


def examples() -> list[str]:
    found: list[str] = []
    for words in ([], *([name] for name in COMMANDS), ["kernels", "list"], ["kernels", "show"], ["kernels", "export"]):
        lines = run_cli(*words, "--help").ok().stdout.splitlines()
        # A remark stands behind two spaces.
        found += [line.strip().partition("  ")[0] for line in lines if line.startswith("    convcli ")]
    return [
        line
        for line in found
        if not re.search(r"net\.safetensors|stack\.toml|convcli compare", line) and not line.startswith("convcli job")
    ]


EXAMPLES = examples()


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 15


@pytest.mark.parametrize("line", EXAMPLES)
def test_examples_in_help_run(line: str, grey_photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for name in ("photo.jpg", "photos/a.jpg"):
        run_cli("apply", grey_photo, "-k", "identity", "-o", tmp_path / name, "-q").ok()
    run_cli(*shlex.split(line)[1:], *(["-q"] if " apply " in line else [])).ok()
    shutil.rmtree(tmp_path / "photos")
