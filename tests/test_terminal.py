"""What a person at a terminal sees: tables that fit, colours where they are wanted, a plan before the work."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY, run_cli, save_image, wait_until

from convcli.render.text import folded, render_table

terminal = pytest.importorskip("terminal", reason="terminals of POSIX")
Terminal, show = terminal.Terminal, terminal.show

#: Waits for a file before it runs; the bar comes at once.
GATED = """
import os, sys, time
from convcli.pipeline.run import Pipeline
from convcli.render import progress
progress.START_S = progress.REDRAW_S = -1.0
run = Pipeline.run
def run_later(self, plan):
    while not os.path.exists({gate!r}):
        time.sleep(0.002)
    return run(self, plan)
Pipeline.run = run_later
sys.argv[1:] = {args!r}
from convcli.__main__ import main
main()
"""


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    samples = np.random.default_rng(5).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    return save_image(tmp_path / "a photo of a long name.png", samples)


LAYERS = ["conv:64,k=7,s=2,p=3", "maxpool:k=3,s=2,p=1", "conv:128,k=3,d=2,g=4", "relu"]


@pytest.mark.subprocess
@pytest.mark.parametrize("columns", [60, 80, 120])
def test_every_line_fits_and_nothing_is_cut(columns: int, photo: Path, tmp_path: Path) -> None:
    commands = [
        ["shape", "3x1024x2048", *LAYERS],
        ["kernels", "list", "--grep", "edge", "--source"],
        ["kernels", "show", "leung-malik"],
        ["apply", photo.name, "-k", "sobel", "-k", "gaussian:sigma=2", "--out-dir", "o", "--overwrite"],
        ["apply", photo.name, "-k", "sobel", "--dry-run"],
        ["explain", photo.name, "-k", "gaussian:sigma=1", "--at", "9,9"],
    ]
    for command, shown in zip(commands, show(commands, columns, tmp_path), strict=True):
        plain = re.sub(r"\x1b\[[0-9;]*m", "", shown)
        widest = max(plain.splitlines(), key=len)
        assert len(widest) <= columns, (command, widest)
        piped = run_cli(*command, cwd=tmp_path)
        # Letters, not lines: cells go on below, and numbers of an explanation lose digits on a narrow terminal.
        wanted, found = (Counter(re.findall(r"[^\W\d_]", text)) for text in (piped.ok().stdout + piped.stderr, plain))
        assert not wanted - found, command


@pytest.mark.subprocess
def test_errors_and_warnings_are_coloured_where_they_may_be(photo: Path, tmp_path: Path) -> None:
    commands = [["kernels", "show", "sobell"], ["apply", photo.name, "-k", "sobel", "-o", "s.png", "--overwrite"]]
    error, warning = show(commands, 80, tmp_path)
    assert "\x1b[1;31merror:\x1b[0m" in error
    assert "\x1b[36mhint:\x1b[0m" in error
    assert "\x1b[1;33mwarning:\x1b[0m" in warning
    for environment in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        plain = "".join(show([*commands, ["kernels", "show", "sobel"]], 80, tmp_path, **environment))
        assert "error:" in plain
        assert "\x1b[" not in plain
    assert "\x1b[" not in run_cli(*commands[0]).stderr


@pytest.mark.subprocess
@pytest.mark.parametrize("columns", [60, 120])
def test_a_long_job_tells_its_plan_first_and_shows_a_bar_that_names_the_file(
    columns: int, photo: Path, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    args = ["apply", photo.name, "-k", "sobel", "--out-dir", "out"]
    terminal = Terminal(GATED.format(gate=str(gate), args=args), columns, tmp_path)
    told = terminal.read(until="engine")  # what comes before the gate opens was there before the work
    assert "2x1x3x3" in told
    assert not (tmp_path / "out").exists()
    gate.touch()
    shown = terminal.read()
    assert "a photo of a long" in shown.split("engine", 1)[1]
    assert "samples/s" in shown
    assert "100%" in shown
    assert "written" in shown


@pytest.mark.subprocess
def test_a_pipe_gets_the_plan_first_too(photo: Path, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    script = GATED.format(gate=str(gate), args=["apply", photo.name, "-k", "sobel", "--out-dir", "out"])
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, stdout=pipe, stderr=pipe
    ) as job:
        assert job.stdout is not None
        assert job.stderr is not None
        assert job.stdout.readline().startswith(b"input")
        assert not (tmp_path / "out").exists()
        gate.touch()
        assert b"written" in job.stdout.read()
        assert b"\x1b" not in job.stderr.read()
    wait_until(lambda: job.returncode == 0)


def test_columns_of_text_are_made_narrower_before_a_table_is_taken_apart() -> None:
    rows = [["one", "a text of several words that is long", 12], ["two", "short", 3]]
    table = render_table(["name", "meaning", "n"], rows, align="llr", width=30)
    assert table.splitlines() == [
        "name  meaning                n",
        "----  --------------------  --",
        "one   a text of several     12",
        "      words that is long",
        "two   short                  3",
    ]
    apart = render_table(["name", *"abcdef"], [["one", *[123456] * 6]], align="lrrrrrr", width=24)
    assert apart.count("name") == 3
    assert apart.split() == [*["name", "a", "b"], *["----", "------", "------"], "one", "123456", "123456",
                             *["name", "c", "d"], *["----", "------", "------"], "one", "123456", "123456",
                             *["name", "e", "f"], *["----", "------", "------"], "one", "123456", "123456"]  # fmt: skip


def test_words_are_never_broken() -> None:
    path = "/a/path/that/is/longer/than/any/line/of/this/terminal.png"
    assert path in folded(f"written  {path} (3 files)", 30)
    assert folded("convcli: note: several words that go on", 34).splitlines()[1] == " " * 15 + "go on"
