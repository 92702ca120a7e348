"""The wheel: what is in it, and that it runs on its own."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from hatchling.builders.wheel import WheelBuilder

    folder = tmp_path_factory.mktemp("wheel")
    return Path(next(iter(WheelBuilder(str(REPOSITORY)).build(directory=str(folder), versions=["standard"]))))


def test_the_wheel_holds_every_kernel_file_and_nothing_else_of_that_folder(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    shipped = {name.removeprefix("convcli/kernels/") for name in names if name.startswith("convcli/kernels/")}
    assert shipped == {path.name for path in (REPOSITORY / "kernels").glob("*.toml")}
    assert not [name for name in names if not name.startswith(("convcli/", "convcli-"))]
    assert "convcli/py.typed" in names


@pytest.mark.subprocess
def test_the_wheel_runs_from_a_folder_of_its_own(wheel: Path, photo: Path, tmp_path: Path) -> None:
    """Unpacked away from the checkout, it finds its kernels and does the main job."""
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    code = "import convcli, sys; from convcli.cli import main; print(convcli.__file__, file=sys.stderr); main()"
    result = subprocess.run(
        [sys.executable, "-c", code, "apply", str(photo), "-k", "sobel", "--out-dir", str(tmp_path / "out")],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert str(tmp_path / "site") in result.stderr
    assert len(list((tmp_path / "out" / "coffee_sobel").glob("*.png"))) == 6
