"""The planner: bounds that are measured, choices that are said, threads that change nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
import tracemalloc

import numpy as np
import pytest
import torch
from conftest import PURE, PURE_FFT, run_cli
from oracles import assert_close
from PIL import Image

from convcli import conv2d
from convcli.engine import ENGINES, Border, native, plan_conv, prepare
from convcli.engine import plan as plan_module
from convcli.engine.algorithms.base import ScratchPool
from convcli.engine.algorithms.fft import good_size
from convcli.engine.algorithms.separable import factors
from convcli.engine.runner import run_bands
from convcli.errors import ConvcliError, GeometryError, UsageError
from convcli.pipeline.flags import parse_bytes

REPLICATE = Border("replicate")
COMPILED = ("direct",) if native.core else ()


def weights(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape)


@pytest.mark.parametrize("memory", [2**20, 8 * 2**20, 64 * 2**20])
@pytest.mark.parametrize("engine", [*PURE, *COMPILED, "separable", PURE_FFT])
@pytest.mark.parametrize(("kernels", "size"), [(1, 3), (4, 9), (2, 31)])
def test_memory_stays_below_its_bound(memory, engine, kernels, size):
    """Measured, not estimated: what is allocated beyond input and output."""
    # Sums of 31x31 taps take long, and with fewer rows too they need more memory than any bound.
    shape = (2, {"reference": 90}.get(engine, 160 if size == 31 else 400), 500)
    image = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    weight = np.repeat(weights(1, 1, size, 1) * weights(1, 1, 1, size), 2 * kernels, axis=0)
    arguments = {"padding": ((1, 1), (2, 2)), "groups": 2, "border": REPLICATE, "memory": memory, "threads": 2}
    if (memory, engine) == (2**20, "fft") or (memory, engine, size) == (2**20, "im2col", 31):
        with pytest.raises(UsageError, match=r"needs at least 1[0-9]{3} KiB of memory"):
            plan_conv(image.shape, weight, engine=engine, **arguments)
        return
    plan = plan_conv(image.shape, weight, engine=engine, **arguments)
    out = np.empty(plan.output_shape, np.float32)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        prepare(plan, weight).run(image, out)
        used = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    slack = 200_000  # Python's own objects, matrices of a few taps
    assert used <= memory + slack, plan.method
    assert used <= plan.memory_bytes * 1.15 + slack, "the plan promised less"


@pytest.mark.parametrize("engine", ["auto", *PURE, "separable", PURE_FFT])
@pytest.mark.parametrize("size", [3, 21])
def test_a_bound_too_small_for_a_row_is_refused_with_the_least_that_would_do(engine, size):
    weight = np.ones((1, 1, size, size))
    arguments = {"engine": engine, "border": REPLICATE, "threads": 2}
    with pytest.raises(UsageError, match=r"needs at least [0-9]+ (KiB|bytes) of memory$") as caught:
        plan_conv((1, 300, 400), weight, memory=1, **arguments)
    least = parse_bytes(str(caught.value.hint).removeprefix("--memory "), "--memory")
    assert plan_conv((1, 300, 400), weight, memory=least, **arguments).memory_bytes <= least
    with pytest.raises(UsageError, match="at least"):
        plan_conv((1, 300, 400), weight, memory=least - 1025, **arguments)


def test_a_huge_kernel_of_rank_one_is_planned_and_run_without_a_decomposition(monkeypatch):
    """One of 2001 × 2001 taps alone would take several seconds."""

    def refuse(matrix, *args, **options):
        raise AssertionError(f"a matrix of {np.shape(matrix)} is decomposed")

    for name in ("svd", "qr", "eigh"):
        monkeypatch.setattr(np.linalg, name, refuse)
    line = np.exp(-(np.linspace(-4, 4, 2001) ** 2))
    weight = np.broadcast_to(np.outer(line, line), (3, 1, 2001, 2001))
    pad = ((1000, 1000), (1000, 1000))
    plan = plan_conv((3, 5, 7), weight, padding=pad, groups=3, border=REPLICATE, input_dtype="uint8")
    maps = prepare(plan, weight).run(np.full((3, 5, 7), 9, np.uint8))
    assert (plan.engine, plan.settings) == ("separable", (1,))
    assert_close(maps, np.full((3, 5, 7), 9 * weight[0].sum()), rtol=1e-5)


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
@pytest.mark.parametrize(("size", "rank"), [((5, 9), 1), ((40, 200), 3), ((180, 150), 1), ((180, 150), 4)])
def test_kernels_are_taken_apart(size, rank, scale):
    random = np.random.default_rng(rank)
    kernel = scale * random.standard_normal((size[0], rank)) @ random.standard_normal((rank, size[1]))
    columns, rows = factors(kernel, "float64")
    assert len(columns) == len(rows) == rank
    assert np.abs(columns.T @ rows - kernel).max() < 1e-12 * np.abs(kernel).max()


def test_large_kernels_that_differ_in_one_tap_are_kept_apart():
    """Groups of the same kernels share what is prepared for them."""
    weight = np.ones((2, 1, 50, 50))
    weight[1, 0, 0, 1] = 11
    maps = conv2d(np.ones((2, 60, 60)), weight, groups=2)
    np.testing.assert_allclose(maps[0], 2500)
    np.testing.assert_allclose(maps[1], 2510)


@pytest.mark.parametrize("size", [150, 300])
def test_a_large_kernel_of_no_low_rank_is_left_to_the_transform(size):
    weight = weights(1, 1, size, size)
    assert factors(weight[0, 0], "float32") is None
    # A single tap off the product is seen.
    almost = np.ones((size, size))
    almost[3, 4] += 1e-4
    columns, _ = factors(almost, "float32")
    assert len(columns) == 2
    plan = plan_conv((1, 500, 500), weight)
    assert plan.engine == "fft"
    assert "columns times rows" in dict(plan.excluded)["separable"]


@pytest.mark.parametrize(
    ("arguments", "scale", "bias"),
    [
        ({"input_dtype": "uint8"}, 1e37, 0),
        ({"input_dtype": "uint16"}, 1e34, 0),
        ({"input_dtype": "int32"}, 1e30, 0),
        ({"input_dtype": "float32"}, 1e38, 0),
        ({"border": Border("constant", 1e38)}, 1, 0),
        ({"border": Border("constant", -1e40)}, 0, 0),
        ({"input_dtype": "uint8"}, 1e35, -3.4e38),
    ],
)
def test_what_float32_cannot_hold_is_refused_and_float64_takes_it(arguments, scale, bias):
    weight, shift = np.full((1, 1, 3, 3), float(scale)), np.array([float(bias)])
    arguments = {**arguments, "padding": ((1, 1), (1, 1))}
    with pytest.raises(UsageError, match=r"float32 ends at 3\.403e") as caught:
        prepare(plan_conv((1, 6, 6), weight, **arguments), weight, shift)
    assert caught.value.hint == "--dtype float64"
    plan = plan_conv((1, 6, 6), weight, dtype="float64", **arguments)
    samples = np.full((1, 6, 6), 200, arguments.get("input_dtype", "float32"))
    maps = prepare(plan, weight, shift).run(samples)
    assert np.isfinite(maps).all()
    assert maps[0, 2, 2] == pytest.approx(1800 * scale + bias)


@pytest.mark.parametrize("planes", [3, 4])
def test_a_bias_out_of_range_is_refused_before_the_image_is_read(planes, tmp_path):
    """With alpha the bias is added behind the engine."""
    path = tmp_path / "picture.png"
    Image.fromarray(np.full((5, 6, planes), 90, np.uint8)).save(path)
    result = run_cli("apply", path, "-k", "sharpen", "--bias", "1e39", "-o", tmp_path / "out.png", "--dry-run")
    assert (result.exit_code, "hint: --dtype float64" in result.stderr) == (2, True), result.stderr
    assert "float32 ends at 3.403e+38" in result.stderr


def test_what_float64_cannot_hold_is_refused():
    with pytest.raises(UsageError, match="float64 ends at") as caught:
        plan_conv((1, 6, 6), np.full((1, 1, 3, 3), 1e308), dtype="float64")
    assert "float64" not in str(caught.value.hint)


@pytest.mark.parametrize("engine", ["auto", *PURE, "separable", PURE_FFT])
@pytest.mark.parametrize("threads", [1, 3])
def test_huge_samples_overflow_to_infinity_without_a_warning(engine, threads):
    """Warnings are errors here, also in worker threads, which hand theirs on."""
    image = np.full((1, 300, 400), 1e38, np.float32)
    maps = conv2d(image, np.full((1, 1, 5, 5), 2.0), engine=engine, threads=threads)
    assert np.isposinf(maps).all()


@pytest.mark.parametrize("engine", [name for name in ENGINES if name != "torch" and (native.core or name != "direct")])
def test_threads_and_bands_change_nothing(engine):
    image = weights(3, 120, 90).astype(np.float32)
    weight = np.repeat(weights(1, 1, 5, 1) * weights(1, 1, 1, 7), 6, axis=0)
    maps = [
        conv2d(image, weight, padding="same", groups=3, engine=engine, threads=threads, memory=memory)
        for threads, memory in ((1, None), (2, None), (5, 3 * 2**20))
    ]
    # Other bands are other matrices: the last bit of a float32 may differ.
    for other in maps[1:]:
        assert_close(other, maps[0].astype(np.float64), rtol=1e-6)


def test_one_runner_serves_many_threads_at_once():
    weight = weights(2, 1, 9, 9)
    images = [weights(1, 80, 70 + 0 * n) * n for n in range(1, 9)]
    plan = plan_conv((1, 80, 70), weight, dtype="float64", engine="gemm")
    runner = prepare(plan, weight)
    expected = [runner.run(image).copy() for image in images]
    found: dict[int, np.ndarray] = {}

    def work(index: int) -> None:
        for _ in range(5):
            found[index] = runner.run(images[index])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(images))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, maps in enumerate(expected):
        np.testing.assert_array_equal(found[index], maps)


def test_an_error_in_one_band_stops_the_others_and_is_raised():
    done, all_busy = [], threading.Barrier(3)

    def work(band, scratch):
        if band == 3:
            raise ConvcliError("band 3")
        if band < 3:  # one for each thread
            all_busy.wait(300)
        else:
            time.sleep(0.2)  # by then the failure is noted
        done.append(band)

    with pytest.raises(ConvcliError, match="band 3"):
        run_bands(work, range(500), ScratchPool(), 3)
    assert set(done) <= {0, 1, 2, 4, 5}, "bands were begun after the failure"


def test_the_reason_names_method_estimate_and_runner_up():
    plan = plan_conv((1, 500, 500), weights(1, 1, 31, 31))
    assert plan.engine == "fft"
    assert "overlap-save" in plan.reason
    assert "next" in plan.reason
    assert plan.reason in plan.as_dict().values()
    asked = plan_conv((1, 500, 500), weights(1, 1, 31, 31), engine="gemm")
    assert asked.reason.startswith("asked for")


@pytest.mark.parametrize(
    ("shape", "weight", "arguments", "engine"),
    [
        ((3, 1000, 1000), np.tile([[[[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]]], (3, 1, 1, 1)), {"groups": 3}, "gemm"),
        ((1, 1000, 1000), weights(1, 1, 7, 7), {}, "gemm"),
        ((1, 1000, 1000), weights(1, 1, 61, 61), {}, "fft"),
        ((1, 1000, 1000), np.outer(np.hanning(33), np.hanning(33))[None, None], {}, "separable"),
        ((1, 1000, 1000), weights(48, 1, 49, 49), {}, "fft"),
    ],
)
def test_the_choice_is_made_from_integers(shape, weight, arguments, engine, monkeypatch):
    monkeypatch.setattr(native, "core", None)
    plan = plan_conv(shape, weight, **arguments)
    assert plan.engine == engine
    assert dict(plan.estimates)[engine] == min(ms for name, ms in plan.estimates if name not in ("reference", "im2col"))


@pytest.mark.parametrize("size", [(40, 60), (300, 500), (1000, 1000), (3000, 4000)])
@pytest.mark.parametrize("simd", ["", "AVX2", "AVX-512"])
@pytest.mark.parametrize("input_dtype", ["uint8", "float32"])
def test_the_choice_does_not_depend_on_the_number_of_threads(size, simd, input_dtype, monkeypatch):
    """Else a batch would give other bytes on a larger machine. Only a transform's tiles are cut for its threads."""
    monkeypatch.setattr(native, "core", object() if simd else None)
    monkeypatch.setattr(native, "simd", simd)
    for kernel in (weights(3, 1, 3, 3), weights(3, 1, 9, 9), np.ones((3, 1, 3, 3))):
        plans = [plan_conv((3, *size), kernel, groups=3, input_dtype=input_dtype, threads=n) for n in (1, 2, 3, 16)]
        assert len({plan.engine for plan in plans}) == 1


@pytest.mark.parametrize("simd", ["", "SSE2", "NEON", "AVX2", "AVX-512"])
def test_algorithms_that_are_not_asked_would_not_be_picked(simd, monkeypatch):
    monkeypatch.setattr(native, "core", object() if simd else None)
    monkeypatch.setattr(native, "simd", simd)
    all_asked = {name: (*row[:2], 1, 0.0, 0.0) for name, row in plan_module.ALL.items()}
    random, n_left_out = np.random.default_rng(11), 0
    for _ in range(200):
        groups, planes = random.choice([(1, 1), (3, 1), (1, 3), (1, 16)]).tolist()
        sides = random.choice([1, 2, 3, 5, 7, 31, 61], 2)
        kernel = weights(groups * int(random.choice([1, 2, 16, 32])), planes, *sides)
        if random.random() < 0.5:
            kernel[:] = 1  # separable
        shape = (groups * planes, *random.choice([1, 8, 61, 500, 3000], 2).tolist())
        job = {"padding": ((60, 60), (60, 60)), "groups": groups, "input_dtype": random.choice(["uint8", "float32"])}
        job |= {name: (int(random.choice([1, 1, 2])),) * 2 for name in ("stride", "dilation")}
        plan = plan_conv(shape, kernel, **job)
        with monkeypatch.context() as patch:
            patch.setattr(plan_module, "ALL", all_asked)
            expected = plan_conv(shape, kernel, **job)
        assert plan.engine == expected.engine
        assert plan.method == expected.method
        n_left_out += len(plan.estimates) < len(expected.estimates) - 1  # the reference is never asked
    assert n_left_out > (12 if simd else 3)


def test_torch_is_never_picked_for_large_kernels():
    """Its direct path falls off a cliff above 49×49, loaded or not."""
    assert "torch" in sys.modules
    for size in (51, 101):
        plan = plan_conv((64, 200, 200), weights(64, 64, size, 3), memory=2**33)
        assert plan.engine != "torch"


@pytest.mark.subprocess
def test_torch_is_imported_only_where_it_pays():
    script = """
        import sys, numpy as np
        from convcli.engine import conv2d, plan_conv
        small = plan_conv((3, 100, 100), np.ones((8, 3, 3, 3)))
        conv2d(np.ones((3, 64, 64)), np.ones((8, 3, 3, 3)))
        assert "torch" not in sys.modules, small.engine
        conv2d(np.ones((1, 8, 8)), np.ones((1, 1, 3, 3)), engine="torch")
        assert "torch" in sys.modules
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True)


def test_mps_is_refused_where_there_is_none():
    if torch.backends.mps.is_available():
        pytest.skip("this machine has a Metal device")
    with pytest.raises(UsageError, match="mps"):
        prepare(plan_conv((1, 8, 8), weights(1, 1, 3, 3), device="mps"), weights(1, 1, 3, 3))


@pytest.mark.gpu
def test_cuda_gives_the_same_maps():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    image, weight = weights(3, 300, 400), weights(6, 1, 7, 7)
    expected = conv2d(image, weight, groups=3, engine="reference")
    for dtype, tolerance in (("float32", 3e-6), ("float64", 1e-13)):
        plan = plan_conv(image.shape, weight, groups=3, dtype=dtype, device="cuda")
        assert_close(prepare(plan, weight).run(image), expected, rtol=tolerance)


def test_what_the_plan_was_not_made_for_is_refused():
    weight = np.array([[[[1, 2], [3, 4]]]])
    plan = plan_conv((1, 9, 9), weight, input_dtype="uint8", engine="gemm")
    runner = prepare(plan, weight)
    with pytest.raises(GeometryError, match="planned for"):
        runner.run(np.ones((1, 9, 8), np.uint8))
    with pytest.raises(GeometryError, match="uint8"):
        runner.run(np.ones((1, 9, 9), np.float32))
    with pytest.raises(GeometryError, match="rows"):
        runner.rows(np.ones((1, 9, 9), np.uint8), 3, 9)
    with pytest.raises(GeometryError, match="out of shape"):
        runner.run(np.ones((1, 9, 9), np.uint8), np.empty((1, 9, 9), np.float32))
    with pytest.raises(GeometryError, match="out of type"):
        runner.run(np.ones((1, 9, 9), np.uint8), np.empty((1, 8, 8), np.uint8))
    with pytest.raises(GeometryError, match="bias"):
        prepare(plan, weight, np.ones(2))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("shape", [(2, 1, 3, 3), (4, 1, 9, 7), (2, 2, 5, 5), (1, 2, 17, 17)])
@pytest.mark.parametrize("stride", [1, 2])
def test_engines_that_say_exact_are(engine, shape, stride):
    """8-bit samples, whole taps: not one bit off; engines that work with rounded factors do not say so."""
    random = np.random.default_rng(7)
    planes = random.integers(0, 256, (2, 61, 83), dtype=np.uint8)
    weight = random.integers(-9, 10, shape)
    arguments = {"stride": (stride, stride), "padding": ((2, 1), (3, 0)), "groups": 2 // shape[1]}
    if engine == "separable" or (engine == "direct" and not native.core):  # kernels of random taps have full rank
        with pytest.raises(UsageError, match="does not take this job"):
            plan_conv(planes.shape, weight, input_dtype="uint8", engine=engine, border=REPLICATE, **arguments)
        return
    plan = plan_conv(planes.shape, weight, input_dtype="uint8", engine=engine, border=REPLICATE, **arguments)
    assert plan.exact == (engine in ("reference", "im2col", "gemm", "direct"))
    maps = prepare(plan, weight).run(planes)
    expected = conv2d(planes, weight, engine="reference", padding_mode="replicate", **arguments)
    if plan.exact:
        np.testing.assert_array_equal(maps, expected)
    else:
        assert_close(maps, expected, rtol=3e-6)


def test_good_sizes_have_small_factors_only():
    for least in range(1, 600):
        size = good_size(least)
        assert size >= max(least, 2)
        assert size % 2 == 0
        for factor in (2, 3, 5):
            while size % factor == 0:
                size //= factor
        assert size == 1


@pytest.mark.parametrize("engine", ["fft", "auto"])
@pytest.mark.parametrize("outlier", [1e4, 1e9, 1e12, 1e30])
def test_one_bright_sample_leaves_the_others_alone(engine, outlier):
    """A transform rounds by its largest sample; windows that miss it must not see that."""
    image = np.ones((1, 200, 300), np.float32)
    image[0, 100, 150] = outlier
    image[0, :, :60] = 0
    maps = conv2d(image, np.full((1, 1, 61, 61), 1 / 3721), engine=engine)
    rows, columns = np.mgrid[:140, :240]
    missed = (np.abs(rows + 30 - 100) > 30) | (np.abs(columns + 30 - 150) > 30)
    assert np.abs(maps[0][missed & (columns >= 60)] - 1).max() < 1e-5
    assert missed[:, 0].all()
    assert (conv2d(image, np.ones((1, 1, 31, 31)), engine=engine)[0, :, :29] == 0).all()


def test_half_of_the_image_a_million_times_brighter():
    image = np.ones((1, 150, 400), np.float32)
    image[..., :200] = 1e6
    maps = conv2d(image, np.full((1, 1, 61, 61), 1 / 3721), engine="fft")
    assert np.abs(maps[..., 200:] - 1).max() < 1e-5
    assert np.abs(maps[..., :140] / 1e6 - 1).max() < 1e-5


def test_photographs_of_bytes_are_transformed_in_float32():
    """Eight bits span no range: nothing is looked at, and spectra are kept once."""
    weight = weights(4, 1, 31, 31)
    narrow, wide = (plan_conv((1, 300, 400), weight, engine="fft", input_dtype=name) for name in ("uint8", "float32"))
    assert narrow.memory_bytes < 0.7 * wide.memory_bytes


class Settings:
    """Stands for ``torch.backends.cudnn``, and tells who saw what."""

    allow_tf32 = True


@pytest.mark.pure
def test_tf32_is_off_for_every_user_and_back_after_the_last():
    from convcli.engine.algorithms.torch import without_tf32

    settings, both, seen = Settings(), threading.Barrier(2), []

    def first() -> None:
        with without_tf32(settings):
            both.wait()  # the other begins while this one runs
            both.wait()
        both.wait()

    def second() -> None:
        both.wait()
        with without_tf32(settings):
            both.wait()
            both.wait()  # the first has ended
            seen.append(settings.allow_tf32)

    threads = [threading.Thread(target=work) for work in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [False]
    assert settings.allow_tf32 is True


@pytest.mark.pure
def test_a_device_takes_bands_of_its_memory_and_bytes_as_they_are(monkeypatch):
    """A stand-in on the CPU: large bands, uint8 over the bus, planes with the same kernels as a batch."""
    from convcli.engine.algorithms import torch as engine_torch

    monkeypatch.setattr(engine_torch, "torch_device", lambda _: torch.device("cpu"))
    rows, taken = [], []
    conv = torch.nn.functional.conv2d
    to = torch.from_numpy

    def watched(samples, *arguments, **options):
        rows.append(tuple(samples.shape))
        return conv(samples, *arguments, **options)

    monkeypatch.setattr(torch.nn.functional, "conv2d", watched)
    monkeypatch.setattr(torch, "from_numpy", lambda array: taken.append(array.dtype) or to(array))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    picture = np.random.default_rng(0).integers(0, 256, (3, 2000, 300), dtype=np.uint8)
    weight = np.tile(weights(2, 1, 5, 5), (3, 1, 1, 1))
    bands = {}
    for free in (2**24, 2**33):
        monkeypatch.setattr(engine_torch, "free_bytes", lambda _, free=free: free)
        plan = plan_conv(picture.shape, weight, groups=3, input_dtype="uint8", device="cuda")
        rows.clear()
        maps = prepare(plan, weight, np.arange(6.0)).run(picture)
        bands[free] = len(rows)
        assert {shape[:2] for shape in rows} == {(3, 1)}
    assert bands[2**33] == 1 < bands[2**24]
    assert np.dtype(np.uint8) in taken
    assert np.dtype(np.float32) not in taken[1:2]
    expected = conv2d(picture, weight, np.arange(6.0), groups=3, engine="reference")
    assert_close(maps, expected, rtol=2e-6)


@pytest.mark.subprocess
@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["compare", "PHOTO", "-k", "sobel"], 0, "torch is not installed"),
        (["apply", "PHOTO", "-k", "sobel", "--device", "cuda", "-o", "OUT"], 2, "--device cuda needs torch"),
        (["apply", "PHOTO", "-k", "sobel", "--engine", "torch", "-o", "OUT"], 2, "torch is not installed"),
        (["apply", "PHOTO", "-k", "WEIGHTS", "-o", "OUT"], 4, "needs torch"),
        (["kernels", "export", "sobel", "--format", "torch", "-o", "OUT"], 4, "needs torch"),
        (["apply", "PHOTO", "-k", "gaussian:sigma=2", "-o", "OUT"], 0, ""),
    ],
)
def test_without_torch_it_is_said_what_is_missing(arguments, code, said, photo, tmp_path):
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError('no torch here', name='torch')")
    torch.save({"w": torch.ones(1, 1, 3, 3)}, tmp_path / "w.pt")
    places = {"PHOTO": photo, "OUT": tmp_path / "o.png", "WEIGHTS": tmp_path / "w.pt"}
    script = """
import sys, importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "torch" else find(name, *rest)
from convcli.cli import main
main(sys.argv[1:])
"""
    result = subprocess.run(
        [sys.executable, "-c", script, *(str(places.get(word, word)) for word in arguments)],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, "Traceback" in result.stderr) == (code, False), result.stderr
    assert said in result.stdout + result.stderr
