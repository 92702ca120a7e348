"""Completion of commands, flags and their values in bash, zsh, fish and PowerShell.

The script of a shell, shown or put where the shell looks for it, calls ``convcli`` with ``_CONVCLI_COMPLETE=SHELL`` and
the words up to the cursor; a line of the answer is a word and, after a tab, what it means. Where there is no answer the
shell completes names of files.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from convcli.errors import ConvcliError, OutputError, UsageError, near_names
from convcli.render.text import say

#: Words that shells take as they are: others would have to be quoted in each shell's own way.
_PLAIN = re.compile(r"[\w.,:=#+/@%-]+\Z")
#: Set by the scripts, to the name of their shell.
VARIABLE = "_CONVCLI_COMPLETE"
SHELLS = ("bash", "zsh", "fish", "powershell")
Pairs = Iterable[tuple[str, str]]


def take_request(arguments: Sequence[str]) -> bool:
    """Answer a script, or do what ``--install-completion`` or ``--show-completion`` asks; return whether it was one."""
    if VARIABLE in os.environ:
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


def answer(shell: str, words: Sequence[str]) -> str:
    """Return the answer to a script: lines of words that may follow those behind ``convcli``, the last one begun."""
    if shell == "bash" and words:
        words = split_line(words[0])
    elif os.environ.get("_CONVCLI_COMPLETE_EMPTY"):  # PowerShell leaves empty words out
        words = [*words, ""]
    begun = words[-1] if words else ""
    found = [pair for pair in complete(words) if pair[0].startswith(begun) and _PLAIN.match(pair[0])]
    if shell == "bash":
        # Bash replaces only what stands behind the last of its word breaks.
        breaks = "".join(mark for mark in ":=" if mark in os.environ.get("COMP_WORDBREAKS", ":="))
        kept = max((begun.rfind(mark) for mark in breaks), default=-1) + 1
        return "\n".join(word[kept:] for word, _ in found)
    return "\n".join(f"{word}\t{' '.join(about.split())}" for word, about in found)


def split_line(line: str) -> list[str]:
    """Return the words behind the program's name of a line that may end within quotes; the last may be empty.

    Examples
    --------
    >>> split_line("convcli apply 'my cat.png' -k gab"), split_line("convcli apply ")
    (['apply', 'my cat.png', '-k', 'gab'], ['apply', ''])
    """
    # shlex would refuse a line that ends within quotes, as lines do that are being typed.
    words: list[str] = []
    word, quote, begun = "", "", False
    for mark in line:
        if quote:
            quote, word = ("", word) if mark == quote else (quote, word + mark)
        elif mark in "'\"":
            quote, begun = mark, True
        elif mark.isspace():
            words += [word] if begun else []
            word, begun = "", False
        else:
            word, begun = word + mark, True
    return [*words, word][1:]


def complete(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield (word, meaning) of everything that may stand in the place of the last word.

    Examples
    --------
    >>> [word for word, _ in complete(["apply", "--tone", ""])][:3]
    ['auto', 'clip', 'abs']
    >>> [word for word, _ in complete(["kernels", "show", "gabor:wavelength=4,ph"]) if "phase" in word]
    ['gabor:wavelength=4,phase=']
    """
    from typer.main import get_command

    from convcli.cli.app import build_app

    *before, begun = words or [""]
    # Typer's own commands: flags that are added to them are completed without a word here.
    node: Any = get_command(build_app(before))
    place, option = 0, None
    for word in before:
        if option is not None:  # this word is its value
            option = None
        elif word.startswith("-") and word != "-":
            option = None if "=" in word else _option(node, word)
        elif word in getattr(node, "commands", {}):
            node = node.commands[word]
        else:
            place += 1
    flag, equals, value = begun.partition("=")
    if option is not None:
        yield from _values(option, begun)
    elif begun.startswith("-") and equals and (option := _option(node, flag)) is not None:
        yield from ((f"{flag}={word}", about) for word, about in _values(option, value))
    elif begun.startswith("-"):
        options = (one for one in node.params if one.param_type_name == "option")
        yield from ((name, one.help or "") for one in options for name in one.opts if name.startswith("--"))
    elif hasattr(node, "commands"):
        yield from ((name, command.get_short_help_str(60)) for name, command in node.commands.items())
    else:
        # The last argument of a command may take all further words.
        arguments = [one for one in node.params if one.param_type_name == "argument"]
        if arguments:
            yield from _values(arguments[min(place, len(arguments) - 1)], begun, command=node.name)


def _option(node: Any, word: str) -> Any:
    """Return the option of a word if it takes a value."""
    options = (one for one in node.params if one.param_type_name == "option")
    return next((one for one in options if word in one.opts and not one.is_flag), None)


def _values(parameter: Any, begun: str, *, command: str = "") -> Pairs:
    """Return what may stand for the value of a parameter; nothing where it is a file, or free."""
    from convcli.pipeline.request import OPTIONS

    name = parameter.name
    if name in ("kernels", "kernel", "spec"):
        return kernel_specs(begun)
    names = _names_for("layer" if (name, command) == ("words", "shape") else name)
    if names:
        return [(word, "") for word in names]
    row = next((row for row in OPTIONS if row.key == name), None)
    if row is not None and row.values:
        return [(word, "") for word in row.values]
    # Other metavars, such as FILE.json|md, hold no words: words by bars are all there is: `float32|float64`.
    words = (parameter.metavar or "").split("|")
    return [(word, "") for word in words] if len(words) > 1 and all(map(str.islower, words)) else []


def kernel_specs(begun: str) -> Pairs:
    """Return SPECs that begin so: names, parameters of a family behind its colon, kernels of a bank behind a hash."""
    from convcli.banks.catalogue import find_family
    from convcli.banks.library import list_kernels, normal_name

    head, colon, rest = begun.partition(":")
    if colon:
        family = find_family(normal_name(head))
        return [] if family is None else _parameters(family, head, rest)
    if "#" in begun:
        return _kernels_of(begun.partition("#")[0])
    found = [(name, entry.summary) for entry in list_kernels() for name in (entry.name, *entry.aliases)]
    # A name alone is a kernel too: its colon comes only once the name is whole.
    more = [(f"{entry.name}:", entry.summary) for entry in list_kernels() if entry.parameters and entry.name == begun]
    return dict([*found, *more]).items()


def _parameters(family: Any, head: str, rest: str) -> Pairs:
    *given, last = rest.split(",")
    begin = "".join(f"{one}," for one in given)
    name, equals, _ = last.partition("=")
    if equals:
        for one in family.parameters:
            if one.name == name:
                values = one.choices or (("true", "false") if one.kind == "flag" else (one.default_text,))
                return [(f"{head}:{begin}{name}={value}", one.about) for value in values]
        return []
    # A parameter that is given twice is refused.
    taken = {one.partition("=")[0] for one in given}
    free = [one for one in family.parameters if one.name not in taken]
    return [(f"{head}:{begin}{one.name}=", f"{one.about} [{one.default_text} {one.unit}]") for one in free]


def _kernels_of(head: str) -> Pairs:
    from convcli.banks.load import load_bank

    # A file that is no bank has no kernels to offer, and a shell has no place for its error.
    try:
        return [(f"{head}#{name}", "") for name in load_bank(head).kernel_names]
    except ConvcliError:
        return []


def _names_for(parameter: str) -> Iterable[str]:
    """Return the names that a parameter takes one of; none where it takes no names."""
    if parameter in ("layer", "layers"):
        from convcli.layers.kinds import NAMES

        return NAMES
    if parameter == "stack":
        from convcli.layers.text import shipped_stacks

        return shipped_stacks()
    if parameter in ("tag", "words"):
        from convcli.banks.library import list_kernels

        return sorted({tag for entry in list_kernels() for tag in entry.tags})
    if parameter == "format_":
        from convcli.banks.formats import WRITTEN

        return WRITTEN
    if parameter == "colormap":
        from convcli.images.colormaps import COLORMAPS

        return COLORMAPS
    return ()


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
