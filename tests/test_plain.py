"""Plain command lines are read without Typer: they mean the same there and here, and no mistake is read here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from conftest import run_cli
from hypothesis import given
from hypothesis import strategies as st

from convcli.cli.app import build_app
from convcli.cli.main import read_plain
from convcli.pipeline.inputs import ApplyCall
from convcli.pipeline.request import OPTIONS

SWITCHES = sorted(row.flag for row in OPTIONS if row.kind is bool)
VALUES = sorted(row.flag for row in OPTIONS if row.kind in (str, list))


def read_by_typer(arguments: list[str]) -> ApplyCall | None:
    """Return what Typer reads; ``None`` where it writes help or a mistake."""
    calls: list[ApplyCall] = []
    try:
        with mock.patch("convcli.cli.apply.run_apply", lambda call, **_: calls.append(call)):
            build_app(arguments)(arguments, prog_name="convcli", obj=False, standalone_mode=False)
    except Exception:  # noqa: BLE001 - whatever its mistakes are called
        assert not calls
    return calls[0] if calls else None


def _options() -> dict[str, Any]:
    from typer.main import get_command

    group: Any = get_command(build_app(["apply"]))
    return {one.name: one for one in group.commands["apply"].params if one.param_type_name == "option"}


def test_the_flags_of_typer_are_the_rows() -> None:
    options = _options()
    assert set(options) - {"help"} == {row.key for row in OPTIONS}
    for row in OPTIONS:
        one = options[row.key]
        assert set(one.opts) == {row.flag, row.short} - {""}
        assert one.is_flag == (row.kind is bool)
        assert one.type.name.startswith("int") == (row.kind is int)
        assert one.multiple == (row.kind is list)
        assert one.help == row.meaning


_FLAGS = [name for row in OPTIONS for name in (row.flag, row.short) if name]
_WORDS = st.sampled_from(
    ["a.png", "-", "sobel", "3", "2x3", "", "-1", "--", "-kq", "-rq", "--help", "--strid", "--x=1"]
)
_GLUED = st.builds(lambda flag, value: f"{flag}={value}", st.sampled_from(_FLAGS), st.sampled_from(["3", "", "a=b"]))


@given(words=st.lists(_WORDS | _GLUED | st.sampled_from(_FLAGS), max_size=7))
def test_what_is_read_here_is_what_typer_reads(words: list[str]) -> None:
    plain = read_plain(words)
    if plain is not None:
        assert plain == read_by_typer(["apply", *words])


@given(
    inputs=st.lists(st.sampled_from(["a.png", "-", "b c.jpg", "Ä.tif"]), max_size=3),
    switches=st.lists(st.sampled_from(SWITCHES), max_size=3),
    texts=st.lists(st.tuples(st.sampled_from(VALUES), st.sampled_from(["1", "x=y", "a b", "-"])), max_size=4),
)
def test_plain_words_are_read_here(inputs: list[str], switches: list[str], texts: list[tuple[str, str]]) -> None:
    words = [*switches, *(word for pair in texts for word in pair)]
    plain = read_plain([*words, *inputs])
    assert plain is not None
    assert plain == read_by_typer(["apply", *words, *inputs])


@pytest.mark.parametrize("words", [["-k"], ["-k", "sobel", "--jobs", "two"], ["--no-such"], ["-qx"], ["--overwrite=1"]])
def test_mistakes_are_left_to_typer(words: list[str]) -> None:
    assert read_plain(["a.png", *words]) is None
    assert run_cli("apply", "a.png", *words).exit_code == 2


@pytest.mark.subprocess
def test_a_plain_command_loads_no_typer(photo: Path, tmp_path: Path) -> None:
    probe = (
        "import sys\nfrom convcli.cli import main\ntry:\n    main(sys.argv[1:])\nexcept SystemExit: pass\n"
        "print('typer' in sys.modules)"
    )
    for flag, loads in (("--overwrite", False), ("-kbox:3", True)):
        command = [sys.executable, "-c", probe, "apply", photo, "-k", "sobel", "-q", "-o", tmp_path / "o.png", flag]
        result = subprocess.run(command, capture_output=True, text=True, check=True)
        assert result.stdout == f"{loads}\n"
