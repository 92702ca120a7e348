"""Start-up: which modules a command loads, measured in a real process, and a proof that the test can fail."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("numpy", "PIL", "torch", "rich", "pydantic", "onnx", "yaml", "safetensors", "tifffile", "scipy")
_PROBE = """
import sys
from convcli.cli import main
try:
    main(sys.argv[1:])
except SystemExit as stop:
    code = stop.code
print("\\nLOADED", code, *sorted({name.partition(".")[0] for name in sys.modules}))
"""


def loaded(*args: object) -> tuple[int, set[str]]:
    """Run convcli in a process of its own; return its exit code and the top-level modules it loaded."""
    result = subprocess.run([sys.executable, "-c", _PROBE, *map(str, args)], capture_output=True, text=True, check=True)
    line = result.stdout.rpartition("LOADED ")[2].split()
    return int(line[0]) if line[0] != "None" else 0, set(line[1:])


@pytest.mark.subprocess
@pytest.mark.parametrize(
    "args",
    [
        ["--help"],
        ["--version"],
        ["apply", "--help"],
        ["shape", "3x304x228", "conv:64,k=7,s=2,p=3", "maxpool:k=3,s=2,p=1"],
        ["kernels", "list"],
    ],
    ids=lambda args: " ".join(args[:2]),
)
def test_light_commands_load_nothing_heavy(args: list[str]) -> None:
    code, modules = loaded(*args)
    assert code == 0
    assert not modules & set(HEAVY)


@pytest.mark.subprocess
def test_apply_loads_numpy_and_pillow_and_no_torch(photo: Path, tmp_path: Path) -> None:
    code, modules = loaded("apply", photo, "-k", "sobel", "-q", "--out-dir", tmp_path)
    assert code == 0
    assert {"numpy", "PIL"} <= modules
    assert not modules & (set(HEAVY) - {"numpy", "PIL"})


@pytest.mark.subprocess
def test_a_plain_tiff_needs_no_pillow(photo: Path, tmp_path: Path) -> None:
    from PIL import Image

    with Image.open(photo) as image:
        image.save(tmp_path / "photo.tif")
    code, modules = loaded("apply", tmp_path / "photo.tif", "-k", "sobel", "-q", "-o", tmp_path / "out.tif")
    assert code == 0
    assert not modules & (set(HEAVY) - {"numpy"})


@pytest.mark.subprocess
def test_the_probe_sees_a_heavy_module(photo: Path, tmp_path: Path) -> None:
    """The proof that the tests above can fail: an engine that needs torch is seen."""
    code, modules = loaded("apply", photo, "-k", "sobel", "-q", "--out-dir", tmp_path, "--engine", "torch")
    assert code == 0
    assert "torch" in modules


_STAND_INS = """
import sys
sys.path.insert(0, "")
from convcli.cli.stand_ins import BESIDE_NUMPY, import_numpy, put_off_rarely_used
if sys.argv[1] == "program":
    put_off_rarely_used()
    import_numpy()
else:
    import numpy
from types import ModuleType
loaded = [name for name in BESIDE_NUMPY if type(sys.modules.get(name)) is ModuleType]
left = [name for name in BESIDE_NUMPY if name in sys.modules and type(sys.modules[name]) is not ModuleType]
print(len(loaded), left)
import importlib.util
print([bool(importlib.util.find_spec(name)) for name in ("traceback", "ipaddress", "PIL.ExifTags")])
import inspect, io, pickle, platform, textwrap
import numpy, numpy.ma, numpy.typing, numpy.linalg, numpy.testing
print(bool(numpy.array.__doc__))
print(int(numpy.ma.array([1, 2], mask=[0, 1]).sum()), numpy.typing.NDArray[numpy.int8], numpy.linalg.eigh([[2.0]]))
print(pickle.loads(pickle.dumps(numpy.arange(3))), platform.machine() != "", textwrap.dedent("  a"))
from numpy._core import overrides
print(getattr(overrides, "inspect", inspect).signature(numpy.linalg.eigh))
print(inspect.signature(numpy.linalg.eigh), numpy.zeros(2).ctypes.data > 0, numpy.dtype("i4,f4", align=True))
file = io.BytesIO()
numpy.savez(file, a=numpy.arange(2))
file.seek(0)
print(numpy.load(file)["a"], numpy.loadtxt(io.StringIO("1 2")), len(numpy.show_config("dicts")) > 0)
import logging, PIL.Image, PIL.ExifTags, pathlib, ipaddress, traceback
from urllib.parse import urlsplit
from traceback import format_exception_only
print(pathlib.Path("/a b").as_uri(), urlsplit("http://[::1]/x").hostname, ipaddress.ip_address("1.2.3.4"))
try:
    1 / 0
except ZeroDivisionError as error:
    print(format_exception_only(error), traceback.format_exc()[-34:])
    logging.getLogger().exception("said")
print(PIL.Image.ExifTags.Base.Orientation == PIL.ExifTags.Base.Orientation == 0x112)
"""


@pytest.mark.subprocess
def test_numpy_behind_stand_ins_is_numpy() -> None:
    """Everything that a stand-in stood for works afterwards, and only docstrings are missing."""
    said = {
        what: subprocess.run(
            [sys.executable, "-c", _STAND_INS, what],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=True,
        ).stdout.splitlines()
        for what in ("library", "program")
    }
    assert said["library"][0] != "0 []", "NumPy loads none of what is left out: there is nothing to leave out"
    assert said["program"][0] == "0 []"
    assert (said["library"][2], said["program"][2]) == ("True", "False")
    assert said["library"][1] == said["program"][1] == "[True, True, True]"
    assert said["library"][3:] == said["program"][3:]


@pytest.mark.subprocess
def test_a_package_that_is_stood_in_for_still_has_its_submodules() -> None:
    script = """
import sys
from convcli.cli.stand_ins import StandIn
sys.modules["xml"] = StandIn("xml", {"known": 3})
from xml import known
from xml.dom import minidom
import xml
print(known, minidom.parseString("<a/>").firstChild.tagName, type(xml).__name__)
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["3", "a", "module"]
