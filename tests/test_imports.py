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
def test_the_probe_sees_a_heavy_module(photo: Path, tmp_path: Path) -> None:
    """The proof that the tests above can fail: an engine that needs torch is seen."""
    code, modules = loaded("apply", photo, "-k", "sobel", "-q", "--out-dir", tmp_path, "--engine", "torch")
    assert code == 0
    assert "torch" in modules
