"""Our engines and their peers, side by side in one run: ``make bench-engine``.

Every case is timed in turn by all, the shortest run counts, so that a busy machine is unfair to none. In its turn each
runs five times, as in a loop over images: the first finds the caches full of what the one before it left there.
``x best peer`` is the fastest peer's time over ours: above 1 we are faster. ``pick / best`` is how far the planner's
choice was from the best of our engines. Peers pad as we do (replicate) and are held against our result before they are
timed.

Run it with ``--only 3x3`` for some cases, ``--threads 1``, ``--simd avx2`` for a smaller instruction set of ours, and
``--json FILE`` to keep the numbers.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Threads of torch that spin after their work is done would take a core from whoever is timed next.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import cv2
import numpy as np
import scipy.ndimage
import scipy.signal
import torch

from convcli.engine import Border, conv2d, native, plan_conv, prepare
from convcli.errors import UsageError
from convcli.process.system import available_threads
from convcli.render.text import render_table

MEGAPIXELS = {1: (1000, 1000), 4: (2000, 2000), 12: (3000, 4000)}
#: Peers and engines that take longer than this are timed once.
ONCE_S = 0.5
THREADS = 1
REPEATS, IN_A_ROW = 5, 5


class Case(NamedTuple):
    """One convolution: ``planes`` each with all ``kernels``, or dense."""

    name: str
    shape: tuple[int, int, int]
    weight: np.ndarray
    groups: int
    stride: int = 1
    dilation: int = 1
    dtype: str = "float32"

    @property
    def pad(self) -> int:
        """Pixels each side that keep the size at stride 1."""
        return self.dilation * (self.weight.shape[-1] // 2)


def cases() -> list[Case]:
    random = np.random.default_rng(0)
    sobel = np.array([[[[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]]])
    gauss = np.exp(-(np.arange(-15, 16) ** 2) / 50.0)
    found = [Case("sobel 3x3, 12 MP", (1, *MEGAPIXELS[12]), sobel, 1)]
    for megapixels, size in MEGAPIXELS.items():
        for k in (3, 5, 7, 9, 11, 15, 31, 61, 101):
            if megapixels == 4 and k not in (3, 7, 15, 61):
                continue
            weight = random.standard_normal((1, 1, k, k))
            found.append(Case(f"{k}x{k}, {megapixels} MP", (1, *size), weight, 1))
            if k in (3, 5, 7, 11, 15) and megapixels != 4:
                found.append(Case(f"{k}x{k} uint8, {megapixels} MP", (1, *size), weight, 1, dtype="uint8"))
    for k in (3, 7):
        weight = np.repeat(random.standard_normal((1, 1, k, k)), 3, axis=0)
        found.append(Case(f"RGB {k}x{k}, 4 MP", (3, *MEGAPIXELS[4]), weight, 3))
    found.append(Case("gaussian 31x31, 12 MP", (1, *MEGAPIXELS[12]), np.outer(gauss, gauss)[None, None], 1))
    for n, k in ((8, 7), (10, 7), (16, 11), (48, 49)):
        found.append(Case(f"bank {n}x{k}x{k}, 1 MP", (1, *MEGAPIXELS[1]), random.standard_normal((n, 1, k, k)), 1))
    found += [
        Case(f"{k}x{k} stride 2, 12 MP", (1, *MEGAPIXELS[12]), random.standard_normal((1, 1, k, k)), 1, 2)
        for k in (3, 7, 15, 31)
    ]
    found.append(Case("7x7 dilation 2, 12 MP", (1, *MEGAPIXELS[12]), random.standard_normal((1, 1, 7, 7)), 1, 1, 2))
    for planes, maps, k, stride, size in (
        (64, 64, 3, 1, 256),
        (3, 64, 7, 2, 512),
        (256, 256, 3, 1, 14),
        (64, 128, 1, 1, 56),
        (32, 32, 3, 2, 128),
    ):
        name = f"dense {planes}>{maps} {k}x{k}{' stride 2' * (stride > 1)}, {size}x{size}"
        found.append(Case(name, (planes, size, size), random.standard_normal((maps, planes, k, k)), 1, stride))
    return found


Run = Callable[[], np.ndarray]


def our_engines(case: Case, image: np.ndarray) -> tuple[dict[str, Run], str, str]:
    """Return a run for each engine worth it, the planner's pick, and its method."""
    options: dict[str, Any] = {
        "stride": (case.stride,) * 2,
        "padding": ((case.pad, case.pad),) * 2,
        "dilation": (case.dilation,) * 2,
        "groups": case.groups,
        "border": Border("replicate"),
        "input_dtype": case.dtype,
        "threads": THREADS,
    }
    chosen = plan_conv(case.shape, case.weight, **options)
    estimates = plan_conv(case.shape, case.weight, engine="reference", **options).estimates
    best = min(ms for _, ms in estimates)
    runs: dict[str, Run] = {}
    for engine, estimate in estimates:
        if engine == "reference" or estimate > 12 * best:
            continue
        try:
            runner = prepare(plan_conv(case.shape, case.weight, engine=engine, **options), case.weight)
        except UsageError:
            continue
        out = np.empty(runner.plan.output_shape, np.float32)
        runs[engine] = lambda runner=runner, out=out: runner.run(image, out)
    return runs, chosen.engine, chosen.method


def peers(case: Case, image: np.ndarray) -> dict[str, Run]:
    """Return a run for each peer that does this; those that cannot stride compute everything and drop the rest."""
    weight = case.weight.astype(np.float32)
    n_out, n_in, k, _ = weight.shape
    tensor, taps = torch.from_numpy(image.astype(np.float32)), torch.from_numpy(weight)
    pad, pads = case.pad, (case.pad,) * 4
    found: dict[str, Run] = {}

    def with_torch() -> np.ndarray:
        padded = torch.nn.functional.pad(tensor[None], pads, mode="replicate")
        return torch.nn.functional.conv2d(padded, taps, None, case.stride, 0, case.dilation, case.groups)[0].numpy()

    if k <= 49 and image.size * k * k * n_out // case.groups < 4e10:
        found["torch"] = with_torch
    if n_in > 1 or case.dilation > 1:
        return found
    per_plane = n_out // case.groups
    whole = np.empty((n_out, *image.shape[1:]), np.float32)
    out = whole[:, :: case.stride, :: case.stride]

    def with_opencv() -> np.ndarray:
        for o in range(n_out):
            source = image[o // per_plane]
            cv2.filter2D(source, cv2.CV_32F, weight[o, 0], dst=whole[o], borderType=cv2.BORDER_REPLICATE)
        return out

    found["opencv"] = with_opencv
    if image.size * k * k * per_plane < 2.5e9:

        def with_ndimage() -> np.ndarray:
            for o in range(n_out):
                scipy.ndimage.correlate(
                    image[o // per_plane].astype(np.float32), weight[o, 0], whole[o], mode="nearest"
                )
            return out

        found["ndimage"] = with_ndimage
    if k >= 7 and n_out < 10:

        def with_oaconvolve() -> np.ndarray:
            padded = np.pad(image, ((0, 0), (pad, pad), (pad, pad)), mode="edge")
            maps = [scipy.signal.oaconvolve(padded[0], w[0, ::-1, ::-1], mode="valid") for w in weight]
            return np.stack(maps)[:, :: case.stride, :: case.stride]

        if case.groups == 1:
            found["oaconvolve"] = with_oaconvolve
    left, values, right = np.linalg.svd(case.weight[0, 0])
    if n_out == 1 and values[1] < 1e-6 * values[0]:
        row, column = right[0] * np.sqrt(values[0]), left[:, 0] * np.sqrt(values[0])

        def with_sep_filter() -> np.ndarray:
            cv2.sepFilter2D(image[0], cv2.CV_32F, row, column, dst=whole[0], borderType=cv2.BORDER_REPLICATE)
            return out

        found["sepFilter2D"] = with_sep_filter
    if case.stride == 1 and k <= 15 and per_plane == 1 and case.groups in (1, 3):
        import kornia

        one = taps[0]

        def with_kornia() -> np.ndarray:
            return kornia.filters.filter2d(tensor[None], one, border_type="replicate")[0].numpy()

        if (weight == weight[:1]).all():
            found["kornia"] = with_kornia
    return found


def measure(runs: dict[str, Run]) -> dict[str, float]:
    """Return the shortest time of each in seconds, taking turns."""
    times: dict[str, float] = {}
    for name, run in runs.items():
        start = time.perf_counter()
        run()
        times[name] = time.perf_counter() - start
    slow = {name for name, seconds in times.items() if seconds > ONCE_S}
    for turn in range(REPEATS):
        for name, run in runs.items():
            if name in slow:
                continue
            for again in range(IN_A_ROW):
                start = time.perf_counter()
                run()
                seconds = time.perf_counter() - start
                times[name] = seconds if turn == again == 0 else min(times[name], seconds)
    return times


def bench(case: Case) -> dict[str, Any]:
    """Check that everybody computes the same, then time everybody."""
    image = (np.random.default_rng(1).random(case.shape, dtype=np.float32) * 255).astype(case.dtype)
    ours, picked, method = our_engines(case, image)
    theirs = peers(case, image)
    reference = ours[picked]().copy()
    scale = float(np.abs(reference).max())
    for name, run in {**ours, **theirs}.items():
        worst = float(np.abs(run() - reference).max()) / scale
        if worst > 1e-3:
            raise SystemExit(f"{case.name}: {name} computes something else, off by {worst:.1e}")
    times = measure({**{f"our {name}": run for name, run in ours.items()}, **theirs})
    our_times = {name.removeprefix("our "): t for name, t in times.items() if name.startswith("our ")}
    peer_times = {name: t for name, t in times.items() if not name.startswith("our ")}
    mine = our_times[picked]
    return {
        "case": case.name,
        "picked": picked,
        "method": method,
        "ms": mine * 1e3,
        "ns_per_pixel": mine * 1e9 / (case.shape[1] * case.shape[2]),
        "pick_over_best": mine / min(our_times.values()),
        "engines_ms": {name: t * 1e3 for name, t in our_times.items()},
        "peers_ms": {name: t * 1e3 for name, t in peer_times.items()},
        "ratios": {name: t / mine for name, t in peer_times.items()},
        "over_best_peer": min(peer_times.values()) / mine,
    }


PEERS = ("opencv", "sepFilter2D", "torch", "ndimage", "oaconvolve", "kornia")


def show(results: list[dict[str, Any]]) -> str:
    """Return the table: our time, then each peer's time as a multiple of it."""
    headings = ["case", "engine", "ms", "ns/px", "pick /\nbest", *[f"{name}\n/ ours" for name in PEERS], "x best\npeer"]
    rows = [
        [
            r["case"],
            r["picked"],
            f"{r['ms']:.1f}",
            f"{r['ns_per_pixel']:.2f}",
            f"{r['pick_over_best']:.2f}",
            *[f"{r['ratios'][name]:.2f}" if name in r["ratios"] else "-" for name in PEERS],
            f"{r['over_best_peer']:.2f}",
        ]
        for r in results
    ]
    return render_table(headings, rows, align="ll" + "r" * (len(headings) - 2))


def stride_by_conv2d(k: int) -> float:
    """Return what stride 2 costs of stride 1 as most call it, on 12 megapixels."""
    image = np.random.default_rng(1).random((1, *MEGAPIXELS[12]), dtype=np.float32)
    weight = np.random.default_rng(0).standard_normal((1, 1, k, k))
    runs: dict[str, Run] = {
        str(stride): lambda stride=stride: conv2d(image, weight, padding=k // 2, stride=stride) for stride in (1, 2)
    }
    times = measure(runs)
    return times["2"] / times["1"]


def summary(results: list[dict[str, Any]]) -> str:
    """Return what is asked of the engine as a whole."""
    by_case = {r["case"]: r for r in results}
    lines = [f"planner: at most {max(r['pick_over_best'] for r in results):.2f} of the best of our engines"]
    for k in (3, 7, 15):
        one, two = by_case.get(f"{k}x{k}, 12 MP"), by_case.get(f"{k}x{k} stride 2, 12 MP")
        if one and two:
            lines.append(
                f"{k}x{k}: stride 2 costs {two['ms'] / one['ms']:.2f} of stride 1 into memory that is there, "
                f"{stride_by_conv2d(k):.2f} by conv2d, which makes it"
            )
    for k in (3, 7, 15, 61):
        small, large = by_case.get(f"{k}x{k}, 1 MP"), by_case.get(f"{k}x{k}, 12 MP")
        if small and large:
            lines.append(
                f"{k}x{k}: a pixel of 12 MP costs {large['ns_per_pixel'] / small['ns_per_pixel']:.2f} of 1 MP's"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="cases whose name contains this; several by |")
    parser.add_argument("--threads", type=int, default=available_threads(), help="of everybody")
    parser.add_argument("--simd", choices=native.LEVELS, help="our instruction set")
    parser.add_argument("--json", type=Path, help="write the results there")
    arguments = parser.parse_args()
    global THREADS
    threads = THREADS = arguments.threads
    native.use_simd(arguments.simd)
    cv2.setNumThreads(threads)
    torch.set_num_threads(threads)
    print(
        f"{threads} threads, {native.loops()}; NumPy {np.__version__}, OpenCV {cv2.__version__}, "
        f"torch {torch.__version__}, SciPy {scipy.__version__}; times of peers over ours, above 1 we are faster"
    )
    results = []
    for case in cases():
        if any(part in case.name for part in arguments.only.split("|")):
            results.append(bench(case))
            print(show(results[-1:]).splitlines()[-1], file=sys.stderr, flush=True)
    print(show(results))
    print()
    print(summary(results))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
