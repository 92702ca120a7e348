"""Signals end a run with 130, no traceback and no leftovers, wherever it is: importing, or in one long call."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import HANG_S, save_image, wait_until

from convcli.process import ending

pytestmark = [
    pytest.mark.subprocess,
    pytest.mark.skipif(sys.platform != "linux", reason="signals of POSIX, processes of Linux"),
]

#: Touches a gate, then makes one call of compiled code that does not end and meets no signal.
BUSY = """
import hashlib, os, signal, sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background of a shell ignores it
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup ignores it
def be_busy():
    Path({gate!r}).touch()
    hashlib.pbkdf2_hmac("sha256", b"", b"", (1 << 31) - 1)
"""
IN_A_STRIP = """
from convcli.pipeline.run import Pipeline
Pipeline._check = lambda self: be_busy()
"""
IN_AN_OUTPUT = """
from convcli.images.files import TargetFile
begin = TargetFile.__init__
def begin_and_be_busy(self, *args, **options):
    begin(self, *args, **options)
    be_busy()
TargetFile.__init__ = begin_and_be_busy
"""
IN_AN_IMPORT = """
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "numpy":
            be_busy()
sys.meta_path.insert(0, Finder())
"""
START = """
sys.argv[1:] = {args!r}
from convcli.__main__ import main
main()
"""
#: Other signals than these go the same way.
EXAMPLES = ["SIGINT", "SIGHUP", "SIGXCPU"]


@pytest.fixture
def photo_folder(tmp_path: Path, rng: np.random.Generator) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for index in range(3):
        save_image(folder / f"{index}.png", rng.integers(0, 256, (40, 50, 3), dtype=np.uint8))
    return folder


def start(tmp_path: Path, where: str, *args: object) -> subprocess.Popen[bytes]:
    """Start a command and return once it is busy."""
    gate = tmp_path / "gate"
    code = BUSY.format(gate=str(gate)) + where + START.format(args=list(map(str, args)))
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    wait_until(lambda: gate.exists() or process.poll() is not None)
    assert process.poll() is None, process.communicate()
    return process


def end(process: subprocess.Popen[bytes], number: int) -> tuple[int, str, str]:
    process.send_signal(number)
    try:
        out, err = process.communicate(timeout=HANG_S)
    finally:
        process.kill()
    return process.returncode, out.decode(), err.decode()


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.name != ".convcli-manifest.jsonl"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_in_one_long_call_of_the_main_thread(photo_folder: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    process = start(tmp_path, IN_AN_OUTPUT, "apply", photo_folder / "0.png", "-k", "sobel", "--out-dir", out)
    assert leftovers(out)
    code, _, said = end(process, getattr(signal, name))
    # With a count where the signal comes between the gate and the call.
    assert (code, said.count("\n"), said.startswith("convcli: interrupted")) == (130, 1, True), said
    assert not leftovers(out)


@pytest.mark.parametrize("threads", [1, 2])
def test_in_one_long_strip(photo_folder: Path, tmp_path: Path, threads: int) -> None:
    out = tmp_path / "out"
    words = ["apply", photo_folder / "0.png", "-k", "sobel", "--out-dir", out, "--threads", threads]
    code, _, said = end(start(tmp_path, IN_A_STRIP, *words), signal.SIGINT)
    assert (code, said.count("\n"), "interrupted" in said) == (130, 1, True), said
    assert not leftovers(out)


def test_children_that_do_not_end_are_killed_and_their_files_removed(photo_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["apply", photo_folder, "-k", "sobel", "--out-dir", out, "-j", "2", "-q"]
    process = start(tmp_path, IN_AN_OUTPUT, *words)
    wait_until(lambda: len(leftovers(out)) >= 4)  # two folders with a file each
    code, _, said = end(process, signal.SIGTERM)
    assert (code, said) == (130, "convcli: interrupted, 0 of 3 done\n")
    assert not leftovers(out)


@pytest.mark.parametrize("json", [[], ["--json"]])
@pytest.mark.parametrize("command", ["apply", "compare"])
def test_during_an_import(photo_folder: Path, tmp_path: Path, command: str, json: list[str]) -> None:
    process = start(tmp_path, IN_AN_IMPORT, command, photo_folder / "0.png", "-k", "sobel", *json)
    code, told, said = end(process, signal.SIGINT)
    assert (code, said) == (130, "convcli: interrupted\n")
    assert told.startswith('{"status": "failed", "error": {"kind": "interrupted", "exit_code": 130' if json else "")


def test_a_signal_that_is_ignored_stays_so(photo_folder: Path, tmp_path: Path) -> None:
    """As under nohup."""
    where = """
signal.signal(signal.SIGHUP, signal.SIG_IGN)
def be_busy():
    Path({gate!r}).touch()
    while not os.path.exists({gate!r} + "-open"):
        signal.sigtimedwait([], 0.01)
""".format(gate=str(tmp_path / "gate"))
    process = start(
        tmp_path, where + IN_AN_OUTPUT, "apply", photo_folder / "0.png", "-k", "box", "-o", tmp_path / "o.png"
    )
    process.send_signal(signal.SIGHUP)
    (tmp_path / "gate-open").touch()
    process.communicate(timeout=HANG_S)
    assert process.returncode == 0
    assert (tmp_path / "o.png").exists()


def test_every_signal_that_would_end_a_program_is_caught() -> None:
    """All but those that cannot be caught, that Python ignores or turns into errors, or that tell of its own faults."""
    harmless = {"CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "WINCH"}
    others = {"KILL", "PIPE", "XFSZ", "ABRT", "BUS", "FPE", "ILL", "SEGV", "SYS", "TRAP"}
    names = {f"SIG{name}" for name in harmless | others}
    ends = {number for number in signal.valid_signals() if isinstance(number, signal.Signals)}
    ends -= {signal.SIGRTMIN, signal.SIGRTMAX}
    assert {number for number in ends if number.name not in names} == set(ending.SIGNALS)


def test_ctrl_c_within_the_first_import_is_no_traceback():
    script = """
import sys
class Interrupted:
    def find_spec(self, name, path=None, target=None):
        if name == "convcli.process":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupted())
from convcli.__main__ import main
main()
"""
    result = subprocess.run([sys.executable, "-c", script, "--version"], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "convcli: interrupted\n")
