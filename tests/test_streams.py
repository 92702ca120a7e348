"""Standard streams that are closed, full, or left by their reader: the work goes on, and the exit code is its own."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from conftest import HANG_S, run_cli, save_image

from convcli.cli.main import check_output
from convcli.process import system

PROGRAM = f"{sys.executable} -m convcli"
COMMANDS = {
    "apply": ("apply in/*.png -k sobel --out-dir out --json", 0),
    "shape": ("shape 3x24x24 conv:2,k=3 --formula", 0),
    "check": ("kernels check good.csv bad.csv good.csv", 4),
    "animate": ("animate 5x5 conv:1,k=3 -o out.svg", 0),
}


@pytest.fixture
def place(tmp_path: Path, rng: np.random.Generator) -> Path:
    (tmp_path / "in").mkdir()
    for index in range(3):
        save_image(tmp_path / "in" / f"{index}.png", rng.integers(0, 256, (20, 30), dtype=np.uint8))
    (tmp_path / "good.csv").write_text("1,2,1\n")
    (tmp_path / "bad.csv").write_text("1,two,1\n")
    return tmp_path


def in_shell(line: str, place: Path) -> tuple[int, str]:
    """Run a line in bash, with the exit code of the first command of its pipe, and standard error."""
    script = f"exec 2> errors; {line}; exit ${{PIPESTATUS[0]}}"
    run = subprocess.run(["bash", "-c", script], cwd=place, stdin=subprocess.DEVNULL, check=False, timeout=HANG_S)
    return run.returncode, (place / "errors").read_text()


@pytest.mark.subprocess
@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full and bash")
@pytest.mark.parametrize("redirected", ["2>/dev/full", "2>&-", "| true", ">&- <&- 2>&-"])
@pytest.mark.parametrize("name", COMMANDS)
def test_the_work_goes_on_whatever_becomes_of_the_text(name: str, redirected: str, place: Path) -> None:
    command, code = COMMANDS[name]
    found, said = in_shell(f"{PROGRAM} {command} {redirected}", place)
    assert found == code, said
    assert "Traceback" not in said
    assert "Exception ignored" not in said
    assert name != "apply" or len(list((place / "out").rglob("*.png"))) == 6
    assert name != "animate" or (place / "out.svg").stat().st_size > 1000


@pytest.mark.subprocess
@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full and bash")
@pytest.mark.parametrize("name", ["apply", "shape", "animate"])
def test_an_answer_that_was_lost_is_an_output_error_after_the_work(name: str, place: Path) -> None:
    code, said = in_shell(f"{PROGRAM} {COMMANDS[name][0]} >/dev/full", place)
    assert code == 6
    assert "cannot write standard output: No space left on device" in said
    assert name != "apply" or len(list((place / "out").rglob("*.png"))) == 6
    assert name != "animate" or (place / "out.svg").exists()


@pytest.mark.subprocess
@pytest.mark.skipif(sys.platform != "linux", reason="bash")
@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ("apply in/0.png -k box -o - >&-", 6, "standard output is closed"),
        ("apply - -k box <&-", 3, "standard input is closed"),
        ("apply --files-from - -k box <&-", 3, "standard input is closed"),
        ("kernels export sobel --format npy >/dev/full", 6, "No space left"),
    ],
)
def test_bytes_that_must_arrive(words: str, code: int, says: str, place: Path) -> None:
    found, said = in_shell(f"{PROGRAM} {words}", place)
    assert (found, says in said, len(said.splitlines())) == (code, True, 2), said


@pytest.mark.subprocess
@pytest.mark.skipif(sys.platform != "linux", reason="bash")
def test_no_file_takes_the_number_of_a_closed_stream(place: Path) -> None:
    """C libraries write complaints to stream 2, whatever it is by then."""
    code = """
import os, sys
from convcli.process import system
system.secure()
with open("file", "w") as file:
    print(file.fileno(), os.path.samefile("/dev/null", "/dev/fd/2"), file=file)
"""
    (place / "code.py").write_text(code)
    assert in_shell(f"{sys.executable} code.py <&- >&- 2>&-", place)[0] == 0
    number, is_null = (place / "file").read_text().split()
    assert (int(number) > 2, is_null) == (True, "True")


@contextmanager
def terminal_for_output(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    main, other = os.openpty()
    with os.fdopen(other, "w", encoding="ascii") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        yield
    os.close(main)


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="no pseudo-terminals")
def test_a_picture_is_not_written_to_a_terminal(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from convcli.cli import main

    image = str(place / "in" / "0.png")
    for words, code in ((["-o", "-"], 2), (["-o", "-", "--dry-run"], 0), (["-o", "-", "--format", "npy"], 2)):
        with terminal_for_output(monkeypatch), pytest.raises(SystemExit) as left:
            main(["apply", image, "-k", "box", *words])
        assert left.value.code == code
    said = capsys.readouterr().err
    assert said.count("standard output is a terminal") == 2
    assert said.count("hint: -o FILE") == 2


class Raw(io.RawIOBase):
    """Takes a byte at a time, is full now and then, and breaks after ten bytes."""

    def __init__(self) -> None:
        self.taken, self.calls = bytearray(), 0
        self.reading, self.writing = os.pipe()

    def fileno(self) -> int:
        return self.writing

    def writable(self) -> bool:
        return True

    def write(self, data: memoryview) -> int | None:
        self.calls += 1
        if self.calls % 3 == 0:
            return None
        if len(self.taken) == 10:
            raise BrokenPipeError(32, "Broken pipe")
        self.taken += bytes(data[:1])
        return 1


def test_bytes_are_written_until_the_stream_breaks_and_then_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = Raw()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BufferedWriter(raw), "ascii"))
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.BytesIO(), "ascii"))
    system.secure()
    print("012345678901234 \N{SNOWMAN}")
    sys.stdout.flush()
    print("more")
    check_output()  # the reader has left: no error
    assert raw.taken == b"0123456789"
    assert not sys.stdout.isatty()
    os.close(raw.reading)
    output = system.binary_output()
    output.write(b"picture")
    with pytest.raises(BrokenPipeError):
        output.flush()
    os.close(raw.writing)


def test_characters_that_an_encoding_lacks_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = io.BytesIO()
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(taken, "ascii"))
    system.secure()
    print("caf\xe9 \udcff")
    sys.stdout.flush()
    assert taken.getvalue() == b"caf\\xe9 \\udcff\n"


def test_standard_input_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    from convcli.errors import ImageError

    with pytest.raises(ImageError, match="closed"):
        system.read_input()
    assert run_cli("apply", "-", "-k", "box").exit_code == 3  # empty


def test_in_a_log_progress_is_a_line_a_minute(capsys: pytest.CaptureFixture[str]) -> None:
    from convcli.errors import ImageError
    from convcli.pipeline.inputs import InputFile
    from convcli.pipeline.run import Outcome
    from convcli.render.progress import Progress

    seconds = iter(range(1000))
    with Progress(200, shown=True, clock=lambda: float(next(seconds))) as progress:
        for number in range(200):
            error = ImageError("cut") if number == 5 else None
            progress.advance(Outcome(InputFile(Path(f"{number}.png")), error=error))
    lines = capsys.readouterr().err.splitlines()
    # The clock is asked once an input, and once more for each line.
    assert lines[0] == "convcli: 60 of 200, 1 failed, 0.984 a second, about 142 s left".replace("142 s", "2 min")
    assert len(lines) == 3
    assert lines[2].endswith("s left")


def test_a_batch_in_a_log_has_no_line_a_file_and_quiet_only_errors(place: Path) -> None:
    save_image(place / "in" / "3.png", np.full((20, 30), 255, np.uint8))
    flags = ["-k", "scharr", "--tone", "clip", "--out-dir"]
    result = run_cli("apply", place / "in", *flags, place / "out").ok()
    assert ".png: done" not in result.stderr
    assert "warning" in result.stderr
    assert result.stdout.startswith("4 of 4 done")
    (place / "in" / "4.png").write_bytes(b"no picture")
    quiet = run_cli("apply", place / "in", *flags, place / "again", "-q")
    assert (quiet.exit_code, quiet.stdout) == (7, "")
    assert [line.partition(":")[0] for line in quiet.stderr.splitlines()] == ["convcli", "hint"]
    assert "no warnings about data" in " ".join(run_cli("apply", "--help").ok().stdout.split())
