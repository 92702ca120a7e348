"""Batches ended by signals at random moments, again and again with ``--resume``: nothing is lost, nothing is left over.

``python benchmarks/kills.py 300`` runs until that many batches were ended, and says what was found: by chance, for a
machine decides how far a batch has come. ``tests/test_endings.py`` has gates in place of clocks.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGXCPU", "SIGKILL")
N_FILES = 12


def make_photos(folder: Path) -> None:
    folder.mkdir()
    chance = np.random.default_rng(0)
    for index in range(N_FILES):
        Image.fromarray(chance.integers(0, 256, (200, 250, 3), dtype=np.uint8)).save(folder / f"{index:02}.png")


def pictures(folder: Path) -> dict[str, bytes]:
    found = {}
    for path in sorted(folder.rglob("*.png")):
        with Image.open(path) as image:
            found[str(path.relative_to(folder))] = image.tobytes()
    return found


def leftovers(out: Path) -> set[tuple[str, Path]]:
    """Return unfinished files, and folders of maps that have not all of them and their report."""
    halves = (place for place in out.glob("*_sobel") if len(list(place.glob("[!.]*"))) != 7)
    return {("part file", path) for path in out.rglob(".*part*")} | {("half a folder", path) for path in halves}


def faults(result: subprocess.CompletedProcess[str], number: int, left: set[tuple[str, Path]]) -> list[str]:
    """Return the mistakes of an ended run; only SIGKILL may leave something."""
    found = []
    if "Traceback" in result.stderr:
        found.append("traceback")
    # Before the program has begun, Python or the system ends it.
    if result.returncode not in (0, -number, *([] if number == signal.SIGKILL else [130])):
        found.append(f"exit code {result.returncode}")
    if number != signal.SIGKILL:
        found += [what for what, _ in left]
    return found


def end_one(words: list[str], number: int, delay: float) -> subprocess.CompletedProcess[str]:
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        process.wait(delay)
    except subprocess.TimeoutExpired:
        process.send_signal(number)
    out, errors = process.communicate(timeout=60)
    return subprocess.CompletedProcess(words, process.returncode, out, errors)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, nargs="?", default=300)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    chance, told, slowest = random.Random(asked.seed), Counter[str](), 0.0
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        make_photos(place / "in")
        common = [sys.executable, "-m", "convcli", "apply", str(place / "in"), "-k", "sobel", "-q", "-j", "2"]
        started = time.perf_counter()
        subprocess.run([*common, "--out-dir", str(place / "whole")], check=True)
        whole_s, wanted = time.perf_counter() - started, pictures(place / "whole")
        batch = 0
        while told["ended"] < asked.count:
            batch += 1
            words = [*common, "--resume", "--out-dir", str(place / f"out{batch}")]
            for _ in range(6):  # the same batch ended several times
                name = chance.choice(SIGNALS)
                number = getattr(signal, name)
                before = leftovers(place / f"out{batch}")
                began = time.perf_counter()
                delay = chance.uniform(0.1, 1.2 * whole_s)
                result = end_one(words, number, delay)
                slowest = max(slowest, time.perf_counter() - began - delay)
                left = leftovers(place / f"out{batch}")
                told["ended" if result.returncode else "too late"] += 1
                told.update(f"{name}: {fault}" for fault in faults(result, number, left - before))
            subprocess.run(words, check=True, stderr=subprocess.DEVNULL)
            told["lost or wrong"] += pictures(place / f"out{batch}") != wanted
            told["left over"] += len(leftovers(place / f"out{batch}"))
    print(json.dumps({**told, "slowest end after the signal, s": round(slowest, 2)}, indent=1))


if __name__ == "__main__":
    main()
