"""``make sanitize``: the compiled core under ASAN and UBSan, its own program first, then the contract tests of Python.

Prints what ran, and fails where a sanitizer finds anything, or where it does not find the row too many.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NATIVE = ROOT / "convcli" / "engine" / "native"
FLAGS = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
N_CASES = "3000"


def run(*command: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command and return it; its output is printed if it fails."""
    return subprocess.run(
        list(map(str, command)), env=os.environ | environment, capture_output=True, text=True, check=False
    )


def main() -> None:
    if shutil.which("gcc") is None:
        sys.exit("gcc is not installed: no sanitizers")
    folder = Path(tempfile.mkdtemp(prefix="convcli-sanitize-"))
    sources = (ROOT / "tests" / "native_check.c", NATIVE / "core.c")
    optimised = ("-std=gnu11", "-O2", "-ftree-vectorize", "-fno-math-errno", "-Wno-psabi", f"-I{NATIVE}")
    built = run("gcc", *optimised, *FLAGS, *sources, "-lm", "-o", folder / "check")
    if built.returncode:
        sys.exit(built.stderr)
    checked, broken = run(folder / "check", N_CASES), run(folder / "check", "break")
    print(checked.stdout, checked.stderr, sep="", end="")
    if checked.returncode or "heap-buffer-overflow" not in broken.stderr:
        sys.exit("the program of the core failed, or a row too many was not found")
    print("a row too many is found")
    # A copy of the package, with a core that watches itself; NumPy's memory is watched as well.
    shutil.copytree(ROOT / "convcli", folder / "convcli", ignore=shutil.ignore_patterns("_core*", "__pycache__"))
    shutil.copytree(ROOT / "kernels", folder / "kernels")
    shutil.copytree(ROOT / "tests", folder / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    compiled = run(sys.executable, NATIVE / "build.py", folder / "convcli" / "engine" / "native", *FLAGS)
    if compiled.returncode:
        sys.exit(compiled.stderr)
    library = run("gcc", "-print-file-name=libasan.so").stdout.strip()
    tests = "equals_the_reference or wide_image or windows or stored or magnitudes or pictures_in_one or door"
    watched = run(
        sys.executable,
        *("-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", ROOT / "pyproject.toml", "-k", tests),
        *("--rootdir", folder, folder / "tests" / "test_native.py"),
        LD_PRELOAD=library,
        ASAN_OPTIONS="detect_leaks=0",
        PYTHONMALLOC="malloc",
        PYTHONPATH=str(folder),
        CONVCLI_NATIVE="require",
    )
    print(*watched.stdout.splitlines()[-2:], sep="\n")
    shutil.rmtree(folder)
    if watched.returncode:
        sys.exit(watched.stdout[-3000:] + watched.stderr[-3000:])


if __name__ == "__main__":
    main()
