"""Whole commands side by side: convcli against the tools that people use today, in one run on one machine.

    python benchmarks/peers.py [--only REGEX] [--tools REGEX] [--rounds N] [--json FILE] [--list]

Every job runs in every tool that can do it in its best form (mogrify or xargs -P for a folder, threads in one Python
process); rounds are interleaved so that a slow minute hits everybody. Reported are the best time, the peak memory of
the process, and whether the result is right: the share of samples that differ by more than 2 of 255 from float64 SciPy
on the same decoded pixels. A tool that is not installed is named, a job that a tool cannot do is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

REPOSITORY = Path(__file__).resolve().parent.parent
SCRIPTS = Path(__file__).with_name("peer_scripts.py")
SIZES = {"0.3": (640, 480), "2.5": (1936, 1288), "12": (4000, 3000)}
SUFFIX = {"JPEG": "jpg", "PNG": "png", "TIFF": "tif"}
TIMEOUT_S = 300
#: A tool that takes longer than this in a job runs it once.
SLOW_S = 5
#: Share of samples that may be off by more than 2: decoders of JPEG differ here and there.
TOLERATED = 0.001
#: Python libraries and the module that must be there.
MODULES = {"opencv": "cv2", "pillow": "PIL", "skimage": "skimage", "torch": "torch"}


@dataclass
class Job:
    """One task: a command per tool, and what its output must be."""

    name: str
    commands: dict[str, str]
    check: Callable[[], str]
    outputs: Path
    seconds: dict[str, list[float]] = field(default_factory=dict)
    memory_mb: dict[str, float] = field(default_factory=dict)
    verdict: dict[str, str] = field(default_factory=dict)


def tool(name: str) -> str | None:
    """Return the program of a peer; the real ImageMagick is in /usr/bin where another convert shadows it."""
    if name == "convert" and Path("/usr/bin/convert").exists():
        return "/usr/bin/convert"
    return shutil.which(name)


class Runner:
    """A small process that starts the commands.

    A child begins with the memory of whoever forked it, and its peak counts that; so the parent must be smaller than
    anything measured, which a Python with NumPy and pictures is not.
    """

    SOURCE = """
import json, os, signal, subprocess, sys, time
for line in sys.stdin:
    command, limit = json.loads(line)
    started = time.perf_counter()
    process = subprocess.Popen(["/bin/sh", "-c", command], stdin=-3, stdout=-3, stderr=-3, start_new_session=True)
    signal.signal(signal.SIGALRM, lambda *_: os.killpg(process.pid, 9))
    signal.alarm(limit)
    _, status, usage = os.wait4(process.pid, 0)
    signal.alarm(0)
    seconds = time.perf_counter() - started
    print(json.dumps([seconds, usage.ru_maxrss / 1024, os.waitstatus_to_exitcode(status)]), flush=True)
"""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", self.SOURCE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, command: str) -> tuple[float, float, int]:
        """Run a shell command; return (seconds, peak megabytes of its largest process, exit code)."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if not re.search(r"[|&]", command):
            command = f"exec {command}"  # no shell between us and what is measured
        self._process.stdin.write(json.dumps([command, TIMEOUT_S]) + "\n")
        self._process.stdin.flush()
        seconds, memory, code = json.loads(self._process.stdout.readline())
        return seconds, memory, code

    def close(self) -> None:
        """End it."""
        self._process.communicate()


def make_photo(path: Path, width: int, height: int, seed: int = 0) -> None:
    """Write a photograph of the given size: ours enlarged, with the grain that real ones have."""
    from PIL import Image

    image = Image.open(REPOSITORY / "examples" / ("coffee.png", "chelsea.png")[seed % 2]).convert("RGB")
    image = image.resize((width, height), Image.Resampling.LANCZOS)
    grain = np.random.default_rng(seed).normal(0, 4, (height, width, 1))
    samples = np.clip(np.rint(np.asarray(image) + grain), 0, 255).astype(np.uint8)
    options: dict[str, Any] = {"quality": 92} if path.suffix == ".jpg" else {}
    Image.fromarray(samples).save(path, **options)


def reference(job: str, path: Path, taps: np.ndarray | None = None) -> np.ndarray:
    """Return what the job must give, float64, by SciPy."""
    import scipy.ndimage
    from PIL import Image

    image = np.asarray(Image.open(path)).astype(np.float64)
    if job == "gauss":
        return scipy.ndimage.gaussian_filter(image, (5, 5, 0), mode="nearest")
    if job == "conv7":
        assert taps is not None
        return scipy.ndimage.correlate(image, taps[0, 0][:, :, None], mode="nearest")
    x = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], np.float64)
    gx, gy = (scipy.ndimage.correlate(image, kernel[:, :, None], mode="nearest") for kernel in (x, x.T))
    return np.stack([np.abs(gx), np.abs(gy)]) if job == "maps" else np.hypot(gx, gy)


def difference(found: Path, expected: np.ndarray) -> str:
    """Say "right", or how much of a picture is wrong."""
    from PIL import Image

    if not found.exists():
        return "no output"
    with Image.open(found) as image:
        samples = np.asarray(image)
    expected = np.clip(np.rint(expected), 0, 255).astype(np.int16)
    if samples.dtype == np.uint16:
        samples = samples >> 8
    if samples.shape != expected.shape:
        samples = samples[..., :3] if samples.ndim == 3 else samples
    if samples.shape != expected.shape:
        return f"shape {samples.shape}"
    share = float((np.abs(samples.astype(np.int16) - expected) > 2).mean())
    return "right" if share <= TOLERATED else f"{share:.1%} off"


class Bench:
    """The jobs, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = shlex.quote(sys.executable)
        beside = Path(sys.executable).with_name("convcli")
        self.convcli = shlex.quote(str(beside)) if beside.exists() else f"{self.python} -m convcli"
        self.out = folder / "out"
        self.taps = folder / "seven.npy"
        taps = np.random.default_rng(7).integers(0, 10, (1, 1, 7, 7)).astype(np.float32)
        self.weights = taps[0, 0].astype(int)
        np.save(self.taps, taps / taps.sum())

    def photo(self, size: str, kind: str) -> Path:
        """Return a photograph, made on first use."""
        path = self.folder / f"photo{size}.{SUFFIX[kind]}"
        if not path.exists():
            make_photo(path, *SIZES[size])
        return path

    def script(self, library: str, job: str, *arguments: object) -> str:
        """Return the command of a Python peer."""
        return shlex.join([sys.executable, str(SCRIPTS), library, job, *map(str, arguments)])

    def to(self, target: Path) -> str:
        """Return our flags for one picture; a TIFF would hold float maps unless asked for what all peers make."""
        return f"-o {target} --layout picture --depth 8 --overwrite --quiet"

    def start_up(self) -> Job:
        """One pixel: everything that is not the image."""
        from PIL import Image

        source, target = self.folder / "pixel.png", self.out / "o.png"
        Image.new("RGB", (1, 1), (9, 9, 9)).save(source)
        commands = {
            "convcli": f"{self.convcli} apply {source} -k sobel -o {target} --overwrite --quiet",
            "python -c 'import numpy'": f"{self.python} -c 'import numpy'",
            "vips": f"vips sobel {source} {target}",
            "convert": f"{tool('convert')} {source} -morphology Convolve Sobel {target}",
            "gm": f"gm convert {source} -negate {target}",
            "ffmpeg": f"ffmpeg -y -loglevel error -i {source} -vf negate {target}",
            "gmic": f"gmic {source} -o {target}",
        }
        commands |= {name: self.script(name, "sobel", source, target) for name in ("opencv", "skimage", "torch")}
        return Job("start-up", commands, lambda: "", self.out)

    def picture(self, what: str, size: str, kind: str) -> Job:
        """One picture in, one picture out."""
        source = self.photo(size, kind)
        target = self.out / ("o.tif" if kind == "TIFF" else "o.png")
        commands = getattr(self, f"_{what}")(source, target)
        taps = np.load(self.taps).astype(np.float64)
        return Job(
            f"{what} {size} MP {kind}", commands, lambda: difference(target, reference(what, source, taps)), self.out
        )

    def _sobel(self, source: Path, target: Path) -> dict[str, str]:
        one = f"{source} {target}"
        both = [f"\\( -clone 0 -morphology Correlate '{kernel}' \\)" for kernel in _four_sobels()]
        gmic = (
            "'(-1,0,1;-2,0,2;-1,0,1)' '(-1,-2,-1;0,0,0;1,2,1)' +correlate[0] [1] correlate[0] [2] remove[1,2] "
            "sqr add sqrt round cut 0,255"
        )
        commands = {
            "convcli": f"{self.convcli} apply {source} -k sobel {self.to(target)}",
            "vips": f"vips sobel {one}",
            "convert": f"{tool('convert')} {source} {' '.join(both)} -delete 0 -evaluate Pow 2 -evaluate-sequence Add "
            f"-evaluate Pow 0.5 -depth 8 {target}",
            "ffmpeg": f"ffmpeg -y -loglevel error -i {source} -vf format=gbrp,sobel {target}",
            "gmic": f"gmic {source} {gmic} -o {target}",
        }
        return commands | {name: self.script(name, "sobel", source, target) for name in ("opencv", "skimage", "torch")}

    def _conv7(self, source: Path, target: Path) -> dict[str, str]:
        rows = [" ".join(map(str, row)) for row in self.weights]
        total = int(self.weights.sum())
        (self.folder / "seven.mat").write_text(f"7 7 {total} 0\n" + "\n".join(rows) + "\n")
        (self.folder / "seven.toml").write_text(_toml(self.weights))
        commas = ",".join(",".join(map(str, row)) for row in self.weights)
        scaled = ",".join(f"{value / total:.8g}" for value in self.weights.ravel())
        every, scales = ":".join([" ".join(rows)] * 4), ":".join([f"1/{total}"] * 4)
        gmic = ";".join(row.replace(" ", ",") for row in rows)
        commands = {
            "convcli": f"{self.convcli} apply {source} -k {self.folder / 'seven.toml'} {self.to(target)}",
            "vips": f"vips conv {source} {target} {self.folder / 'seven.mat'} --precision integer",
            "convert": f"{tool('convert')} {source} -define convolve:scale='!' "
            f"-morphology Correlate '7x7:{commas}' {target}",
            "gm": f"gm convert {source} -convolve {scaled} {target}",
            "ffmpeg": f"ffmpeg -y -loglevel error -i {source} "
            f"-vf \"format=gbrp,convolution='{every}:{scales}'\" {target}",
            "gmic": f"gmic {source} '({gmic})' correlate[0] [1] remove[1] div {total} round cut 0,255 -o {target}",
        }
        return commands | {
            name: self.script(name, "conv7", source, target, self.taps) for name in ("opencv", "skimage", "torch")
        }

    def _gauss(self, source: Path, target: Path) -> dict[str, str]:
        one = f"{source} {target}"
        commands = {
            "convcli": f"{self.convcli} apply {source} -k gaussian:sigma=5 {self.to(target)}",
            "vips": f"vips gaussblur {one} 5",
            "convert": f"{tool('convert')} {source} -blur 0x5 {target}",
            "gm": f"gm convert {source} -blur 0x5 {target}",
            "ffmpeg": f"ffmpeg -y -loglevel error -i {source} -vf format=gbrp,gblur=sigma=5 {target}",
            "gmic": f"gmic {source} blur 5,1 round cut 0,255 -o {target}",
        }
        libraries = ("opencv", "pillow", "skimage", "torch")
        return commands | {name: self.script(name, "gauss", source, target) for name in libraries}

    def maps(self, size: str) -> Job:
        """Sobel to six files."""
        source = self.photo(size, "JPEG")
        commands = {
            "convcli": f"{self.convcli} apply {source} -k sobel --out-dir {self.out} --overwrite --quiet",
            **{name: self.script(name, "maps", source, self.out) for name in ("opencv", "torch")},
        }
        return Job(f"sobel to 6 maps {size} MP", commands, lambda: self._check_maps(source), self.out)

    def _check_maps(self, source: Path) -> str:
        expected = reference("maps", source)
        for index, name in enumerate("xy"):
            for plane, channel in enumerate("rgb"):
                found = next(self.out.rglob(f"{name}-{channel}.png"), self.out / "missing")
                verdict = difference(found, expected[index, :, :, plane])
                if verdict != "right":
                    return f"{name}-{channel}: {verdict}"
        return "right"

    def bank(self) -> Job:
        """48 kernels of 49 x 49 on one megapixel of grey."""
        from PIL import Image

        source, taps = self.folder / "grey.png", self.folder / "lm.npy"
        if not source.exists():
            Image.open(self.photo("12", "PNG")).convert("L").resize((1024, 1024)).save(source)
            subprocess.run(
                f"{self.convcli} kernels export leung-malik --format npy -o {taps} --overwrite", shell=True, check=True
            )
        commands = {
            "convcli": f"{self.convcli} apply {source} -k leung-malik --out-dir {self.out} --overwrite --quiet",
            **{name: self.script(name, "bank", source, self.out, taps) for name in ("opencv", "torch")},
        }
        return Job("leung-malik to 48 maps 1 MP", commands, lambda: self._check_bank(source, taps), self.out)

    def _check_bank(self, source: Path, taps: Path) -> str:
        import scipy.signal
        from PIL import Image

        files = sorted(self.out.rglob("*.png"))
        if len(files) != 48:
            return f"{len(files)} files"
        weight = np.load(taps).astype(np.float64)[:, 0]
        image = np.pad(np.asarray(Image.open(source)).astype(np.float64), 24, mode="edge")
        stored = [np.asarray(Image.open(path)).astype(np.int16) for path in files]
        for index in (0, 20, 36, 47):
            value = scipy.signal.fftconvolve(image, weight[index][::-1, ::-1], mode="valid")
            value = np.abs(value) if abs(weight[index].sum()) < 1e-6 else value
            expected = np.clip(np.rint(value), 0, 255)
            if not any((np.abs(one - expected) > 2).mean() <= TOLERATED for one in stored):
                return f"no map is kernel {index}"
        return "right"

    def many(self, n_photos: int) -> Job:
        """Filter a folder of photographs."""
        photos = self.folder / "photos"
        if not photos.exists():
            photos.mkdir()
            for index in range(n_photos):
                make_photo(photos / f"photo{index:03}.jpg", *SIZES["0.3"], seed=index)
        cores = os.cpu_count() or 1
        each = f"ls {photos} | sed 's/[.]jpg$//' | xargs -P {cores} -I F"
        kernels = " ".join(f"\\( -clone 0 -morphology Correlate '{kernel}' \\)" for kernel in _four_sobels())
        name = "'{stem}.{ext}'"
        commands = {
            "convcli": f"{self.convcli} apply {photos} -k sobel --layout picture --name {name} --out-dir {self.out} "
            "--overwrite --quiet",
            "vips (xargs -P)": f"{each} vips sobel {photos}/F.jpg {self.out}/F.png",
            "convert (xargs -P)": f'{each} sh -c "{tool("convert")} {photos}/F.jpg {kernels} -delete 0 -evaluate Pow 2 '
            f'-evaluate-sequence Add -evaluate Pow 0.5 -depth 8 {self.out}/F.png"',
            "mogrify": f"mogrify -path {self.out} -format png -edge 1 {photos}/*.jpg",
            "gm (mogrify)": f"cd {photos} && gm mogrify -output-directory {self.out} -format png -edge 1 *.jpg",
            "ffmpeg": f"ffmpeg -y -loglevel error -pattern_type glob -i '{photos}/*.jpg' -vf format=gbrp,sobel "
            f"-start_number 0 {self.out}/photo%03d.png",
            "opencv (threads)": self.script("opencv", "folder", photos, self.out),
        }
        return Job(f"sobel of {n_photos} photographs", commands, lambda: self._check_many(photos, n_photos), self.out)

    def _check_many(self, photos: Path, n_photos: int) -> str:
        files = sorted(self.out.rglob("*.png"))
        if len(files) != n_photos:
            return f"{len(files)} files"
        return difference(files[7], reference("sobel", sorted(photos.iterdir())[7]))

    def jobs(self) -> Iterator[tuple[str, Callable[[], Job]]]:
        """Yield every job's name with what makes it."""
        yield "start-up", self.start_up
        for what in ("sobel", "conv7", "gauss"):
            for size in SIZES:
                for kind in SUFFIX:
                    yield f"{what} {size} MP {kind}", lambda w=what, s=size, k=kind: self.picture(w, s, k)
        for size in ("2.5", "12"):
            yield f"sobel to 6 maps {size} MP", lambda s=size: self.maps(s)
        yield "leung-malik to 48 maps 1 MP", self.bank
        yield "sobel of 300 photographs", lambda: self.many(300)


def _four_sobels() -> list[str]:
    """ImageMagick clips negative results, so a gradient takes its two halves."""
    return [
        "3x3:-1,0,1 -2,0,2 -1,0,1",
        "3x3:1,0,-1 2,0,-2 1,0,-1",
        "3x3:-1,-2,-1 0,0,0 1,2,1",
        "3x3:1,2,1 0,0,0 -1,-2,-1",
    ]


def _toml(weights: np.ndarray) -> str:
    rows = ", ".join(str(row.tolist()) for row in weights)
    return (
        'name = "seven"\nsummary = "arbitrary taps"\nsource = "a benchmark"\norientation = "correlate"\n'
        f'scale = "1/{int(weights.sum())}"\n[[kernel]]\nname = "seven"\ntaps = [{rows}]\n'
    )


def missing_peers() -> dict[str, str]:
    """Return the peers that cannot run, and why."""
    import importlib.util

    absent = {
        name: "not installed" for name in ("vips", "convert", "mogrify", "gm", "ffmpeg", "gmic") if not tool(name)
    }
    for name, module in MODULES.items():
        if importlib.util.find_spec(module) is None:
            absent[name] = f"no module {module}"
    return absent


def measure(job: Job, rounds: int, absent: dict[str, str], runner: Runner) -> None:
    """Run a job's commands in turn, ``rounds`` times; check what each leaves the first time."""
    runnable = {name: command for name, command in job.commands.items() if name.split(" (")[0] not in absent}
    for turn in range(rounds):
        for name, command in list(runnable.items()):
            shutil.rmtree(job.outputs, ignore_errors=True)
            job.outputs.mkdir()
            seconds, memory, code = runner(command)
            if code:
                job.verdict[name] = "failed" if code > 0 else "took too long"
                del runnable[name]
                continue
            job.seconds.setdefault(name, []).append(seconds)
            job.memory_mb[name] = max(memory, job.memory_mb.get(name, 0))
            if seconds > SLOW_S:
                del runnable[name]  # far from the best: once is enough
            if turn == 0:
                job.verdict[name] = "" if name.startswith("python") else job.check()


def rows_of(job: Job) -> list[dict[str, Any]]:
    """Return one row a tool, quickest first; ratio is its time by ours."""
    best = {name: min(seconds) for name, seconds in job.seconds.items()}
    ours = best.get("convcli")
    rows = []
    for name in sorted(job.verdict, key=lambda name: best.get(name, 1e9)):
        seconds = best.get(name)
        rows.append(
            {
                "job": job.name,
                "tool": name,
                "seconds": round(seconds, 4) if seconds else None,
                "ratio": round(seconds / ours, 2) if seconds and ours else None,
                "memory_mb": round(job.memory_mb[name]) if seconds else None,
                "result": job.verdict[name],
                "command": job.commands[name],
            }
        )
    return rows


def print_rows(rows: list[dict[str, Any]]) -> None:
    """Print the table of one job."""
    print(f"\n{rows[0]['job']}\n  {'tool':26}{'seconds':>9}{'ratio':>8}{'MB':>7}  result")
    for row in rows:
        seconds = f"{row['seconds']:.3f}" if row["seconds"] else "-"
        ratio = f"{row['ratio']:.2f}" if row["ratio"] else "-"
        print(f"  {row['tool']:26}{seconds:>9}{ratio:>8}{row['memory_mb'] or '-':>7}  {row['result']}", flush=True)


def main() -> int:
    """Run the jobs that were asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="jobs whose name matches this regular expression")
    parser.add_argument("--tools", default="", help="tools whose name matches this regular expression, and convcli")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, default=REPOSITORY / "build" / "peers.json")
    parser.add_argument("--list", action="store_true", help="print the names of the jobs")
    options = parser.parse_args()
    absent = missing_peers()
    rows: list[dict[str, Any]] = []
    runner = Runner()
    with tempfile.TemporaryDirectory(prefix="convcli-peers-") as folder:
        bench = Bench(Path(folder))
        for name, make in bench.jobs():
            if not re.search(options.only, name):
                continue
            if options.list:
                print(name)
                continue
            job = make()
            job.commands = {
                tool: one for tool, one in job.commands.items() if re.search(f"convcli|{options.tools}", tool)
            }
            measure(job, options.rounds, absent, runner)
            rows += rows_of(job)
            print_rows(rows_of(job))
    runner.close()
    if options.list:
        return 0
    print("\nmissing peers: " + (", ".join(f"{name} ({why})" for name, why in absent.items()) or "none"))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    machine = {"machine": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()}
    options.json.write_text(json.dumps({**machine, "missing": absent, "rows": rows}, indent=1) + "\n")
    print(f"written: {options.json}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
