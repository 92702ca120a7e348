"""Damage kernel files and read them: no traceback, no hang, no memory out of bounds.

    python benchmarks/mutate_kernels.py [--number 5000] [--seed 0] [--seconds 5] [--megabytes 2048] [--keep FOLDER]

Every format that convcli writes, and texts of other programs, are changed at random (bytes overwritten, cut, inserted,
repeated, two files spliced, a number made huge) and read as ``kernels check`` reads them. The files go in batches to
processes of their own, whose address space is limited. Exit status 1 if any file gives another error than a
KernelError, is read to taps that are not finite, takes longer than ``--seconds``, or ends its process.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NoReturn

BATCH = 250
TEXTS = {
    "octave.txt": "# Created by Octave\n# name: k\n# type: matrix\n# rows: 2\n# columns: 2\n 1 2\n 3 4\n",
    "array.mtx": "%%MatrixMarket matrix array real general\n2 2\n1\n3\n2\n4\n",
    "sparse.mtx": "%%MatrixMarket matrix coordinate real symmetric\n3 3 2\n1 1 5\n2 1 3\n",
    "k.svg": '<svg><feConvolveMatrix order="3 2" targetX="1" kernelMatrix="1 2 3 4 5 6" divisor="2" bias="0.5"/></svg>',
    "k.vrt": '<VRTDataset><Kernel normalized="1"><Size>3</Size><Coefs>1 2 1</Coefs></Kernel></VRTDataset>',
    "k.conv": "CONV NORM\n# mask\n1 2 1\n2 4 2\n1 2 1\n",
    "k.mf": "TITLE a\nMATRIX 3\n1 1 1\n1 1 1\n1 1 1\nDIVISOR 0\nTYPE P\n",
    "k.py": "g = np.array([1, 2, 1], dtype=float)\nk = np.outer(g, g).T / g.sum()\nj = np.ones((3, 3))/9\n",
    "print.txt": "tensor([[1., 2.],\n        [3., 4.]], device='cuda:0')\n",
    "k.cc": "static const float k[2][2] = {{1.f/16, 2e-3}, {-3, 4}}; // taps\n",
    "k.gl": "mat3 k = mat3(1.,2.,3.,\n4.,5.,6.,\n7.,8.,9.);\nfloat f[9] = float[9](1.,2.,3.,4.,5.,6.,7.,8.,9.);\n",
    "window.m": ">> k = (1/16)*[1 2 1; 2 4 2]';\n\nk =\n\n   1.0e+03 *\n\n   1.0 2.0\n   3.0 4.0\n",
    "sheet.csv": '"0,5";"-1,25"\r\n"2,0";"0,75"\r\n',
    "pandas.csv": ",0,1\n0,0.5,-1.25\n1,2.0,0.75\n",
    "magick.txt": "3x3+1+1@: 0,1,0 1,-4,1 0,nan,0; 2: 1,2,3,4\n",
    "ffmpeg.txt": "convolution=0m='0 1 0 1 5 1 0 1 0':0rdiv=1/9:0bias=3\n",
    "gmic.txt": "(1,0,-1;2,0,-2) (1,2^3,4)\n",
}
HUGE = [
    b"99999999999",
    b"-1",
    b"1e308",
    b"1" * 5000,
    b"[" * 3000,
    b"(" * 3000,
    b"a." * 40_000,
    b"\0",
    b"\xff\xfe",
    b"nan",
]


def samples() -> dict[str, bytes]:
    """Return a small file of every format by its name."""
    from convcli import load_bank
    from convcli.banks.formats import WRITTEN, export_bank

    found = {name: text.encode() for name, text in TEXTS.items()}
    bank = load_bank("[1.5 2; -3 0.25] name=k")
    for name in WRITTEN:
        found[f"written.{name}"] = export_bank(bank, name, rounding=True).data
    found["toml.toml"], found["yaml.yaml"] = found["written.toml"], found["written.yaml"]
    found["utf16.csv"] = "0,5\t1\r\n2\t3\r\n".encode("utf-16")
    try:
        import io

        import numpy as np
        import scipy.io

        cells = np.empty(2, object)
        cells[:] = [np.eye(2), np.ones((3, 3))]
        for packed in (False, True):
            buffer = io.BytesIO()
            scipy.io.savemat(buffer, {"k": np.eye(3), "c": cells}, do_compression=packed)
            found[f"scipy{packed}.mat"] = buffer.getvalue()
    except ImportError:
        pass
    return found


def mutated(files: dict[str, bytes], seed: int) -> tuple[str, bytes]:
    """Return one damaged file: its name and bytes."""
    rng = random.Random(seed)
    name = rng.choice(sorted(files))
    data = bytearray(files[name])
    for _ in range(rng.randint(1, 5)):
        place = rng.randrange(len(data) + 1)
        kind = rng.randrange(7)
        if kind == 0 and place < len(data):
            data[place] = rng.randrange(256)
        elif kind == 1 and place < len(data):
            data[place] ^= 1 << rng.randrange(8)
        elif kind == 2:
            del data[place : place + rng.randint(1, 8)]
        elif kind == 3:
            data[place:place] = rng.choice(HUGE)
        elif kind == 4:
            data[place:place] = data[place : place + 40] * rng.randint(1, 30)
        elif kind == 5:
            other = files[rng.choice(sorted(files))]
            data[place:] = other[rng.randrange(len(other)) :]
        elif rng.random() < 0.3:
            del data[place:]
    if rng.random() < 0.1:
        name = f"{Path(name).stem}{rng.choice(['.toml', '.json', '.mat', '.txt', '.csv', '.onnx'])}"
    return name, bytes(data)


def verdict(path: Path) -> str:
    """Read one file as ``kernels check`` does; return ``read``, ``refused`` or what went wrong."""
    import numpy as np

    from convcli.banks.check import check_file
    from convcli.errors import KernelError

    try:
        bank = check_file(path).bank
    except KernelError as error:
        return "refused" if len(str(error)) < 2000 else "long message"
    except TimeoutError:
        raise
    except BaseException as error:  # noqa: BLE001
        return f"traceback {type(error).__name__}"
    return "read" if bank is None or np.isfinite(bank.weight).all() else "not finite"


def _out_of_time(*_: object) -> NoReturn:
    raise SystemExit("hang")  # a SystemExit passes readers that catch every Exception


def batch(
    files: dict[str, bytes], seeds: list[int], seconds: float, megabytes: int, folder: str, queue: object
) -> None:
    """Judge some files in this process; put (seed, verdict, seconds) for each."""
    if megabytes:
        resource.setrlimit(resource.RLIMIT_AS, (megabytes * 2**20,) * 2)
    signal.signal(signal.SIGALRM, _out_of_time)
    for seed in seeds:
        name, data = mutated(files, seed)
        path = Path(folder) / f"{seed}-{name}"
        path.write_bytes(data)
        start = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            said = verdict(path)
        except SystemExit:
            said = "hang"
        signal.setitimer(signal.ITIMER_REAL, 0)
        said = "hang" if said == "traceback SystemExit" else said
        queue.put((seed, said, time.monotonic() - start))  # type: ignore[attr-defined]
        if said in ("read", "refused"):
            path.unlink()


def run(number: int, seed: int, seconds: float = 5, megabytes: int = 2048, folder: Path | None = None) -> Counter[str]:
    """Judge ``number`` damaged files; return how often each verdict was given."""
    files, counts = samples(), Counter[str]()
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as temporary:
        target = str(folder or temporary)
        for first in range(seed, seed + number, BATCH):
            seeds = list(range(first, min(first + BATCH, seed + number)))
            queue = context.SimpleQueue()
            process = context.Process(target=batch, args=(files, seeds, seconds, megabytes, target, queue))
            process.start()
            results = []
            while len(results) < len(seeds):
                while queue.empty() and process.is_alive():
                    time.sleep(0.01)
                if queue.empty():
                    break
                results.append(queue.get())
            process.join()
            if len(results) < len(seeds):
                counts["process ended"] += 1
                print(f"seed {seeds[len(results)]}: the process ended with {process.exitcode}", file=sys.stderr)
            for one, said, _ in results:
                counts[said] += 1
                if said not in ("read", "refused"):
                    print(f"seed {one}, {mutated(files, one)[0]}: {said}", file=sys.stderr)
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--megabytes", type=int, default=2048, help="address space of a process; 0: no limit")
    parser.add_argument("--keep", type=Path, help="folder for the files that fail")
    given = parser.parse_args()
    counts = run(given.number, given.seed, given.seconds, given.megabytes, given.keep)
    print(", ".join(f"{count} {said}" for said, count in counts.most_common()))
    return int(bool(set(counts) - {"read", "refused"}))


if __name__ == "__main__":
    sys.exit(main())
