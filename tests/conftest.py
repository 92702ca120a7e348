"""What the tests share: the command line run in this process, and small pictures."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")  # many small jobs in torch: its threads would only wait for each other

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest

hypothesis.settings.register_profile("convcli", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("convcli")

REPOSITORY = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Result:
    """What one run of the command left: exit code and both streams."""

    exit_code: int
    stdout_bytes: bytes
    stderr: str

    @property
    def stdout(self) -> str:
        return self.stdout_bytes.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)

    @property
    def json_lines(self) -> list[Any]:
        return [json.loads(line) for line in self.stdout.splitlines()]

    def ok(self) -> Result:
        assert self.exit_code == 0, self.stderr
        return self


def run_cli(*args: object, stdin: bytes = b"", cwd: Path | None = None) -> Result:
    """Run convcli in this process; streams are real text layers over bytes, as in a pipe."""
    from convcli.cli import main

    out, err = io.BytesIO(), io.BytesIO()
    saved = sys.stdin, sys.stdout, sys.stderr
    sys.stdin = io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8")
    sys.stdout = io.TextIOWrapper(out, encoding="utf-8", errors="surrogateescape", write_through=True)
    sys.stderr = io.TextIOWrapper(err, encoding="utf-8", errors="backslashreplace", write_through=True)
    code = 0
    try:
        with contextlib.chdir(cwd or Path.cwd()):
            main([os.fspath(a) if isinstance(a, os.PathLike) else str(a) for a in args])
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        result = Result(code, out.getvalue(), err.getvalue().decode())
        sys.stdin, sys.stdout, sys.stderr = saved  # the text layers close the bytes under them
    return result


@pytest.fixture(scope="session")
def photo() -> Path:
    """An RGB photograph, 3x400x600."""
    return REPOSITORY / "examples" / "coffee.png"


@pytest.fixture(scope="session")
def grey_photo() -> Path:
    """A grey photograph, 1x512x512."""
    return REPOSITORY / "examples" / "camera.png"


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20)


def save_image(path: Path, samples: np.ndarray, **options: Any) -> Path:
    """Write uint8 or uint16 samples ``(H, W)`` or ``(H, W, P)`` with Pillow, which is not what the tests test."""
    from PIL import Image

    Image.fromarray(samples).save(path, **options)
    return path


def pictures(folder: Path) -> dict[str, tuple[object, ...]]:
    """What every PNG below a folder shows and says.

    Not its bytes: ISA-L's deflate is not the same in every run.
    """
    from PIL import Image

    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(folder.rglob("*.png")):
        with Image.open(path) as image:
            found[str(path.relative_to(folder))] = image.mode, image.size, image.tobytes(), dict(image.info)
    return found


def load_image(path: Path) -> np.ndarray:
    from PIL import Image

    with Image.open(path) as image:
        return np.array(image)
