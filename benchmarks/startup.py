"""Whole processes against what they cannot do without: the price that every turn of a shell loop pays.

Commands take turns, and the best of many counts: other work on the machine only adds time.
"""

from __future__ import annotations

import argparse
import json
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

LIMITS = {"shape": ("typer", 1.3), "--help": ("typer", 1.3), "apply, 1 pixel": ("numpy", 2.2)}


def one_pixel() -> bytes:
    """Return a grey PNG of one pixel."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0\7")) + chunk(b"IEND", b"")


def measure(commands: dict[str, list[str]], turns: int) -> dict[str, float]:
    """Return the best seconds of each command."""
    best = dict.fromkeys(commands, float("inf"))
    for _ in range(turns):
        for name, command in commands.items():
            started = time.perf_counter()
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
            best[name] = min(best[name], time.perf_counter() - started)
    return best


def main() -> None:
    """Measure, print a table, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=30)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    script = Path(sys.executable).with_name("convcli")
    convcli = str(script) if script.exists() else shutil.which("convcli") or sys.exit("convcli is not installed")
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "one.png"
        image.write_bytes(one_pixel())
        out = ["-o", str(Path(folder) / "out.png"), "--overwrite", "-q"]
        commands = {
            "python": [sys.executable, "-c", ""],
            "typer": [sys.executable, "-c", "import typer"],
            "numpy": [sys.executable, "-c", "import numpy"],
            "--help": [convcli, "--help"],
            "shape": [convcli, "shape", "3x304x228", "conv:64,k=7,s=2,p=3", "maxpool:k=3,s=2,p=1"],
            "kernels list": [convcli, "kernels", "list"],
            "apply, 1 pixel": [convcli, "apply", str(image), "-k", "sobel", *out],
        }
        best = measure(commands, options.turns)
    for name, seconds in best.items():
        base, limit = LIMITS.get(name, ("", 0.0))
        ratio = f"{seconds / best[base]:.2f} x {base}, at most {limit}" if base else ""
        print(f"{name:15} {seconds * 1e3:7.1f} ms  {ratio}")
    if options.json:
        options.json.write_text(json.dumps(best, indent=1) + "\n")


if __name__ == "__main__":
    main()
