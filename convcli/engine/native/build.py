"""Build the compiled core: a hook for hatchling, and a command for tests.

With ``CONVCLI_NATIVE=try`` (the default) the fallback is a pure Python wheel; ``require`` fails without a compiler,
``never`` does not look for one. ``CC`` names the compiler. A wheel without the core carries the reason in a file, for
reports.

    python convcli/engine/native/build.py FOLDER [FLAG...]

compiles into FOLDER, with more flags for the compiler.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run as a command
    BuildHookInterface = object

HERE = Path(__file__).parent
SOURCES = ("core.c", "module.c")
#: Multiply-adds may be fused; nothing else about floats is loosened. gnu11: c11 switches fusing off.
FLAGS = ("-std=gnu11", "-O2", "-ftree-vectorize", "-fno-math-errno", "-ffp-contract=fast", "-fvisibility=hidden")
#: The core's file in the package, and the file that a wheel without it has instead.
MODULE, REASON = "_core.abi3.so" if os.name == "posix" else "_core.pyd", "not_compiled.txt"


class CustomBuildHook(BuildHookInterface):  # type: ignore[misc]
    """Add the core to a wheel, or put it into the source tree of an editable install."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and set the wheel's tag accordingly."""
        wanted = os.environ.get("CONVCLI_NATIVE", "try")
        if wanted not in ("try", "require", "never"):
            raise SystemExit(f"CONVCLI_NATIVE={wanted}: try, require or never")
        folder = HERE if version == "editable" else Path(tempfile.mkdtemp(prefix="convcli-native-"))
        for name in (MODULE, REASON):
            # An editable install keeps files: a stale core would outlive the source that it was built from.
            (folder / name).unlink(missing_ok=True)
        try:
            if wanted == "never":
                raise OSError("CONVCLI_NATIVE=never when it was installed")
            built = compile_core(folder)
        except (OSError, subprocess.SubprocessError) as error:
            if wanted == "require":
                raise SystemExit(f"CONVCLI_NATIVE=require, but {explain(error)}") from None
            self.app.display_warning(f"the loops are not compiled, NumPy does their work: {explain(error)}")
            built = folder / REASON
            built.write_text(explain(error) + "\n", encoding="utf-8")
        else:
            build_data["pure_python"] = False
            # The core uses the stable ABI of 3.11, so one wheel serves every later Python.
            build_data["tag"] = f"cp311-abi3-{platform_tag()}"
        if version != "editable":
            build_data["force_include"][str(built)] = f"convcli/engine/native/{built.name}"


def compile_core(folder: Path, *more: str) -> Path:
    """Compile the core into ``folder``, with ``more`` flags, and return its file.

    Raises an OSError if there is no compiler, and a SubprocessError if it fails.
    """
    # MSVC has no vector extensions.
    names = ("clang",) if os.name == "nt" else ("cc", "gcc", "clang")
    compiler = shlex.split(os.environ.get("CC") or next(filter(shutil.which, names), ""))
    if not compiler:
        raise OSError(f"no C compiler was found ({', '.join(names)})")
    built = folder / MODULE
    flags, libraries = platform_flags()
    command = [*compiler, *FLAGS, "-Wno-psabi", f"-I{sysconfig.get_path('include')}", *flags, *more]
    command += [*(str(HERE / name) for name in SOURCES), "-o", str(built), *libraries]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return built


def platform_flags() -> tuple[list[str], list[str]]:
    """Return the flags for an extension module, and the libraries to link: on Windows the stable ABI's."""
    if sys.platform == "darwin":
        target = f"-mmacosx-version-min={macos_version()}"
        return ["-bundle", "-undefined", "dynamic_lookup", "-arch", machine(), target], []
    if os.name == "nt":
        return ["-shared"], [f"-L{Path(sys.base_prefix, 'libs')}", "-lpython3"]
    return ["-shared", "-fPIC"], []


def machine() -> str:
    """Return the processor to compile for: this machine's, unless ``ARCHFLAGS`` names another."""
    return (os.environ.get("ARCHFLAGS") or platform.machine()).split()[-1]


def macos_version() -> str:
    """Return the oldest macOS to support: the first for this processor, unless the environment names another."""
    return os.environ.get("MACOSX_DEPLOYMENT_TARGET", "11.0" if machine() == "arm64" else "10.13")


def platform_tag() -> str:
    """Return the platform part of a wheel's tag: the one compiled for, also under a universal Python."""
    if sys.platform == "darwin":
        major, minor = (macos_version() + ".0").split(".")[:2]
        return f"macosx_{major}_{minor}_{machine()}"
    return sysconfig.get_platform().replace("-", "_").replace(".", "_")


def explain(error: BaseException) -> str:
    """Return one line that says why nothing was compiled."""
    if isinstance(error, subprocess.CalledProcessError):
        said = (error.stderr or "").strip().splitlines()
        first = next((line for line in said if "error" in line.lower()), said[0] if said else "")
        return f"{Path(error.cmd[0]).name} failed{': ' * bool(first)}{first[:200]}"
    return str(error)


if __name__ == "__main__":
    print(compile_core(Path(sys.argv[1]), *sys.argv[2:]))
