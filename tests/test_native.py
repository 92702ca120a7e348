"""The compiled loops against float64 loops of NumPy, at every instruction set, and the same work without them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from conftest import run_cli
from oracles import assert_close, correlate_loops
from PIL import Image

from convcli.engine import conv2d, native, parse_border, plan_conv, prepare
from convcli.engine.borders import Source
from convcli.engine.store import magnitude, store_bytes
from convcli.errors import UsageError
from convcli.pipeline.tones import Tone, parse_tone

ROOT = Path(__file__).parent.parent
NATIVE = ROOT / "convcli" / "engine" / "native"
compiled = pytest.mark.skipif(native.core is None, reason=f"not compiled: {native.reason}")
#: What ``use_simd`` names differ in, on this machine.
LEVELS = [
    name
    for number, name in enumerate(native.LEVELS)
    if native.core is not None and native.core.use_level(number)[0] == number
]
native.use_simd(os.environ.get("CONVCLI_SIMD"))
#: Cases of each instruction set; ``make sanitize`` takes more.
N_CASES = int(os.environ.get("CONVCLI_TEST_CASES", "200"))
SAMPLES = ("uint8", "int16", "uint16", "float32", "float64")
BORDERS = ("zeros", "constant:3.5", "replicate", "reflect", "symmetric", "circular")


@pytest.fixture(params=LEVELS or ["none"])
def level(request):
    if request.param == "none":
        pytest.skip(f"not compiled: {native.reason}")
    native.use_simd(request.param)
    yield request.param
    native.use_simd(os.environ.get("CONVCLI_SIMD"))


def random_case(random):
    """Return planes and everything else of one convolution: kernels 1 to 11, strides to 4, dilations to 3."""
    groups, per_group = int(random.choice([1, 1, 2, 3])), int(random.choice([1, 1, 2, 3]))
    n_out = groups * int(random.choice([1, 2, 3, 4, 6]))
    kernel = tuple(map(int, random.integers(1, 12, 2)))
    stride, dilation = (tuple(map(int, random.choice(odds, 2))) for odds in ([1, 1, 2, 3, 4], [1, 1, 2, 3]))
    window = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    size = [int(random.choice([1, 2, 3, 17, 40, 67, 129])) for _ in range(2)]
    least = [max(-(-(w - s) // 2), 0) for w, s in zip(window, size, strict=True)]
    padding = tuple((int(random.integers(0, 4)) + n, int(random.integers(0, 4)) + n) for n in least)
    dtype = str(random.choice(SAMPLES))
    shape = (groups * per_group, *size)
    low, high = {"uint8": (0, 256), "int16": (-300, 300)}.get(dtype, (0, 1000))
    planes = random.integers(low, high, shape).astype(dtype)
    if random.random() < 0.4:  # interleaved, upside down, every second column
        planes = np.ascontiguousarray(planes.transpose(1, 2, 0)).transpose(2, 0, 1)
    if random.random() < 0.2:
        planes = planes[:, ::-1]
    if random.random() < 0.2:
        planes = np.repeat(planes, 2, axis=2)[:, :, ::2]
    weight = random.standard_normal((n_out, per_group, *kernel))
    bias = random.standard_normal(n_out) * 9 if random.random() < 0.4 else None
    border = str(random.choice(BORDERS))
    return planes, weight, bias, {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}, border


def assert_equals_the_reference(planes, weight, bias, options, border):
    expected = conv2d(planes.astype(np.float64), weight, bias, **options, padding_mode=border, engine="reference")
    limit = float(np.abs(planes.astype(np.float64)).max(initial=4)) * np.abs(weight).sum(axis=(1, 2, 3))[:, None, None]
    limit = limit + (0 if bias is None else np.abs(bias)[:, None, None])
    for dtype, tolerance in (("float32", 1e-6), ("float64", 1e-14)):
        arguments = options | {"border": parse_border(border), "dtype": dtype, "input_dtype": str(planes.dtype)}
        plan = plan_conv(planes.shape, weight, **arguments, engine="direct", threads=2)
        maps = prepare(plan, weight, bias).run(planes)
        assert (np.abs(maps - expected) <= tolerance * limit).all(), (planes.shape, weight.shape, options, border)


def test_direct_equals_the_reference_at_every_instruction_set(level):
    random = np.random.default_rng(LEVELS.index(level))
    for _ in range(N_CASES):
        assert_equals_the_reference(*random_case(random))


def test_a_wide_image_is_read_in_place_and_its_edges_are_not(level):
    """Rows of floats wide enough for tiles inside the image, which read it where it lies."""
    random = np.random.default_rng(1)
    for width, kernel, border in ((700, 3, "reflect"), (701, 5, "constant:2"), (900, 2, "circular"), (512, 7, "zeros")):
        image = random.standard_normal((2, 7, width)).astype(np.float32)
        weight = random.standard_normal((2, 1, kernel, kernel))
        pad = ((1, 0), (kernel - 1, kernel))
        expected = correlate_loops(
            image, weight, stride=(1, 1), padding=pad, dilation=(1, 1), groups=2, **border_of(border)
        )
        maps = conv2d(image, weight, padding=pad, groups=2, padding_mode=border, engine="direct")
        assert_close(maps, expected, rtol=2e-6)


def border_of(text):
    border = parse_border(text)
    return {"mode": border.mode, "value": border.value}


def test_the_reference_check_can_fail(level):
    """A tap that is off by a millionth of a percent of the sum of magnitudes is seen."""
    random = np.random.default_rng(5)
    planes, weight = random.random((1, 20, 30)), random.standard_normal((1, 1, 3, 3))
    wrong = weight.copy()
    wrong[0, 0, 1, 1] += 1e-4
    maps = conv2d(planes, wrong, engine="direct")
    expected = conv2d(planes, weight, engine="reference")
    assert (np.abs(maps - expected) > 1e-6 * np.abs(weight).sum()).any()


def test_windows_and_other_types_go_the_same_way(level):
    """Rows handed out by a source, half floats, big-endian integers and views that are not aligned."""
    random = np.random.default_rng(2)
    planes = random.integers(0, 200, (2, 33, 41))
    weight = random.standard_normal((2, 1, 4, 5))
    options = {"padding": ((40, 3), (2, 9)), "groups": 2}
    odd = np.zeros(planes.size * 4 + 1, np.uint8)[1:].view(np.float32).reshape(planes.shape)
    odd[...] = planes
    for border in ("circular", "constant:7", "symmetric"):
        expected = conv2d(planes.astype(np.float64), weight, **options, padding_mode=border, engine="reference")
        for one in (planes.astype(np.float16), planes.astype(">u2"), planes.astype(np.int64), odd, Rows(planes)):
            dtype = str(one.dtype)
            plan = plan_conv(
                planes.shape, weight, **options, border=parse_border(border), engine="direct", input_dtype=dtype
            )
            assert_close(prepare(plan, weight).run(one), expected, rtol=2e-6)


class Rows:
    """An image that can only be asked for windows of rows."""

    def __init__(self, planes):
        self._planes, self.shape, self.dtype = planes, planes.shape, planes.dtype

    def rows(self, top, bottom):
        return self._planes[:, top:bottom]


def test_a_source_is_asked_for_the_rows_that_are_needed_only():
    asked = []

    class Watched(Rows):
        def rows(self, top, bottom):
            asked.append((top, bottom))
            return super().rows(top, bottom)

    source = Source(Watched(np.arange(60).reshape(1, 20, 3)), 4, 0, parse_border("circular"))
    samples, rows = source.window(slice(0, 1), 2, 5, np.dtype(np.float32))
    assert asked == [(0, 3), (18, 20)]
    np.testing.assert_array_equal(samples[0, rows, 0], [54, 57, 0, 3, 6])


TONES = [(1.0, 0.0, False), (0.5, 3.25, True), (-1.0, 255.0, False), (300.0, -0.5, True)]


def test_stored_bytes_and_counts_are_numpys(level):
    """Ties, both ends of the scale, infinities, one to four maps, widths down to 1."""
    random = np.random.default_rng(3)
    ends = np.float32([-0.5, 0.5, 1.5, 254.5, 255.49998, 255.5, 256, -1, 0, 0.49999997, 1e-30, -0.0])
    for n_maps in (1, 2, 3, 4):
        for width in (1, 2, 5, 16, 31, 64, 1025):
            maps = random.choice(
                np.concatenate([ends, random.uniform(-99, 400, 99).astype(np.float32)]), (n_maps, 6, width)
            )
            tones = [TONES[(k + width) % 4] for k in range(n_maps)]
            picture = np.full((6, width, n_maps), 77, np.uint8)
            counts = store_bytes(maps, picture.transpose(2, 0, 1), tones)
            assert counts is not None
            for index, (gain, offset, absolute) in enumerate(tones):
                values = np.abs(maps[index]) if absolute else maps[index]
                stored = np.rint(values * np.float32(gain) + np.float32(offset))
                np.testing.assert_array_equal(picture[..., index], np.clip(stored, 0, 255).astype(np.uint8))
                assert counts.n_low[index] == (stored < 0).sum()
                assert counts.n_high[index] == (stored > 255).sum()
                assert (counts.minimum[index], counts.maximum[index]) == (maps[index].min(), maps[index].max())
                assert counts.total[index] == pytest.approx(maps[index].sum(dtype=np.float64), abs=1e-6, rel=1e-12)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e20])
def test_numpy_has_the_last_word_for_what_float32_cannot_tell(bad, level):
    maps = np.full((1, 20, 40), 100, np.float32)
    maps[0, 3, 4] = bad
    assert store_bytes(maps, np.empty((1, 20, 40), np.uint8), [(1.0, 0.0, False)]) is None
    samples, counts = Tone(parse_tone("clip"), white=255, depth="8").apply(maps)
    assert int(samples[0, 3, 4]) == (0 if np.isnan(bad) else 255)
    assert (counts.n_nan[0], counts.n_high[0]) == ((1, 0) if np.isnan(bad) else (0, 1))


def test_magnitudes_are_numpys(level):
    random = np.random.default_rng(4)
    for size in (1, 3, 16, 31, 1000):
        maps = random.standard_normal((2, 2, 1, size)).astype(np.float32) * 100
        expected = np.sqrt(maps[:, 0] * maps[:, 0] + maps[:, 1] * maps[:, 1])
        np.testing.assert_array_equal(magnitude(maps), expected)


@pytest.mark.parametrize("kernels", [1, 2])
@pytest.mark.parametrize("planes", [1, 2, 3, 4])
def test_pictures_in_one_pass_are_those_of_three(planes, kernels, level):
    """Samples to bytes at once: the bytes and counts of sums, magnitude and tone one after the other."""
    random = np.random.default_rng(6)
    for stride, dilation, width in (
        ((1, 1), (1, 1), 61),
        ((2, 1), (1, 2), 130),
        ((3, 4), (2, 1), 19),
        ((1, 2), (3, 3), 5),
    ):
        beside = random.integers(0, 256, (23, width, planes + (width > 50)), dtype=np.uint8)  # RGB of RGBA
        picture = beside[..., :planes]
        weight = np.tile(random.integers(-3, 4, (kernels, 1, 3, 5)).astype(float), (planes, 1, 1, 1))
        bias = np.tile(random.integers(-9, 9, kernels).astype(float), planes)
        options = {"stride": stride, "dilation": dilation, "padding": ((3, 2), (9, 9)), "groups": planes}
        plan = plan_conv((planes, 23, width), weight, **options, input_dtype="uint8", engine="direct")
        runner, image = prepare(plan, weight, bias), picture.transpose(2, 0, 1)
        assert runner.makes_pictures(image.dtype, kernels)
        height = plan.output_shape[1]
        tone = Tone(parse_tone("scale:0.7"), white=255, depth="8")
        maps = runner.run(image).reshape(planes, kernels, *plan.output_shape[1:])
        combined = magnitude(maps) if kernels == 2 else maps[:, 0]
        for top, bottom in ((0, height), (1, min(4, height))):
            made = np.empty((bottom - top, plan.output_shape[2], planes), np.uint8)
            counts = runner.picture(image, top, bottom, made, [tone.gain_offset(k) for k in range(planes)])
            assert counts is not None
            samples, expected = tone.apply(combined[:, top:bottom].copy())
            np.testing.assert_array_equal(made, samples.transpose(1, 2, 0))
            for name in ("n_low", "n_high", "minimum", "maximum"):
                np.testing.assert_array_equal(getattr(counts, name), getattr(expected, name))
            np.testing.assert_allclose(counts.total, expected.total, rtol=1e-6)
            alone = np.empty((bottom - top, plan.output_shape[2], 1), np.uint8)
            for index in range(planes * kernels):
                runner.picture(image, top, bottom, alone, [tone.gain_offset(0)], index)
                stored, _ = tone.apply(runner.run(image)[index : index + 1, top:bottom])
                np.testing.assert_array_equal(alone[..., 0], stored[0])


@pytest.mark.parametrize("engine", ["auto", "direct", "gemm", "fft"])
def test_steps_that_are_never_taken_cost_nothing(engine):
    """A stride with one output, a dilation with one tap: any number, in little memory."""
    if engine == "direct" and native.core is None:
        pytest.skip(f"not compiled: {native.reason}")
    huge, image = 999_999_999, np.random.default_rng(0).integers(0, 256, (2, 30, 40)).astype(np.float32)
    one = conv2d(image, np.ones((2, 1, 3, 3)), stride=huge, groups=2, engine=engine, memory=2_000_000)
    assert_close(one, image[:, :3, :3].sum(axis=(1, 2), keepdims=True).astype(np.float64), rtol=1e-5)
    for weight, dilation in ((np.ones((2, 1, 1, 3)), (huge, 2)), (np.ones((2, 1, 3, 1)), (2, huge))):
        maps = conv2d(image, weight, dilation=dilation, groups=2, engine=engine, memory=2_000_000)
        plain = [1 if step == huge else step for step in dilation]
        expected = conv2d(image, weight, dilation=plain, groups=2, engine="reference")
        assert_close(maps, expected.astype(np.float64), rtol=1e-5)
    if native.core is not None:
        out, rows = np.empty((1, 2, 38, 1), np.float32), np.arange(2, dtype=np.int32)
        taps, columns = np.ones((1, 1, 1, 3), np.float32), np.arange(40, dtype=np.int32)
        native.core.conv(image[:1, ..., None], rows, columns, taps, None, out, 1, 1, 2**31 - 1, 1, 0.0)
        assert out[0, 1, 0, 0] == image[0, 1, :3].sum()


def test_the_door_refuses_what_does_not_fit():
    if native.core is None:
        pytest.skip(f"not compiled: {native.reason}")
    samples, taps = np.ones((1, 8, 9, 1), np.float32), np.ones((1, 1, 3, 3), np.float32)
    rows, columns, out = np.arange(8, dtype=np.int32), np.arange(9, dtype=np.int32), np.empty((1, 6, 7, 1), np.float32)
    good = [samples, rows, columns, taps, None, out, 1, 1, 1, 1, 0.0]
    native.core.conv(*good)
    beyond, short = rows.copy(), rows[:-1]
    beyond[3] = 8
    broken = [
        (0, samples.astype(np.int64)),
        (0, samples[0]),
        (0, samples.astype(">f4")),
        (1, beyond),
        (1, short),
        (1, rows.astype(np.int64)),
        (1, np.full(8, -2, np.int32)),
        (2, np.arange(10, dtype=np.int32)),
        (3, np.ones((1, 2, 3, 3), np.float32)),
        (3, taps.astype(np.float64)),
        (4, np.ones(2, np.float32)),
        (5, np.empty((2, 6, 7, 1), np.float32)),
        (5, np.empty((1, 6, 14, 1), np.float32)[:, :, ::2]),
        (5, np.frombuffer(bytes(4 * 42), np.float32).reshape(1, 6, 7, 1)),
        (6, 0),
        (9, -1),
    ]
    for place, value in broken:
        with pytest.raises((ValueError, BufferError)):
            native.core.conv(*good[:place], value, *good[place + 1 :])
    with pytest.raises(ValueError, match="tone"):
        native.core.store(np.ones((2, 3, 3), np.float32), [(1.0, 0.0, False)], np.empty((3, 3, 2), np.uint8))
    with pytest.raises(ValueError, match="rows"):
        native.core.magnitude(np.ones(3, np.float32), np.ones(4, np.float32), np.empty(3, np.float32))


@pytest.mark.parametrize("variable", ["CONVCLI_NATIVE", "CONVCLI_SIMD"])
def test_a_wrong_word_in_the_environment_is_said(variable, photo):
    result = subprocess.run(
        [sys.executable, "-m", "convcli", "apply", photo, "-k", "sobel", "--dry-run"],
        env=os.environ | {variable: "maybe"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, "Traceback" in result.stderr) == (2, False), result.stderr
    assert f"{variable}=maybe" in result.stderr


@pytest.mark.subprocess
@pytest.mark.parametrize("args", [["apply", "--help"], ["animate", "3x3", "conv:1,k=2", "-o", "-"]], ids=" ".join)
def test_commands_that_compute_nothing_look_for_no_loops(args):
    result = subprocess.run(
        [sys.executable, "-m", "convcli", *args],
        env=os.environ | {"CONVCLI_NATIVE": "maybe"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")


def test_the_version_the_plan_and_the_report_say_what_makes_the_sums(photo, tmp_path):
    said = native.loops()
    assert said in run_cli("--version").stdout
    report = run_cli("apply", photo, "-k", "sobel", "-o", tmp_path / "e.png", "--json").json
    assert report["loops"] == said
    assert said in run_cli("apply", photo, "-k", "gaussian:sigma=9", "-o", tmp_path / "g.png").stdout


@pytest.mark.subprocess
@pytest.mark.pure  # it runs both
def test_the_same_pictures_without_the_compiled_loops(photo, tmp_path):
    """Whole taps are exact in both; others differ by rounding, at most one grey level."""
    most = {"sobel": 0, "sharpen": 0, "gaussian:sigma=3": 1, "0.1 0.2 0.4;0.1 0.1 0.1;-1 -2 0.3": 1}
    code = "import sys, convcli\nfor n, k in enumerate(sys.argv[2:]): convcli.apply(sys.argv[1], k, output=f'{n}.png')"
    for wanted in ("try", "never"):
        (tmp_path / wanted).mkdir()
        environment = os.environ | {"CONVCLI_NATIVE": wanted, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", code, photo, *most]
        subprocess.run(command, env=environment, check=True, cwd=tmp_path / wanted)
    for number, (kernel, levels) in enumerate(most.items()):
        pictures = [np.asarray(Image.open(tmp_path / way / f"{number}.png")).astype(int) for way in ("try", "never")]
        assert np.abs(pictures[0] - pictures[1]).max() <= levels, kernel


@compiled
def test_a_plan_made_where_the_loops_are_compiled_runs_where_they_are_not(monkeypatch):
    image, weight = np.random.default_rng(0).random((1, 40, 50)), np.ones((1, 1, 5, 5))
    plans = [plan_conv(image.shape, weight, engine=name, dtype="float64") for name in ("direct", "separable", "fft")]
    expected = prepare(plans[0], weight).run(image)
    monkeypatch.setattr(native, "core", None)
    for plan in plans:
        assert_close(prepare(plan, weight).run(image), expected, rtol=1e-12)
    with pytest.raises(UsageError, match="not compiled"):
        plan_conv(image.shape, weight, engine="direct")


def build(*arguments, **environment):
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )


def test_the_build_says_why_it_failed(tmp_path):
    failed = build(NATIVE / "build.py", tmp_path, CC="/bin/false")
    assert failed.returncode != 0
    assert not list(tmp_path.iterdir())


needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")


#: What the checking program says of the bytes of 150 cases, on every processor.
BYTES = "bytes 12b0e13dc9104807"


def program(folder: Path, compiler: str, *flags: str) -> Path:
    """Compile the checking program of the core, which uses no Python."""
    binary = folder / "check"
    sources = [ROOT / "tests" / "native_check.c", NATIVE / "core.c"]
    command = [compiler, "-std=gnu11", "-O2", "-ftree-vectorize", "-fno-math-errno", "-Wno-psabi", f"-I{NATIVE}"]
    subprocess.run([*command, *flags, *map(str, sources), "-lm", "-o", str(binary)], check=True, capture_output=True)
    return binary


@needs_gcc
@pytest.mark.pure
def test_sanitizers_find_nothing_and_would_find_a_row_too_many(tmp_path):
    """A few cases under ASAN and UBSan; ``make sanitize`` runs thousands."""
    try:
        # -O0 compiles in a quarter of the time, and no check is optimised away.
        binary = program(tmp_path, "gcc", "-O0", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no sanitizers here: {error.stderr.decode()[:80]}")
    whole, broken = (subprocess.run([binary, n], capture_output=True, text=True, check=False) for n in ("150", "break"))
    assert whole.returncode == 0, whole.stderr
    assert whole.stdout.splitlines()[-1] == BYTES
    assert broken.returncode != 0
    assert "heap-buffer-overflow" in broken.stderr


@needs_gcc
@pytest.mark.pure
def test_an_arm_processor_gives_the_same_bytes(tmp_path):
    for tool in ("aarch64-linux-gnu-gcc", "qemu-aarch64"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    there = program(tmp_path, "aarch64-linux-gnu-gcc", "-static")
    there_said = subprocess.run(["qemu-aarch64", there, "150"], capture_output=True, text=True, check=True)
    assert "NEON" in there_said.stdout
    assert there_said.stdout.splitlines()[-1] == BYTES


GUARDED = """
    import sys
    import numpy as np
    from convcli.engine import native, parse_border, plan_conv, prepare
    from guarded import guarded

    if "break" in sys.argv:
        samples, out = guarded((1, 8, 64, 1), "float32", True), np.empty((1, 6, 62, 1), "float32")
        place = np.arange(64, dtype=np.int32)
        short = samples.view()
        # A step that lies: rows further apart than they are, so that the last begins beyond the array.
        strides = (samples.strides[0], samples.strides[1] * 2, *samples.strides[2:])
        lie = np.lib.stride_tricks.as_strided(samples, samples.shape, strides)
        native.core.conv(lie, place[:8], place, np.ones((1, 1, 3, 3), "float32"), None, out, 1, 1, 1, 1, 0.0)
    random = np.random.default_rng(0)
    for level in native.LEVELS:
        native.use_simd(level)
        for stride in (1, 2, 3):
            for k in (1, 3, 4):
                for border in ("constant:2", "replicate", "circular"):
                    for pad in (0, 1):
                        for width in (4, 64, 131, 900):
                            for dtype in ("uint8", "float32", "float64"):
                                sums = "float64" if dtype == "float64" else "float32"
                                shape, weight = (2, 11, width), random.standard_normal((2, 1, k, k))
                                plan = plan_conv(shape, weight, (stride, stride), ((pad, pad),) * 2, groups=2,
                                                 border=parse_border(border), dtype=sums, input_dtype=dtype,
                                                 engine="direct", threads=1)
                                runner = prepare(plan, weight)
                                for at_end in (True, False):
                                    image = guarded(shape, dtype, at_end)
                                    image[...] = 1
                                    runner.run(image, guarded(plan.output_shape, sums, at_end))
    print("whole")
"""


@compiled
@pytest.mark.subprocess
@pytest.mark.parametrize("broken", [False, True])
def test_nothing_is_read_or_written_beyond_the_arrays(broken):
    """The pages next to them may not be touched; ``broken`` shows that this is noticed."""
    command = [sys.executable, "-c", textwrap.dedent(GUARDED), *(["break"] if broken else [])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (Path(__file__).parent, ROOT)))}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    expected = (-signal.SIGSEGV, "") if broken else (0, "whole\n")
    assert (result.returncode, result.stdout) == expected, result.stderr
