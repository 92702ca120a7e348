"""Shared by the tests: the command line in this process and in one that can be held, and small pictures."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
import warnings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # many small jobs in torch: its threads would only wait for each other

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest

hypothesis.settings.register_profile("convcli", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("convcli")

#: Engines of NumPy alone, as parameters: they are the same without the compiled core.
PURE = [pytest.param(name, marks=pytest.mark.pure) for name in ("reference", "im2col", "gemm")]
PURE_FFT, PURE_TORCH = (pytest.param(name, marks=pytest.mark.pure) for name in ("fft", "torch"))

REPOSITORY = Path(__file__).resolve().parent.parent
HANG_S = 300  # ends a test that would wait for ever; nothing is measured by it


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


def wait_until(condition: Callable[[], object]) -> None:
    """Wait for something another process does; fail only where it would hang."""
    for _ in range(HANG_S * 200):
        if condition():
            return
        time.sleep(0.005)
    pytest.fail(f"nothing happened within {HANG_S} seconds")


HELD = """
import os, re, signal, sys, time
from convcli.process import ending
from convcli.images.files import TargetFile
from convcli.pipeline.run import Pipeline
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background of a shell ignores it
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup ignores it
begin = TargetFile.__init__
def begin_and_wait(self, *args, **options):
    begin(self, *args, **options)
    number = re.match("[0-9]+", self.path.parent.name)
    while number and int(number[0]) >= {n_free} and not os.path.exists({gate!r}):
        time.sleep(0.002)
TargetFile.__init__ = begin_and_wait
stop = Pipeline.stop
def stop_and_tell(self):
    stop(self)
    open({gate!r} + "-stopped-" + str(os.getpid()), "w").close()
Pipeline.stop = stop_and_tell
ending.GRACE_S = 1e6  # else held workers would be killed
sys.argv[1:] = {args!r}
from convcli.__main__ import main
main()
"""


class HeldBatch:
    """A batch in two workers over ``00.png``, ``01.png``, …: the first are done, the next two begun.

    Files from ``n_free`` on stop when their first output is opened, and go on after :meth:`release`. So a test knows
    what is under way without looking at a clock.
    """

    def __init__(self, folder: Path, out: Path, n_free: int) -> None:
        self._gate, self.out = out.with_name(f"{out.name}-gate"), out
        args = ["apply", folder, "-k", "sobel", "--out-dir", out, "-q", "--json", "-j", "2"]
        code = HELD.format(n_free=n_free, gate=str(self._gate), args=list(map(str, args)))
        self.process = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
        assert self.process.stdout is not None
        for _ in range(n_free):
            assert json.loads(self.process.stdout.readline())["status"] == "done"
        wait_until(lambda: len({part.parent for part in out.rglob("*.convcli-part")}) == 2)

    def release(self) -> None:
        self._gate.touch()

    def wait_until_stopped(self) -> None:
        """Wait until both workers know that the batch is to end."""
        pattern = f"{self._gate.name}-stopped-*"
        wait_until(lambda: len(list(self._gate.parent.glob(pattern))) >= 2)

    def end(self) -> tuple[int, str]:
        """Let it go on, wait for its end, and return exit code and errors."""
        self.release()
        _, errors = self.process.communicate(timeout=HANG_S)
        return self.process.returncode, errors.decode()


@pytest.fixture
def held_batch() -> Iterator[Callable[[Path, Path, int], HeldBatch]]:
    started: list[HeldBatch] = []

    def start(folder: Path, out: Path, n_free: int) -> HeldBatch:
        started.append(HeldBatch(folder, out, n_free))
        return started[-1]

    yield start
    for batch in started:
        batch.release()
        if batch.process.poll() is None:
            os.killpg(batch.process.pid, signal.SIGKILL)
            batch.process.communicate()


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A folder of its own; the tests run as a user who may not do everything, also where root started them."""
    with tempfile.TemporaryDirectory() as folder:
        if os.geteuid() != 0:
            yield Path(folder)
            return
        # Modules that are loaded late may lie where only root reads.
        run_cli("apply", REPOSITORY / "examples" / "camera.png", "-k", "sobel", "-o", f"{folder}/loaded.png").ok()
        os.chown(folder, 65534, 65534)
        os.seteuid(65534)
        try:
            yield Path(folder)
        finally:
            os.seteuid(0)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children_of(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.fixture(autouse=True)
def _same_folder() -> Iterator[None]:
    """Fail the test that leaves another working folder, not the one that runs after it."""
    before = Path.cwd()
    yield
    assert Path.cwd() == before


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


def objects(place: str, suffix: str = "") -> dict[str, bytes]:
    """Return all objects below a URL, by name."""
    from convcli.pipeline.places import open_objects

    store = open_objects(place)
    names = [entry.name for page in store.pages() for entry in page if entry.name.endswith(suffix)]
    return {name: store.get(name)[0] for name in names}


SERVER = """
import logging, sys
from moto.server import ThreadedMotoServer
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="session")
def store_server() -> Iterator[dict[str, str]]:
    """Serve S3 from memory; the value is what a client's environment needs."""
    pytest.importorskip("obstore", reason="the extra cloud is not installed")
    pytest.importorskip("moto", reason="moto is not installed")
    server = subprocess.Popen([sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert server.stdin is not None
    assert server.stdout is not None
    address = f"http://127.0.0.1:{server.stdout.readline().decode().strip()}"
    request = urllib.request.Request(f"{address}/bucket", method="PUT", headers={"Content-Length": "0"})
    urllib.request.urlopen(request).close()
    yield {
        **{"AWS_ENDPOINT": address, "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1"},
        **{"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "a-secret-nobody-may-see"},
    }
    server.stdin.close()
    server.wait()
    server.stdout.close()


@pytest.fixture
def bucket(store_server: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Return the URL of an empty place in the store."""
    for name, value in store_server.items():
        monkeypatch.setenv(name, value)
    # The number of the run in front: two tests may have the same name.
    return f"s3://bucket/{tmp_path.parent.name}/{tmp_path.name}"


@pytest.fixture(scope="session")
def onnx_nodes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Cases of single nodes in the onnx package, by name: computed once, other workers find them in a file."""
    folder = tmp_path_factory.getbasetemp()
    kept = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "onnx-nodes.pickle"
    if not kept.exists():
        part = kept.with_name(f"{kept.name}.{os.getpid()}")
        part.write_bytes(pickle.dumps(compute_onnx_nodes()))
        part.replace(kept)  # another worker sees all of it, or nothing
    return pickle.loads(kept.read_bytes())


def compute_onnx_nodes() -> dict[str, Any]:
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = [case for case in collect_testcases() if hasattr(case.model, "graph")]
    return {case.name: case for case in cases if len(case.model.graph.node) == 1}
