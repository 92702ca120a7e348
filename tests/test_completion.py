"""Completion: words for every place of a line, in every shell that is installed, and where its script goes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY, run_cli

from convcli.banks.library import list_kernels
from convcli.cli.completion import SHELLS, complete, script_of, split_line
from convcli.pipeline.request import OPTIONS

FOLDER = REPOSITORY / "convcli" / "cli"


def offered(*words: str) -> list[str]:
    return [word for word, _ in complete(words) if word.startswith(words[-1])]


def test_every_word_of_a_row_is_offered() -> None:
    for row in OPTIONS:
        if row.values and row.kind is not bool:
            assert offered("apply", "x.png", row.flag, "") == [*row.values], row.flag
            assert offered("apply", f"{row.flag}=") == [f"{row.flag}={word}" for word in row.values]


def test_names_families_and_aliases_are_offered() -> None:
    names = set(offered("apply", "-k", ""))
    assert {entry.name for entry in list_kernels()} <= names
    assert {"blur", "hadamard"} <= names
    assert offered("kernels", "show", "gabor")[:1] == ["gabor"]
    assert "gabor:" in offered("kernels", "show", "gabor")
    assert offered("compare", "x.png", "--kernel", "kirs") == ["kirsch"]


def test_parameters_are_offered_once_and_then_their_values() -> None:
    assert offered("apply", "-k", "gabor:wave") == ["gabor:wavelength="]
    more = offered("apply", "-k", "gabor:wavelength=4,")
    assert "gabor:wavelength=4,angle=" in more
    assert not any(word.endswith(",wavelength=") for word in more)
    assert offered("apply", "-k", "gabor:part=") == [f"gabor:part={word}" for word in ("real", "imaginary", "pair")]
    assert offered("apply", "-k", "gabor:dc_free=") == ["gabor:dc_free=true", "gabor:dc_free=false"]
    assert offered("apply", "-k", "sobel#") == ["sobel#x", "sobel#y"]
    assert offered("apply", "-k", "no-such:") == offered("apply", "-k", "no-such#") == []


def test_flags_commands_and_the_words_of_commands_are_offered() -> None:
    assert {"apply", "kernels", "play"} <= set(offered(""))
    assert offered("kernels", "") == ["list", "show", "check", "export"]
    assert offered("apply", "--padding-m") == ["--padding-mode"]
    assert "--target" in offered("shape", "--")
    assert "conv" in offered("shape", "3x8x8", "")
    assert "toml" in offered("kernels", "export", "sobel", "--format", "")
    assert "viridis" in offered("apply", "--colormap", "")
    assert "edge" in offered("kernels", "list", "--tag", "")
    # Files are the shell's own: nothing is offered in their place.
    assert offered("apply", "pho") == offered("apply", "-o", "") == offered("apply", "x.png", "--report", "") == []


def test_a_line_is_split_as_the_shell_does_and_may_end_in_quotes() -> None:
    assert split_line("convcli apply 'a b' \"c ") == ["apply", "a b", "c "]
    assert split_line("convcli kernels show gabor:") == ["kernels", "show", "gabor:"]


@pytest.fixture
def shell_environment(tmp_path: Path) -> dict[str, str]:
    program = tmp_path / "bin" / "convcli"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m convcli "$@"\n')
    program.chmod(0o755)
    return {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}", "PYTHONPATH": str(REPOSITORY)}


BASH = """
source completion.bash
compopt() { echo "open $2"; }
try() { COMP_LINE="$1"; COMP_POINT=${#1}; COMPREPLY=(); _convcli convcli; printf '%s\\n' "${COMPREPLY[@]}"; }
COMP_WORDBREAKS=$' \\t\\n"><=;|&(:'"'"
try "convcli apply 'my cat.png' -k gabor:wave"; try "convcli apply x --tone=sig"; try "convcli compare x -k kirs"
"""
ZSH = """
compdef() { : }
compadd() { print -r -- "compadd $#"; print -rl -- "${(@P)@[-1]}" }
_files() { print files }
source completion.zsh
try() { words=("$@"); CURRENT=$#words; _convcli }
try convcli apply "'my cat.png'" -k gabor:wave
try convcli compare x -k kirs
try convcli apply pho
"""
FISH = """
source completion.fish
complete -C "convcli apply 'my cat.png' -k gabor:wave"
complete -C "convcli compare x -k kirs"
complete -C "convcli apply completion.f"
"""


@pytest.mark.subprocess
@pytest.mark.parametrize(
    ("shell", "script", "expected"),
    [
        ("bash", BASH, ["open nospace", "wavelength=", "signed", "kirsch"]),
        ("zsh", ZSH, ["compadd 7", "gabor:wavelength=", "compadd 5", "kirsch", "files"]),
        ("fish", FISH, ["gabor:wavelength=\tof the wave [8.0 px]", "kirsch\tedges in eight directions; the maximum is "
                        "the strength", "completion.fish"]),
    ],
    ids=["bash", "zsh", "fish"],
)  # fmt: skip
def test_the_scripts_work_in_their_shells(
    shell: str, script: str, expected: list[str], shell_environment: dict[str, str]
) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"no {shell} on this machine")
    quiet = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}[shell]
    result = subprocess.run(
        [program, *quiet, "-c", script], cwd=FOLDER, env=shell_environment, capture_output=True, text=True, check=False
    )
    assert result.stdout.splitlines() == expected, result.stderr


@pytest.mark.subprocess
def test_each_shell_gets_its_own_script_once(tmp_path: Path) -> None:
    environment = {**os.environ, "HOME": str(tmp_path), "SHELL": "/bin/bash", "PYTHONPATH": str(REPOSITORY)}
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "ZDOTDIR"):
        environment.pop(name, None)

    def install(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "convcli", *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    (tmp_path / ".zshrc").write_text("alias ll='ls -l'")
    for _ in range(2):
        assert "zsh completion is in" in install("--install-completion", "zsh").stdout
    script = tmp_path / ".local" / "share" / "convcli" / "completion.zsh"
    assert script.read_text() == script_of("zsh")
    assert (tmp_path / ".zshrc").read_text() == f"alias ll='ls -l'\n. \"{script}\"\n"
    assert "bash completion" in install("--install-completion").stdout
    assert "fish completion" in install("--install-completion=fish").stdout
    assert "powershell completion" in install("--install-completion", "pwsh").stdout
    assert sum(path.is_file() and path.name.startswith("completion") for path in script.parent.iterdir()) == 3
    refused = install("--install-completion", "tcsh")
    assert refused.returncode == 2
    assert "no completion for the shell 'tcsh'" in refused.stderr
    assert install("--show-completion", "fish").stdout.strip() == script_of("fish").strip()


def test_the_scripts_are_there_and_name_the_variable() -> None:
    for shell in SHELLS:
        assert "_CONVCLI_COMPLETE" in script_of(shell)


def test_help_says_how_to_install_it() -> None:
    assert "--install-completion" in run_cli("--help").ok().stdout
