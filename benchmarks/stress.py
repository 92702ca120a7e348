"""Run commands against each other and kill them: what is lost, what is left, what is said wrongly.

    python benchmarks/stress.py [--pairs 200] [--kills 300] [--seed 0] [--only pairs|no-link|kills|in-place|shards]

``pairs``: two runs at once onto one file (``-o``) or into one folder, with different kernels on inputs of one stem.
Each output must be whole and one run's, and a run that ends with 0 must find its own. ``no-link``: the same where
link(), linkat() and renameat2() are refused by a library that is preloaded (needs a C compiler). ``kills``: a batch
with ``--resume`` is killed by INT, TERM, HUP or KILL at random moments until it is done; what was done must stay, what
is there must be whole, and nothing may be left. ``in-place``: the same for pictures replaced in their place: each is
the old or the new one, whole. ``shards``: a job of 100,000 shards of trivial work is planned, driven and merged in a
folder; the client's memory must be that of 10,000. Exit status 1 if anything is lost, left, not whole, or a traceback.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from convcli.pipeline.job_drive import drive
from convcli.pipeline.jobs import job_status
from convcli.pipeline.objects import Entry, Folder
from convcli.pipeline.shard_run import ShardResult, ShardTask
from convcli.pipeline.shards import Job, ShardSize, write_job

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)
KERNELS = ("box", "sharpen")
REFUSING = """
#include <errno.h>
int link(const char *a, const char *b) { errno = EPERM; return -1; }
int linkat(int a, const char *b, int c, const char *d, int e) { errno = EPERM; return -1; }
int renameat2(int a, const char *b, int c, const char *d, unsigned e) { errno = EINVAL; return -1; }
"""
#: What was found, by words: everything that is not a plain count is a fault.
COUNTS: Counter[str] = Counter()
FAULTS: list[str] = []


def fault(what: str) -> None:
    """Remember something that must not happen, and say it."""
    FAULTS.append(what)
    print(f"FAULT: {what}", flush=True)


def start(*words: object, **options: object) -> subprocess.Popen[bytes]:
    """Start ``convcli apply``."""
    command = [sys.executable, "-m", "convcli", "apply", *map(str, words), "-q"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)  # type: ignore[call-overload]


def end(run: subprocess.Popen[bytes]) -> tuple[int, str]:
    """Wait for a run; return its exit code and what it has said."""
    _, said = run.communicate(timeout=300)
    if b"Traceback" in said:
        fault(f"traceback of {run.args}: {said.decode()}")
    return run.returncode, said.decode()


def kernel_of(path: Path) -> str | None:
    """Return the kernel that made a picture, as it says, after decoding all of it; None where that fails."""
    try:
        with Image.open(path) as image:
            image.load()
            text = str(image.info.get("Description", ""))
    except OSError:
        return None
    return next((kernel for kernel in KERNELS if f'"kernel": "{kernel}"' in text), None)


def left_over(folder: Path) -> list[Path]:
    """Return unfinished files below a folder."""
    return list(folder.rglob("*.convcli-part"))


def run_pairs(folder: Path, number: int, environment: dict[str, str]) -> None:
    """Run pairs of commands at once, by turns onto one file, into one folder singly, and as batches."""
    photo = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    inputs = []
    for name in "ab":
        (folder / name).mkdir(parents=True)
        for stem in range(4):
            inputs.append(folder / name / f"{stem}.png")
            Image.fromarray(np.roll(photo, stem, axis=0)).save(inputs[-1])
    options = {"env": {**os.environ, **environment}}
    for turn in range(number):
        out = folder / f"out{turn}"
        layout = ("--layout", "picture", "--name", "{stem}.{ext}", "--out-dir", out)
        if turn % 3 == 0:
            out.mkdir()
            runs = [start(inputs[0], "-k", kernel, "-o", out / "0.png", **options) for kernel in KERNELS]
        elif turn % 3 == 1:
            runs = [start(inputs[0], "-k", kernel, *layout, **options) for kernel in KERNELS]
        else:
            runs = [start(folder / name, "-k", k, *layout, **options) for name, k in zip("ab", KERNELS, strict=True)]
        check_pair(out, [end(run)[0] for run in runs], n_outputs=4 if turn % 3 == 2 else 1)
        shutil.rmtree(out)


def check_pair(out: Path, codes: list[int], n_outputs: int) -> None:
    """Count what two runs have left: outputs of either, and of which a run with exit code 0 misses its own."""
    COUNTS["pairs"] += 1
    COUNTS[f"pairs in which {codes.count(0)} of 2 ended with 0"] += 1
    made = Counter(kernel_of(path) for path in out.glob("[!.]*"))
    if made[None]:
        fault(f"{made[None]} outputs are not whole")
    if made.total() != n_outputs:
        fault(f"{made.total()} outputs of {n_outputs}")
    for kernel, code in zip(KERNELS, codes, strict=True):
        if code == 0 and made[kernel] != n_outputs:
            fault(f"exit code 0, and {n_outputs - made[kernel]} outputs are lost")
        if code not in (0, 6, 7):
            fault(f"exit code {code}")
    if left_over(out):
        fault(f"left over: {left_over(out)}")


def killed(run: subprocess.Popen[bytes], chance: random.Random, most_s: float) -> tuple[signal.Signals, bool]:
    """Kill a run and its processes after a random while; return how, and whether it was still at work."""
    how = chance.choice(SIGNALS)
    time.sleep(chance.uniform(0, most_s))
    was_running = run.poll() is None
    if was_running:
        # A terminal sends to all processes of a run, kill to the first.
        (os.killpg if chance.random() < 0.5 else os.kill)(run.pid, how)
    code, said = end(run)
    if was_running and code not in (0, 130, -how) and not (code == 7 and "was killed" in said):
        fault(f"exit code {code} after {how.name}: {said}")
    return how, was_running


def folder_of_photos(folder: Path, number: int) -> Path:
    """Make pictures that take a few milliseconds each."""
    photos = folder / "in"
    photos.mkdir(parents=True)
    photo = np.random.default_rng(1).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    for index in range(number):
        Image.fromarray(np.roll(photo, index, axis=0)).save(photos / f"{index:02}.png", compress_level=0)
    return photos


def run_kills(folder: Path, number: int, chance: random.Random) -> None:
    """Kill batches at random moments and go on with ``--resume``."""
    photos, out = folder_of_photos(folder, 30), folder / "out"
    command = (photos, "-k", "sobel", "--out-dir", out, "--resume", "-j", "2")
    began = time.monotonic()
    end(start(*command))
    whole_s = time.monotonic() - began
    wanted = {path.relative_to(out): load(path) for path in out.rglob("*.png")}
    shutil.rmtree(out)
    while COUNTS["kills"] < number:
        before = {path: path.stat().st_mtime_ns if path.exists() else 0 for path in recorded(out)}
        how, was_running = killed(start(*command, start_new_session=True), chance, whole_s)
        if was_running:
            COUNTS["kills"] += 1
            COUNTS[f"kills by {how.name}"] += 1
        check_outputs(out, wanted, before)
        if how != signal.SIGKILL and was_running and left_over(out) and not COUNTS["left by KILL"]:
            fault(f"left over after {how.name}: {left_over(out)}")
        COUNTS["left by KILL"] = len(left_over(out))
        if chance.random() < 0.1 or not was_running:
            finish(command, out, wanted)
    finish(command, out, wanted)
    del COUNTS["left by KILL"]


def load(path: Path) -> bytes:
    """Return the samples of a picture."""
    with Image.open(path) as image:
        return image.tobytes()


def recorded(out: Path) -> set[Path]:
    """Return the files that the record of a folder has as done: a killed run may leave whole ones before that line."""
    found: set[Path] = set()
    record = out / ".convcli-manifest.jsonl"
    for line in record.read_bytes().splitlines() if record.exists() else ():
        try:
            entry = json.loads(line)
        except ValueError:  # the last line of a run that was killed while it wrote
            continue
        names = {out / name for name in entry["outputs"]}
        found = found | names if entry["event"] == "done" else found - names
    return found


def check_outputs(out: Path, wanted: dict[Path, bytes], before: dict[Path, int]) -> None:
    """Check that every picture is whole and what was done before is there as it was."""
    for path in out.rglob("*.png"):
        COUNTS["files looked at after kills"] += 1
        try:
            is_right = load(path) == wanted[path.relative_to(out)]
        except OSError:
            is_right = False
        if not is_right:
            fault(f"{path} is not whole")
    for path, stamp in before.items():
        if not path.exists() or path.stat().st_mtime_ns != stamp:
            fault(f"{path} was done, and is lost or made again")


def finish(command: tuple[object, ...], out: Path, wanted: dict[Path, bytes]) -> None:
    """Let ``--resume`` end the batch, look for what is missing or left, and begin anew."""
    code, said = end(start(*command))
    if code != 0:
        fault(f"--resume ends with {code}: {said}")
    found = {path.relative_to(out) for path in out.rglob("*.png")}
    if found != set(wanted):
        fault(f"after --resume {len(set(wanted) - found)} files are missing, {len(found - set(wanted))} too many")
    if left_over(out):
        fault(f"left over after --resume: {left_over(out)}")
    COUNTS["batches ended by --resume"] += 1
    shutil.rmtree(out)


def run_in_place(folder: Path, number: int, chance: random.Random) -> None:
    """Kill runs that replace pictures in their place."""
    photos = folder_of_photos(folder, 12)
    old = {path.name: path.read_bytes() for path in photos.iterdir()}
    began = time.monotonic()
    end(start(photos, "-k", "sharpen", "--in-place"))
    whole_s = time.monotonic() - began
    new = {path.name: load(path) for path in photos.iterdir()}
    for _ in range(number):
        for name, data in old.items():
            (photos / name).write_bytes(data)
        how, _ = killed(start(photos, "-k", "sharpen", "--in-place", start_new_session=True), chance, whole_s)
        COUNTS["kills in place"] += 1
        for name, data in old.items():
            is_new = (photos / name).read_bytes() != data
            COUNTS["pictures replaced"] += is_new
            if is_new and load(photos / name) != new[name]:
                fault(f"{name} is neither the old nor the new picture")
        if left := left_over(photos):
            if how != signal.SIGKILL:
                fault(f"left over after {how.name}: {left}")
            for path in left:
                path.unlink()


class Committing:
    """Stands for a cluster: commits each shard at once."""

    n_workers = 8

    def __init__(self, job: Job) -> None:
        self._job = job

    def run(self, work: object, tasks: Iterable[ShardTask], *, room: int) -> Iterator[tuple[ShardTask, ShardResult]]:
        """Yield every task with its result."""
        del work, room
        for task in tasks:
            self._job.commit(task.shard, [{"input": str(task.shard), "error": "nothing was done"}])
            yield task, ShardResult(1, 0, committed=True)


def run_shards(folder: Path, number: int) -> None:
    """Plan, drive and merge two jobs, one of a tenth of the shards of the other."""
    peaks = []
    for n_shards in (number // 10, number):
        place = Folder(folder / str(n_shards))
        tracemalloc.start()
        pages = ([Entry(str(n), 1, "") for n in range(first, first + 1000)] for first in range(0, n_shards, 1000))
        write_job(place, pages, ShardSize(1), {"input": "photos"})
        job = Job(place)
        n_done = sum(1 for _ in drive(place.text, Committing(job), job_status(job).missing))
        n_rows = sum(1 for _ in job.rows())
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        COUNTS["shards"] += n_done
        if {n_done, n_rows} != {n_shards} or job_status(job).missing:
            fault(f"{n_done} of {n_shards} shards done, {n_rows} rows")
    COUNTS[f"KiB at most for {number // 10} shards"], COUNTS[f"KiB at most for {number}"] = (n >> 10 for n in peaks)
    # Names of a local folder are sorted by os.walk: a list of them is in memory, of a store it is a page.
    if peaks[1] > peaks[0] + number * 400:
        fault("memory grows with the number of shards")


def main() -> int:
    """Run what is asked for and print the counts."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=("pairs", "no-link", "kills", "in-place", "shards"))
    asked = parser.parse_args()
    chance = random.Random(asked.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if asked.only in (None, "pairs"):
            run_pairs(folder / "pairs", asked.pairs, {})
        if asked.only in (None, "no-link"):
            (folder / "refuse.c").write_text(REFUSING)
            library = folder / "refuse.so"
            subprocess.run(["cc", "-shared", "-fPIC", "-o", library, folder / "refuse.c"], check=True)
            run_pairs(folder / "no-link", asked.pairs, {"LD_PRELOAD": str(library)})
        if asked.only in (None, "kills"):
            run_kills(folder / "kills", asked.kills, chance)
        if asked.only in (None, "in-place"):
            run_in_place(folder / "in-place", asked.kills // 5, chance)
        if asked.only in (None, "shards"):
            run_shards(folder / "shards", 100_000)
    for what, count in COUNTS.items():
        print(f"{count:6} {what}")
    print(f"{len(FAULTS):6} faults")
    return int(bool(FAULTS))


if __name__ == "__main__":
    sys.exit(main())
