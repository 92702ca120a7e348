"""Run the commands of README.md and the tutorials, put output and pictures in; write options table and man page.

``test_docs`` checks that none drifts.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
README = REPOSITORY / "README.md"
TUTORIALS = REPOSITORY / "examples" / "tutorials"
_BLOCK = re.compile(r"^```console\n(.*?)^```", re.DOTALL | re.MULTILINE)


def console_blocks(text: str) -> list[str]:
    """Return the bodies of the console blocks."""
    return _BLOCK.findall(text)


def run_block(body: str, folder: Path) -> str:
    """Run every ``$ command`` of a block, with its ``> `` lines, in ``folder``; return the block with fresh output."""
    out = []
    for shown in re.findall(r"^\$ .*(?:\n> ?.*)*", body, flags=re.MULTILINE):
        out.append(shown)
        command = "\n".join(line[2:] for line in shown.splitlines())
        result = subprocess.run(
            ["sh", "-c", command],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            env={
                "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
                "PYTHONPATH": str(REPOSITORY),  # this checkout, whichever is installed
                "COLUMNS": "110",
                "LC_ALL": "C.UTF-8",
            },
        )
        text = (result.stdout + result.stderr).rstrip("\n")
        if text:
            out.append(text)
        # The exit code of a pipe is that of its last program.
        failed = result.returncode or "convcli: error" in result.stderr
        if failed and not command.endswith("|| echo exit $?"):
            raise SystemExit(f"`{command}` left {result.returncode}: {result.stderr}")
    return "\n".join(out) + "\n"


_TABLE = re.compile(r"(<!-- options -->\n).*?(?=<!-- end of options -->)", re.DOTALL)


def options_table() -> str:
    """Return the flags of ``apply`` as a Markdown table, from the rows that the command reads."""
    from convcli.pipeline.flags import SECTIONS
    from convcli.pipeline.request import OPTIONS

    lines = []
    for section in SECTIONS:
        lines += ["", f"| {section} | value | meaning [default] |", "|---|---|---|"]
        for row in OPTIONS:
            if row.section == section:
                flag = f"`{row.short}`, `{row.flag}`" if row.short else f"`{row.flag}`"
                value = f"`{row.metavar}`".replace("|", "\\|") if row.metavar else ""
                lines.append(f"| {flag} | {value} | {row.meaning} |")
    return "\n".join([*lines[1:], ""])


def fresh_readme(text: str) -> str:
    """Return ``text`` with the output of every console block, and the table of options, made anew."""
    text = _TABLE.sub(lambda match: f"{match[1]}{options_table()}", text)
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(REPOSITORY / "examples", Path(folder) / "examples")
        return _BLOCK.sub(lambda match: f"```console\n{run_block(match[1], Path(folder))}```", text)


def fresh_tutorial(page: Path, folder: Path) -> str:
    """Return a tutorial with the output of its commands made anew; its pictures are then in ``folder/pictures``."""
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    shutil.copy(REPOSITORY / "examples" / "coffee.png", folder.parent)
    text = page.read_text(encoding="utf-8")
    return _BLOCK.sub(lambda match: f"```console\n{run_block(match[1], folder)}```", text)


def write_tutorials() -> None:
    """Make all tutorials and their pictures anew."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "try"
        for page in sorted(TUTORIALS.glob("[0-9]*.md")):
            page.write_text(fresh_tutorial(page, place), encoding="utf-8")
            print(f"{page.name}: made anew")
        shutil.rmtree(TUTORIALS / "pictures", ignore_errors=True)
        shutil.copytree(place / "pictures", TUTORIALS / "pictures")


def masked(text: str) -> str:
    """Hide what differs between machines and versions: seconds, compressed sizes, the engine's estimate."""
    text = re.sub(r"\d+\.\d+ s\b", "0.00 s", text)
    text = re.sub(r"^engine .*$(\nloops .*$)?", "engine", text, flags=re.MULTILINE)
    return re.sub(r"[\d.]+ (bytes|KiB|MiB)", "0 KiB", text)


if __name__ == "__main__":
    README.write_text(fresh_readme(README.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"{README.name}: {len(console_blocks(README.read_text()))} blocks made anew")
    from generate_man import PAGE, man_page

    PAGE.write_text(man_page(), encoding="utf-8")
    write_tutorials()
