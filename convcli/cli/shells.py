"""The scripts of shells that complete ``convcli``: shown, or put where their shell looks for them."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from convcli.errors import OutputError, UsageError, near_names
from convcli.render.messages import say

#: Set by the scripts, to the name of their shell.
VARIABLE = "_CONVCLI_COMPLETE"
SHELLS = ("bash", "zsh", "fish", "powershell")


def take_request(arguments: Sequence[str]) -> bool:
    """Answer a script, or do what ``--install-completion [SHELL]`` or ``--show-completion [SHELL]`` asks.

    Returns
    -------
    bool
        Whether it was one of these.

    Raises
    ------
    UsageError
        The shell is unknown.
    OutputError
        A file of the shell cannot be written.
    """
    if VARIABLE in os.environ:
        from convcli.cli.completion import answer

        say(answer(os.environ[VARIABLE], arguments))
        return True
    for index, word in enumerate(arguments):
        flag, equals, value = word.partition("=")
        if flag in ("--install-completion", "--show-completion"):
            follows = arguments[index + 1] if len(arguments) > index + 1 else ""
            shell = _known_shell(value if equals else follows)
            if flag == "--show-completion":
                say(script_of(shell).rstrip("\n"))
            else:
                say(_install(shell))
            return True
        if not word.startswith("-"):  # what follows is for a command
            break
    return False


def _known_shell(name: str) -> str:
    """Return the shell of a name, or the one that is running."""
    shell = name.lower() or ("powershell" if sys.platform == "win32" else Path(os.environ.get("SHELL", "")).name)
    shell = "powershell" if shell == "pwsh" else shell
    if shell not in SHELLS:
        near = near_names(shell, SHELLS) or f"--install-completion {' | '.join(SHELLS)}"
        raise UsageError(f"no completion for the shell {shell!r}" if shell else "which shell?", hint=near)
    return shell


def script_of(shell: str) -> str:
    """Return the script of a shell."""
    return Path(__file__).with_name(f"completion.{shell}").read_text(encoding="utf-8")


def _install(shell: str) -> str:
    """Write the script of a shell to where it looks, and return what was done."""
    home = Path.home()
    config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    if shell == "fish":  # reads this folder by itself
        target = config / "fish" / "completions" / "convcli.fish"
        _write(target, script_of(shell))
        return f"fish completion is in {target}; a new terminal has it"
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share") / "convcli"
    target = data / f"completion.{'ps1' if shell == 'powershell' else shell}"
    if shell == "bash":
        start = home / ".bashrc"
    elif shell == "zsh":
        start = Path(os.environ.get("ZDOTDIR") or home) / ".zshrc"
    else:
        place = home / "Documents" / "PowerShell" if sys.platform == "win32" else config / "powershell"
        start = place / "Microsoft.PowerShell_profile.ps1"
    _write(target, script_of(shell))
    # The file of the user's own gets one line, and only once: it is theirs.
    line = f'. "{target}"'
    old = start.read_text(encoding="utf-8") if start.is_file() else ""
    if line not in old.splitlines():
        _write(start, f"{old}{'' if old.endswith(chr(10)) or not old else chr(10)}{line}\n")
    return f"{shell} completion is in {target}, and {start} loads it; a new terminal has it"


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror}", hint="--show-completion prints the script"
        ) from None
