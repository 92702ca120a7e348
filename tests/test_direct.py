"""The direct engine: instructions against an assembler's, maps against torch's, reads against pages that may not be."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import textwrap
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import assert_close, pad_loops
from strategies import Case, convolutions

from convcli import engine
from convcli.engine import Border, conv2d, offer_direct, parse_border, plan_conv, prepare
from convcli.engine import direct as direct_module
from convcli.engine.direct import Direct
from convcli.engine.direct_code import Shape, write_program
from convcli.engine.direct_rows import Edge
from convcli.engine.job import Job
from convcli.engine.source import BandSource, Scratch
from convcli.errors import GeometryError, UsageError
from convcli.machine import processor

VECTORS = [size for size in processor.FEATURES if size <= processor.vector_bytes()]
runs_code = pytest.mark.skipif(not VECTORS, reason="this machine runs none of this code")


def by_torch(case: Case, image: np.ndarray, weight: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
    border = parse_border(case.border)
    padded = pad_loops(image, case.padding, border.mode, border.value)
    tensors = [None if array is None else torch.from_numpy(array) for array in (padded, weight, bias)]
    return torch.nn.functional.conv2d(*tensors, case.stride, 0, case.dilation, case.groups).numpy()


@runs_code
@given(case=convolutions(), vector=st.sampled_from(VECTORS or [0]), wider=st.integers(1, 150))
@settings(max_examples=120)
def test_direct_equals_torch(case, vector, wider):
    """Rows in place and gathered, every border, strides of 1, 2 and more, groups, dilation, bias, both vectors."""
    case = dataclasses.replace(case, axes=(case.axes[0], case.axes[1] + 3 * 16 + wider))
    image, weight, bias = case.arrays()
    expected = by_torch(case, image, weight, bias)
    unit = float(np.abs(image).max() * np.abs(weight).sum(axis=(1, 2, 3)).max()) + 5
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(offer_direct, "vector_bytes", lambda: vector)
        patch.setattr(direct_module, "vector_bytes", lambda: vector)
        for dtype, tolerance in ((np.float64, 1e-12), (np.float32, 2e-6)):
            maps = [
                prepare(plan_for(case, plane.shape, weight, np.dtype(dtype).name, input_dtype), weight, bias).run(
                    plane.astype(input_dtype)
                )
                for plane in image
                for input_dtype in ("float64", "float32")
            ]
            assert_close(np.stack(maps[::2]), expected, rtol=tolerance, scale=unit)
            assert_close(np.stack(maps[1::2]), expected, rtol=2e-6, scale=unit)


def plan_for(case, shape, weight, dtype, input_dtype):
    return plan_conv(
        shape,
        weight,
        case.stride,
        case.padding,
        case.dilation,
        case.groups,
        parse_border(case.border),
        dtype=dtype,
        input_dtype=input_dtype,
        engine="direct",
        threads=2,
    )


@runs_code
@given(case=convolutions(transposed=True, symmetric=True), wider=st.integers(40, 90))
@settings(max_examples=40)
def test_direct_equals_torch_transposed(case, wider):
    case = dataclasses.replace(case, axes=(case.axes[0], case.axes[1] + wider), output_padding=(0, 0))
    image, weight, bias = case.arrays()
    tensors = [None if array is None else torch.from_numpy(array) for array in (image, weight, bias)]
    padding = tuple(before for before, _ in case.padding)
    expected = torch.nn.functional.conv_transpose2d(
        *tensors, case.stride, padding, 0, case.groups, case.dilation
    ).numpy()
    for one, wanted in zip(image, expected, strict=True):
        plan = plan_conv(
            one.shape,
            weight,
            case.stride,
            case.padding,
            case.dilation,
            case.groups,
            transposed=True,
            engine="direct",
            dtype="float64",
            input_dtype="float64",
        )
        assert_close(prepare(plan, weight, bias).run(one), wanted, rtol=1e-12, scale=np.abs(weight).sum() * 5 + 5)


@runs_code
@pytest.mark.parametrize("n_axes", [1, 2, 3])
@pytest.mark.parametrize("kernel_px", [1, 2, 5, 24])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_direct_over_one_two_and_three_axes_and_a_batch(n_axes, kernel_px, stride):
    random = np.random.default_rng(kernel_px)
    image = random.standard_normal((2, 4, *(6, 7, 140)[3 - n_axes :]))
    weight = random.standard_normal((6, 2, *(2, 3, kernel_px)[3 - n_axes :]))
    bias, name = random.standard_normal(6), f"conv{n_axes}d"
    arguments = {"stride": stride, "padding": 1, "groups": 2}
    expected = getattr(torch.nn.functional, name)(*map(torch.from_numpy, (image, weight, bias)), **arguments).numpy()
    maps = getattr(engine, name)(image, weight, bias, **arguments, engine="direct")
    assert_close(maps, expected, rtol=1e-12)
    maps = getattr(engine, name)(image.astype(np.float32), weight, bias, **arguments, engine="direct")
    assert_close(maps, expected, rtol=3e-6)


@runs_code
@pytest.mark.parametrize("border", ["constant:0.5", "reflect", "circular"])
@pytest.mark.parametrize("stride", [1, 2])
def test_rows_may_lie_in_any_order(border, stride):
    """Views turned upside down, with gaps between rows, read only, and maps written into a larger array."""
    random = np.random.default_rng(0)
    store = random.standard_normal((2, 64, 90)).astype(np.float32)
    weight = random.standard_normal((2, 1, 5, 4))
    options = {
        "stride": (stride, stride),
        "padding": ((3, 2), (4, 1)),
        "groups": 2,
        "border": parse_border(border),
        "engine": "direct",
    }
    for view in (store[:, ::-1], store[:, 5::2], store[::-1, :, 3:], store[..., ::-1]):
        view.flags.writeable = False
        plan = plan_conv(view.shape, weight, **options)
        runner = prepare(plan, weight, np.array([0.25, -3]))
        expected = prepare(plan_conv(view.shape, weight, **{**options, "engine": "taps"}), weight, np.array([0.25, -3]))
        large = np.full((2, plan.output_shape[1] + 2, plan.output_shape[2] + 3), 7, np.float32)
        runner.run(view, large[:, 1:-1, 2:-1])
        assert_close(large[:, 1:-1, 2:-1], expected.run(view).astype(np.float64), rtol=2e-6)
        large[:, 1:-1, 2:-1] = 7
        assert (large == 7).all(), "something was written beside the maps"


@runs_code
def test_planes_side_by_side_are_read_in_place():
    random = np.random.default_rng(0)
    picture = random.standard_normal((40, 50, 3)).astype(np.float32)
    weight = np.tile(random.standard_normal((1, 1, 3, 5)), (3, 1, 1, 1))
    for bias in (None, np.array([1.0, -2, 3])):
        options = {"padding": ((1, 1), (2, 2)), "groups": 3, "border": Border("reflect")}
        plan = plan_conv((3, 40, 50), weight, engine="direct", **options)
        assert plan.shared
        maps = prepare(plan, weight, bias).run(picture.transpose(2, 0, 1))
        expected = conv2d(
            picture.transpose(2, 0, 1), weight, bias, padding=(1, 2), groups=3, padding_mode="reflect", engine="taps"
        )
        assert_close(maps, expected.astype(np.float64), rtol=2e-6)


@runs_code
def test_what_is_not_finite_stays_in_its_window():
    image = np.zeros((1, 40, 60), np.float32)
    image[0, 20, 30], image[0, 5, 59], image[0, 39, 0] = np.nan, np.inf, -np.inf
    for stride in (1, 2, 3):
        maps = conv2d(image, np.ones((1, 1, 3, 3)), stride=stride, padding=1, engine="direct")
        expected = conv2d(image, np.ones((1, 1, 3, 3)), stride=stride, padding=1, engine="taps")
        np.testing.assert_array_equal(maps, expected)


GUARDED = """
    import ctypes, mmap, sys
    import numpy as np
    from convcli.engine import direct_rows, parse_border, plan_conv, prepare
    from guarded import guarded

    if "break" in sys.argv:
        init = direct_rows.RowsInPlace.__init__
        def broken(self, *arguments):
            init(self, *arguments)
            self._edge.high += 1
        direct_rows.RowsInPlace.__init__ = broken
    random = np.random.default_rng(0)
    for stride in (1, 2, 3):
        for k in (1, 3, 4):
            for border in ("constant:2", "replicate", "circular"):
                for pad in (0, 1):
                    for width in (64, 131, 300):
                        for dtype in ("float32", "float64"):
                            shape, weight = (2, 21, width), random.standard_normal((2, 1, k, k))
                            plan = plan_conv(shape, weight, (stride, stride), ((pad, pad),) * 2, groups=2,
                                             border=parse_border(border), dtype=dtype, input_dtype=dtype,
                                             engine="direct", threads=1)
                            runner = prepare(plan, weight)
                            for at_end in (True, False):
                                image = guarded(shape, dtype, at_end)
                                image[...] = 1
                                runner.run(image, guarded(plan.output_shape, dtype, at_end))
    print("whole")
"""


@runs_code
@pytest.mark.subprocess
@pytest.mark.parametrize("broken", [False, True])
def test_nothing_is_read_or_written_beyond_the_arrays(broken):
    """The pages next to them may not be touched; ``broken`` shows that this is noticed."""
    command = [sys.executable, "-c", textwrap.dedent(GUARDED), *(["break"] if broken else [])]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == (-signal.SIGSEGV if broken else 0), result.stderr
    assert broken or result.stdout == "whole\n"


@runs_code
def test_programs_are_kept_and_small():
    direct_module._program.cache_clear()
    for scale in (1, 2, 3):
        conv2d(np.ones((1, 64, 64), np.float32), np.full((1, 1, 3, 3), scale), engine="direct")
    assert direct_module._program.cache_info().misses == 1, "taps are data: no new program"
    for size in processor.FEATURES:
        assert len(write_program(Shape(tuple(range(0, 4 * 256, 4)), 1, 4, size))) < 64_000


@pytest.mark.parametrize("vector", [0, 64])
def test_where_code_cannot_run_other_engines_do(vector, monkeypatch):
    monkeypatch.setattr(offer_direct, "vector_bytes", lambda: vector)
    image, weight = np.ones((1, 9, 12), np.float32), np.ones((1, 1, 3, 3))
    with pytest.raises(UsageError, match=r"rows of 10 outputs|x86-64"):
        plan_conv(image.shape, weight, engine="direct")
    plan = plan_conv((1, 1000, 1000), weight)
    assert (plan.engine == "direct") == bool(vector)
    assert ("direct" in dict(plan.excluded)) != bool(vector)


@runs_code
def test_a_wide_kernel_is_refused_with_its_limit():
    with pytest.raises(UsageError, match="at most 256 columns"):
        plan_conv((1, 4, 400), np.ones((1, 1, 1, 257)), engine="direct")


@runs_code
def test_a_row_needs_one_vector_and_no_more():
    """The narrowest rows there are: one vector of outputs, then one more output each time."""
    for vector in VECTORS:
        for width in range(vector // 4, vector // 4 + 12):
            job = Job(1, 1, (2, 3), (1, 1), (1, 1), width, "float32")
            weight = np.random.default_rng(width).standard_normal((1, 1, 2, 3))
            image = np.random.default_rng(1).standard_normal((1, 4, width + 2)).astype(np.float32)
            target = np.empty((1, 3, width, 1), np.float32)
            source = BandSource(image, 0, 0, Border("constant"))
            direct_module.Direct(job, vector).load(weight).gather(source, slice(0, 1), 0, target, Scratch(), None)
            expected = torch.nn.functional.conv2d(
                torch.from_numpy(image[None].astype(np.float64)), torch.from_numpy(weight)
            ).numpy()[0]
            assert_close(target[..., 0], expected, rtol=2e-6)


@runs_code
def test_edges_wider_than_the_inside_and_rows_of_the_border():
    """Dilated taps on a narrow image: most windows leave it, and rows beyond it are one row of the constant."""
    random = np.random.default_rng(0)
    image, weight = random.standard_normal((2, 300, 100)).astype(np.float32), random.standard_normal((2, 1, 3, 3))
    for pad, dilation in ((41, 41), (20, 17), (5, 40), (90, 3)):
        options = {"padding": ((pad, pad),) * 2, "dilation": (dilation,) * 2, "groups": 2}
        for border in ("constant:7", "replicate", "circular"):
            plans = [
                plan_conv(image.shape, weight, border=parse_border(border), engine=engine, **options)
                for engine in ("direct", "taps")
            ]
            maps, expected = (prepare(plan, weight).run(image) for plan in plans)
            assert_close(maps, expected.astype(np.float64), rtol=2e-6)


@runs_code
def test_a_bias_is_added_to_finished_sums_however_the_samples_lie():
    image = np.full((1, 40, 64), 255, np.float32)
    weight = np.zeros((1, 1, 3, 3))
    weight[0, 0, 0, 0] = weight[0, 0, 0, 1] = 16000
    weight[0, 0, 2, 2] = -32000
    runner = prepare(plan_conv(image.shape, weight, engine="direct"), weight, np.array([0.1]))
    maps = runner.run(image)
    assert (maps == np.float32(0.1)).all()
    np.testing.assert_array_equal(runner.run(image[..., ::-1])[..., ::-1], maps)
    np.testing.assert_array_equal(runner.run(image.astype(np.float64)), maps)


def test_read_only_maps_are_refused():
    image, weight = np.ones((1, 30, 64), np.float32), np.ones((1, 1, 3, 3))
    for name in ("direct", "banded", "taps") if VECTORS else ("banded", "taps"):
        runner = prepare(plan_conv(image.shape, weight, engine=name), weight)
        with pytest.raises(GeometryError, match="read-only"):
            runner.run(image, np.frombuffer(bytes(28 * 62 * 4), np.float32).reshape(1, 28, 62))


@runs_code
@pytest.mark.parametrize(
    "case",
    [
        "gaps",
        "sum",
        "side by side",
        "upside down",
        "wide padding",
        "tall padding",
        "maps",
        "tall zeros",
        "tall circular",
    ],
)
def test_memory_is_kept_however_the_samples_lie(case):
    image, weight, options = np.ones((3, 900, 1001), np.float32), np.ones((3, 1, 3, 3)), {"padding": ((1, 1), (1, 1))}
    groups, out_type = 3, np.float32
    if case in ("gaps", "sum"):
        image = image[:, :, :1000]
    if case == "sum":
        weight, groups = np.ones((1, 3, 3, 3)), 1
    if case == "side by side":
        image = np.ones((900, 1001, 3), np.float32)[:, :1000].transpose(2, 0, 1)
    if case == "upside down":
        image = image[:, ::-1]
    if case == "wide padding":
        options = {"padding": ((0, 0), (1000, 1000))}
    if case == "tall padding":
        options = {"padding": ((50_000, 50_000), (0, 0))}
    if case in ("tall zeros", "tall circular"):
        image, options["border"] = np.ones((3, 30_000, 90), np.float32), parse_border(case.split()[1])
    if case == "maps":
        weight, out_type = np.ones((72, 1, 9, 9)), np.float64
    plan = plan_conv(image.shape, weight, groups=groups, engine="direct", threads=1, **options)
    out = np.empty(plan.output_shape, out_type)
    tracemalloc.start()
    try:
        prepare(plan, weight).run(image, out)
        used = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert used <= plan.memory_bytes + 100_000


@runs_code
@pytest.mark.parametrize("border", ["zeros", "replicate", "circular"])
@pytest.mark.parametrize("kernel", [3, 15])
@pytest.mark.parametrize("stride", [1, 2])
def test_the_edges_take_what_was_counted_for_them(border, kernel, stride):
    image, pad = np.ones((2, 3000, 200), np.float32), kernel // 2
    weight = np.ones((4, 1, kernel, kernel))
    padding = ((pad, pad), (pad, pad))
    options = {"groups": 2, "border": parse_border(border), "engine": "direct", "threads": 1}
    plan = plan_conv(image.shape, weight, (stride, stride), padding, **options)
    runner = prepare(plan, weight)
    runner.run(image)
    buffers = runner._pool.take()._buffers
    taken = buffers["edges"].size + buffers["edge maps"].size
    counted = Edge(Direct(runner._job(plan.phases()[0], 1)), pad, image.shape[2]).n_bytes()
    assert counted / 20 < taken <= counted


@runs_code
def test_little_memory_that_leaves_few_threads_is_counted():
    """An engine whose bands take more may have to work alone where another works on all threads."""
    choices = {}
    for memory in (3_000_000, 4_000_000, 64_000_000):
        plan = plan_conv(
            (3, 3000, 4000), np.ones((3, 1, 9, 9)) / 7, groups=3, input_dtype="uint8", threads=8, memory=memory
        )
        choices[memory] = dict(plan.estimates)[plan.engine]
    assert choices[3_000_000] >= choices[4_000_000] >= choices[64_000_000]


@runs_code
def test_a_program_that_cannot_be_loaded_is_said(monkeypatch):
    def refuse(code):
        raise OSError(12, "Cannot allocate memory")

    direct_module._program.cache_clear()
    monkeypatch.setattr(direct_module, "load_code", refuse)
    with pytest.raises(UsageError, match="Cannot allocate memory") as caught:
        conv2d(np.ones((1, 64, 64), np.float32), np.ones((1, 1, 3, 7)), engine="direct")
    assert "banded" in caught.value.hint
