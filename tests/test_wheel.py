"""The wheel: what is in it, and that it runs on its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


def build_wheel(folder: Path, **environment: str) -> Path:
    """Build a wheel as pip does, with more of an environment."""
    from hatchling.builders.wheel import WheelBuilder

    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        return Path(next(iter(WheelBuilder(str(REPOSITORY)).build(directory=str(folder), versions=["standard"]))))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"), CONVCLI_NATIVE="try")


def names_in(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_a_compiler_makes_a_wheel_of_this_platform_for_every_python(wheel: Path) -> None:
    assert "-cp311-abi3-" in wheel.name
    assert "-any" not in wheel.name
    assert "convcli/engine/native/_core.abi3.so" in names_in(wheel)
    metadata = zipfile.ZipFile(wheel).read(next(name for name in names_in(wheel) if name.endswith("/WHEEL"))).decode()
    assert "Root-Is-Purelib: false" in metadata
    assert f"Tag: {'-'.join(wheel.stem.split('-')[2:])}" in metadata


@pytest.mark.subprocess
@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"CC": "/bin/false"}, "false failed"),
        ({"CONVCLI_NATIVE": "never"}, "CONVCLI_NATIVE=never when it was installed"),
    ],
)
def test_without_a_compiler_it_is_a_pure_wheel_that_works_and_says_why(
    environment: dict[str, str], reason: str, photo: Path, tmp_path: Path
) -> None:
    pure = build_wheel(tmp_path, **({"CONVCLI_NATIVE": "try"} | environment))
    assert pure.name.endswith("-py3-none-any.whl")
    assert not [name for name in names_in(pure) if "_core" in name or name.endswith((".c", ".h", ".inl", ".so"))]
    zipfile.ZipFile(pure).extractall(tmp_path / "site")
    script = "from convcli.cli import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", script, "apply", str(photo), "-k", "sobel", "-o", str(tmp_path / "edges.png")],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site"), "CONVCLI_NATIVE": "try"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert f"NumPy loops (not compiled: {reason}" in result.stdout


def test_require_fails_loudly_without_a_compiler(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="CONVCLI_NATIVE=require, but false failed"):
        build_wheel(tmp_path, CC="/bin/false", CONVCLI_NATIVE="require")
    with pytest.raises(SystemExit, match="try, require or never"):
        build_wheel(tmp_path, CONVCLI_NATIVE="perhaps")


def test_the_source_distribution_can_compile(tmp_path: Path) -> None:
    from hatchling.builders.sdist import SdistBuilder

    sdist = next(iter(SdistBuilder(str(REPOSITORY)).build(directory=str(tmp_path), versions=["standard"])))
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    native = {f"convcli/engine/native/{name}" for name in ("core.c", "core.h", "conv.inl", "tone.inl", "build.py")}
    assert native <= names
    assert not [name for name in names if "_core" in name]


def test_the_wheel_holds_every_kernel_file_and_nothing_else_of_that_folder(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    shipped = {name.removeprefix("convcli/kernels/") for name in names if name.startswith("convcli/kernels/")}
    assert shipped == {path.name for path in (REPOSITORY / "kernels").glob("*.toml")}
    stacks = {name.removeprefix("convcli/stacks/") for name in names if name.startswith("convcli/stacks/")}
    assert stacks == {path.name for path in (REPOSITORY / "examples" / "stacks").glob("*.toml")}
    families = {path.name for path in (REPOSITORY / "convcli/banks/families").glob("*.txt")}
    assert families == {
        Path(name).name for name in names if name.startswith("convcli/banks/families/") and name.endswith(".txt")
    }
    assert not [name for name in names if not name.startswith(("convcli/", "convcli-"))]
    assert "convcli/py.typed" in names


def test_the_wheel_holds_the_pages_and_their_photo(wheel: Path) -> None:
    folder = "convcli/render/pages"
    files = {f"{folder}/{path.name}" for path in (REPOSITORY / folder).iterdir() if path.is_file()}
    assert len([name for name in files if name.endswith((".js", ".css", ".html", ".jpg"))]) >= 10
    assert files <= names_in(wheel)


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
    flags = ["--stack", "resnet-stem", "-o", str(tmp_path / "stem.npy")]
    subprocess.run([sys.executable, "-c", code, "apply", str(photo), *flags], env=environment, cwd=tmp_path, check=True)
