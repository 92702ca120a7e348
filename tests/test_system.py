"""Too little memory, missing packages and broken ones are told apart."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import HANG_S, run_cli, save_image

from convcli.errors import KernelError, UsageError
from convcli.process import system


@pytest.mark.subprocess
@pytest.mark.skipif(sys.platform != "linux", reason="ulimit -v")
@pytest.mark.parametrize("kilobytes", [20_000, 60_000, 100_000])
def test_little_address_space_blames_no_package(kilobytes: int, tmp_path: Path) -> None:
    save_image(tmp_path / "a.png", np.zeros((9, 9), np.uint8))
    line = f"ulimit -v {kilobytes}; exec {sys.executable} -m convcli apply a.png -k sobel"
    run = subprocess.run(
        ["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=HANG_S
    )
    assert run.returncode == 2, run.stderr
    assert f"limited to {kilobytes >> 10} MiB" in run.stderr
    assert "ulimit -v" in run.stderr.splitlines()[1]
    assert "pip" not in run.stderr


def test_a_library_that_gets_no_memory_is_not_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise ImportError(f"lib{name}.so: failed to map segment from shared object", name=name)

    monkeypatch.setattr(system, "import_module", fail)
    with pytest.raises(UsageError, match="not enough memory") as caught:
        system.import_optional("onnx", KernelError, "reading ONNX needs onnx", hint="pip install onnx")
    assert "pip" not in str(caught.value.hint)


def test_a_package_that_does_not_load_is_not_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_package").mkdir()
    (tmp_path / "broken_package" / "__init__.py").write_text("import no_such_part\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match=r"broken_package is installed and does not load .*no_such_part"):
        system.import_optional("broken_package", KernelError, "it needs broken_package", hint="pip install it")
    for name in ("no_such", "no_such.part"):
        with pytest.raises(KernelError, match="it needs no_such"):
            system.import_optional(name, KernelError, "it needs no_such", hint="pip install it")


@pytest.mark.parametrize("command", ["compare", "explain"])
def test_memory_that_runs_out_is_no_bug_in_any_command(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from convcli.pipeline.plan import Planner

    def run_out(*_args: object) -> None:
        raise MemoryError("Unable to allocate 12. GiB for an array")

    monkeypatch.setattr(Planner, "plan", run_out)
    image = save_image(tmp_path / "a.png", np.zeros((9, 9), np.uint8))
    at = ["--at", "1,1"] if command == "explain" else []
    result = run_cli(command, image, "-k", "sobel", *at)
    assert result.exit_code == 2
    assert result.stderr.startswith("convcli: error: not enough memory (Unable to allocate 12. GiB")


def test_onnx_without_its_package_is_a_mistake_of_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    (tmp_path / "m.onnx").write_bytes(b"\x08\x07\x12\x01a")
    result = run_cli("shape", "3x9x9", tmp_path / "m.onnx")
    assert (result.exit_code, "pip install 'convcli[formats]'" in result.stderr) == (2, True), result.stderr
