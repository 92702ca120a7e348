"""Write the man page, ``convcli/cli/convcli.1``, from the commands themselves: flags, meanings, examples, exit codes.

``make docs`` runs it; ``test_docs`` checks that the page is current.
"""

from __future__ import annotations

import re
from typing import Any

from generate_docs import REPOSITORY
from typer.main import get_command

from convcli.cli.app import COMMANDS, build_app
from convcli.errors import EXIT_PARTIAL, ConvcliError
from convcli.process.ending import EXIT_INTERRUPTED
from convcli.version import __version__

PAGE = REPOSITORY / "convcli" / "cli" / "convcli.1"
_ENVIRONMENT = {
    "CONVCLI_KERNELS": "Folders of your own kernel files, separated as in PATH.",
    "CONVCLI_NATIVE": "never: compute without the compiled loops; require: fail without them.",
    "CONVCLI_SIMD": "baseline or avx2: the best instruction set that is used.",
    "NO_COLOR": "No colours on the terminal.",
}


def roff(text: str) -> str:
    """Return text that troff prints as it is."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga")
    return re.sub(r"^\.", "\\&.", text, flags=re.MULTILINE)


def paragraphs(text: str) -> list[str]:
    r"""Return the lines of a help text; a paragraph behind ``\b`` keeps its lines."""
    lines: list[str] = []
    for block in re.split(r"\n\s*\n", text.strip()):
        own = [line.rstrip() for line in block.splitlines()]
        if own and own[0].strip() == "\b":
            margin = min(len(line) - len(line.lstrip()) for line in own[1:])
            lines += [".PP", ".nf", *(roff(line[margin:]) for line in own[1:]), ".fi"]
        else:
            lines += [".PP", roff(" ".join(line.strip() for line in own))]
    return lines


def flags(command: Any) -> list[str]:
    """Return the arguments and options of a command, under their sections."""
    context = command.context_class(command, info_name=command.name)
    lines: list[str] = []
    section = None
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is None or "--help" in record[0]:
            continue
        panel = getattr(parameter, "rich_help_panel", None)
        if panel != section:
            lines += [".PP", f"\\fI{roff(panel or 'Other')}\\fR"]
            section = panel
        lines += [".TP", f"\\fB{roff(record[0])}\\fR", roff(record[1]) or "\\&"]
    return lines


def man_page() -> str:
    """Return the page."""
    root = get_command(build_app([]))
    lines = [
        f'.TH CONVCLI 1 "" "convcli {__version__}" "User Commands"',
        *(".SH NAME", "convcli \\- the convolution layer as a command"),
        *(".SH SYNOPSIS", "\\fBconvcli\\fR \\fICOMMAND\\fR [\\fIOPTIONS\\fR] [\\fIARGUMENTS\\fR]"),
        *(".SH DESCRIPTION", *paragraphs(root.help or "")[1:]),
        ".SH COMMANDS",
    ]
    for name, summary in COMMANDS.items():
        lines += [".TP", f"\\fBconvcli {name}\\fR", roff(summary)]
    for name in COMMANDS:
        command: Any = get_command(build_app([name])).commands[name]  # type: ignore[attr-defined]
        for one in getattr(command, "commands", {name: command}).values():
            title = name if one is command else f"{name} {one.name}"
            lines += [f".SH CONVCLI {title.upper()}", *paragraphs(one.help or "")[1:], *flags(one)]
            lines += paragraphs(one.epilog) if one.epilog else []
    lines += [".SH EXIT STATUS"]
    codes = {0: "All done.", 1: "A bug; please report it.", EXIT_INTERRUPTED: "Interrupted."}
    codes[EXIT_PARTIAL] = "Some inputs of a batch failed."
    for kind in ConvcliError.__subclasses__():
        codes.setdefault(kind.exit_code, (kind.__doc__ or "").splitlines()[0])
    for code, meaning in sorted(codes.items()):
        lines += [".TP", f"\\fB{code}\\fR", roff(meaning)]
    lines += [".SH ENVIRONMENT"]
    for variable, meaning in _ENVIRONMENT.items():
        lines += [".TP", f"\\fB{variable}\\fR", roff(meaning)]
    return "\n".join(lines) + "\n"
