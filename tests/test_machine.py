"""Machine code: the assembler by GNU as, the programs beside NumPy's own passes, and never a byte too far."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convcli import combine, combine_code
from convcli.images import tone_code
from convcli.images.tone import Tone, ToneSpec
from convcli.machine import processor
from convcli.machine.x86 import Assembler, At, Condition, Gpr, Packed

R9, R10, R11, RAX, RDI, RDX, RSI = Gpr.R9, Gpr.R10, Gpr.R11, Gpr.RAX, Gpr.RDI, Gpr.RDX, Gpr.RSI
runs_code = pytest.mark.skipif(processor.vector_bytes() < 32, reason="this machine runs none of this code")


def made(vector_bytes: int, itemsize: int, method: str, *arguments: object, **keywords: object) -> str:
    code = Assembler(vector_bytes, itemsize)
    getattr(code, method)(*arguments, **keywords)
    return code.finish().hex()


@pytest.mark.parametrize(
    ("size", "item", "method", "arguments", "keywords", "by_gnu_as"),
    [
        (32, 4, "load", (9, At(R10, 100)), {}, "c4417c108a64000000"),
        (32, 4, "store", (9, At(R11, -4)), {}, "c4417c118bfcffffff"),
        (32, 4, "broadcast", (15, At(R9, 4)), {}, "c4427d18b904000000"),
        (32, 8, "broadcast", (12, At(RDI, 8)), {}, "c4627d19a708000000"),
        (32, 4, "multiply_add", (2, 15, At(R10, 68)), {}, "c4c205b89244000000"),
        (32, 8, "multiply_add", (13, 5, 14), {}, "c442d5b8ee"),
        (32, 4, "every_second", (1, 2, 13), {"odd": True}, "c4c16cc6cddd"),
        (32, 8, "every_second", (14, 9, 3), {"odd": False}, "c4613514f3"),
        (32, 8, "every_second", (1, 12, 13), {"odd": True}, "c4c11d15cd"),
        (32, 4, "permute", (4, 11, 12), {}, "c4c22516e4"),
        (64, 4, "load", (9, At(R10, 100)), {}, "62517c48108a64000000"),
        (64, 4, "store", (9, At(R11, -4)), {}, "62517c48118bfcffffff"),
        (64, 4, "broadcast", (15, At(R9, 4)), {}, "62527d4818b904000000"),
        (64, 8, "broadcast", (12, At(RDI, 8)), {}, "6272fd4819a708000000"),
        (64, 4, "multiply_add", (2, 15, At(R10, 68)), {}, "62d20548b89244000000"),
        (64, 8, "multiply_add", (13, 5, 14), {}, "6252d548b8ee"),
        (64, 4, "every_second", (1, 2, 13), {"odd": True}, "62d16c48c6cddd"),
        (64, 8, "every_second", (14, 9, 3), {"odd": False}, "6271b54814f3"),
        (64, 8, "every_second", (1, 12, 13), {"odd": True}, "62d19d4815cd"),
        (64, 4, "permute", (4, 11, 12), {}, "62d2254816e4"),
        (32, 4, "add_numbers", (9, 12, 3), {}, "c4611c58cb"),
        (32, 8, "add_numbers", (1, 1, 15), {}, "c4c17558cf"),
        (32, 4, "zero", (12,), {}, "c4411defe4"),
        (64, 4, "add_numbers", (9, 12, 3), {}, "62711c4858cb"),
        (64, 8, "add_numbers", (1, 1, 15), {}, "62d1f54858cf"),
        (64, 4, "zero", (12,), {}, "62511d48efe4"),
        (64, 4, "move", (RSI, At(RDI, 8)), {}, "488bb708000000"),
        (64, 4, "move", (Gpr.R8, RSI), {}, "4c8bc6"),
        (64, 4, "add", (RDX, At(RDI, 40)), {}, "48039728000000"),
        (64, 4, "add", (R10, RAX), {}, "4c03d0"),
        (64, 4, "subtract", (RAX, RAX), {}, "482bc0"),
        (64, 4, "compare", (Gpr.R8, R11), {}, "4d3bc3"),
        (64, 4, "compare", (RAX, At(RDI, 16)), {}, "483b8710000000"),
        (64, 4, "address", (R11, At(RAX, 256)), {}, "4c8d9800010000"),
        (64, 4, "prefetch", (At(R10, 2048),), {}, "410f188a00080000"),
        (64, 4, "push", (Gpr.R14,), {}, "4156"),
        (64, 4, "pop", (Gpr.R14,), {}, "415e"),
        (64, 4, "push", (Gpr.RBX,), {}, "4053"),  # with a prefix that has no effect
        (64, 4, "move", (R9, Gpr.R13), {}, "4d8bcd"),
        (64, 4, "add", (Gpr.R14, At(RDI, 72)), {}, "4c03b748000000"),
        (32, 4, "broadcast", (15, At(Gpr.RBP)), {}, "c4627d18bd00000000"),
        (64, 4, "end_vectors", (), {}, "c5f877"),
    ],
)
def test_instructions_are_those_of_an_assembler(size, item, method, arguments, keywords, by_gnu_as):
    """GNU as 2.40, ``{vex3}`` or ``{evex}``, ``{disp32}``, ``{load}``."""
    assert made(size, item, method, *arguments, **keywords) == by_gnu_as


def test_jumps_go_forward_and_back():
    code = Assembler(64, 4)
    code.label("begin")
    code.jump("end", Condition.LESS)
    code.jump("begin")
    code.label("end")
    assert code.finish().hex() == "0f8c05000000" + "e9f5ffffff"


@pytest.mark.parametrize(
    ("what", "operands", "number", "half", "by_gnu_as"),
    [
        ("INT16_TO_INT32", (2, 0, At(R10, 16)), None, False, "c4c27d239210000000"),
        ("INT32_TO_FLOAT", (3, 0, 12), None, False, "c4c17c5bdc"),
        ("FLOAT_TO_INT32", (15, 0, 1), None, False, "c4617d5bf9"),
        ("FLOAT_TO_DOUBLE", (9, 0, At(RSI, 32)), None, False, "c4617c5a8e20000000"),
        ("FLOAT_TO_DOUBLE", (2, 0, 3), None, False, "c4e17c5ad3"),
        ("ADD_DOUBLES", (6, 6, 2), None, False, "c4e14d58f2"),
        ("ADD", (1, 2, 13), None, False, "c4c16c58cd"),
        ("MULTIPLY", (9, 12, 3), None, False, "c4611c59cb"),
        ("SQUARE_ROOT", (0, 0, 8), None, False, "c4c17c51c0"),
        ("LEAST", (4, 4, 0), None, False, "c4e15c5de0"),
        ("MOST", (5, 5, 9), None, False, "c4c1545fe9"),
        ("AND", (1, 0, 10), None, False, "c4c17c54ca"),
        ("ROUND", (1, 0, 9), 8, False, "c4c37d08c908"),
        ("COMPARE", (2, 1, 14), 17, False, "c4c174c2d611"),
        ("COMPARE", (2, 11, 13), 30, False, "c4c124c2d51e"),
        ("SUBTRACT_INT32", (8, 8, 2), None, False, "c4613dfac2"),
        ("INT32_TO_UINT16", (15, 15, 1), None, False, "c462052bf9"),
        ("UINT16_TO_UINT8", (15, 15, 1), None, True, "c4610167f9"),
        ("ORDER_QUARTERS", (15, 0, 15), 216, False, "c443fd00ffd8"),
        ("UPPER_HALF", (15, 0, 1), 1, False, "c4637d39f901"),
        ("PICK_BYTES", (0, 3, At(R11, 48)), None, True, "c4c261008330000000"),
        ("OR", (0, 0, 9), None, True, "c4c179ebc1"),
        ("LOAD", (7, 0, At(R9, 16)), None, True, "c4c17810b910000000"),
        ("STORE", (12, 0, At(RAX, 0)), None, True, "c4617811a000000000"),
        ("STORE", (12, 0, At(RAX, 0)), None, False, "c4617c11a000000000"),
    ],
)
def test_packed_instructions_are_those_of_an_assembler(what, operands, number, half, by_gnu_as):
    """GNU as 2.40, ``{vex3}``, ``{disp32}``."""
    code = Assembler(32, 4)
    code.packed(Packed[what], *operands, number, half=half)
    assert code.finish().hex() == by_gnu_as


def test_every_packed_instruction_was_held_against_an_assembler():
    (mark,) = [m for m in test_packed_instructions_are_those_of_an_assembler.pytestmark if m.name == "parametrize"]
    assert {row[0] for row in mark.args[1]} == set(Packed.__members__)


@runs_code
@pytest.mark.subprocess
def test_what_numpy_is_told_to_leave_unused_is_left_unused():
    if "X86_V4" not in processor._cpu_features():
        pytest.skip("this NumPy knows no levels of the architecture")
    script = "from convcli.machine.processor import vector_bytes; print(vector_bytes())"
    found = [
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", script],
            env=os.environ | {"NPY_DISABLE_CPU_FEATURES": levels},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for levels in ("X86_V4", "X86_V4 X86_V3")
    ]
    assert found == ["32\n", "0\n"]


def test_no_executable_memory_is_no_error(monkeypatch):
    def refuse(code):
        raise OSError(13, "Permission denied")

    monkeypatch.setattr(processor, "load_code", refuse)
    assert processor.vector_bytes.__wrapped__() == 0


def random_maps(rng: np.random.Generator, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Values around the ends of the scale, halves among them; int16 up to its ends."""
    if dtype == "int16":
        return rng.choice(np.array([-32768, -300, -1, 0, 1, 2, 128, 255, 256, 32767], np.int16), shape)
    values = rng.choice(np.float32([-0.5, 0, 0.5, 1.5, 254.5, 255.5]), shape) + rng.choice([0, 0, 1e-3, -1e-3], shape)
    return (values + rng.choice([0, 0, 0, 90.3, -400, 1e5], shape)).astype(np.float32)


def stored_by_numpy(values: np.ndarray, gain: float, offset: float, absolute: bool) -> tuple[np.ndarray, int, int]:
    """Return bytes, and how many were clipped: float32 operations one by one."""
    work = values.astype(np.float32)
    work = np.rint((np.abs(work) if absolute else work) * np.float32(gain) + np.float32(offset))
    return np.clip(work, 0, 255).astype(np.uint8), int((work < 0).sum()), int((work > 255).sum())


@runs_code
@given(
    n_maps=st.integers(1, 4),
    height=st.integers(1, 9),
    width=st.integers(16, 100),
    dtype=st.sampled_from(["int16", "float32"]),
    spare=st.integers(0, 3),
    tones=st.lists(
        st.tuples(st.sampled_from([1.0, 0.5, 255 / 1000, 3.0]), st.sampled_from([0.0, 128.0, -3.25]), st.booleans()),
        min_size=4,
        max_size=4,
    ),
    seed=st.integers(0, 2**32),
)
def test_stored_bytes_are_those_of_numpy(n_maps, height, width, dtype, spare, tones, seed):
    """Bytes, counts and sums, of one map or of an interleaved picture whose rows have something between them."""
    maps = random_maps(np.random.default_rng(seed), dtype, (n_maps, height, width + spare))[..., :width]
    memory = np.full((height, width + spare, n_maps), 77, np.uint8)
    out = memory[:, :width].transpose(2, 0, 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tone_code, "LEAST_VALUES", 1)
        counts = tone_code.store_bytes(maps, out, tones[:n_maps])
    assert counts is not None
    done = width // 16 * 16
    assert counts.n == height * done
    for index, one in enumerate(tones[:n_maps]):
        values = maps[index, :, :done]
        samples, n_low, n_high = stored_by_numpy(values, *one)
        np.testing.assert_array_equal(out[index, :, :done], samples)
        assert (counts.n_low[index], counts.n_high[index], counts.n_nan[index]) == (n_low, n_high, 0)
        assert (counts.minimum[index], counts.maximum[index]) == (values.min(), values.max())
        assert counts.total[index] == pytest.approx(values.sum(dtype=np.float64), rel=1e-12, abs=1e-6)
    assert (memory[:, done:] == 77).all(), "columns that are left to others stay as they were"


@runs_code
@pytest.mark.parametrize("spec", ["clip", "abs", "signed", "stretch"])
@pytest.mark.parametrize("bad", [None, np.nan, np.inf])
@pytest.mark.parametrize("n_maps", [1, 3])
def test_a_tone_is_the_same_with_and_without_machine_code(spec, bad, n_maps, monkeypatch):
    maps = np.random.default_rng(5).normal(100, 120, (n_maps, 70, 341)).astype(np.float32)
    if bad is not None:
        maps[0, 33, 200] = bad
    known = np.where(np.isfinite(maps), maps, 0)
    bound = Tone(ToneSpec(spec), white=255, depth="8", ranges=(known.min(axis=(1, 2)), known.max(axis=(1, 2))))
    results = []
    for code in (True, False):
        if not code:
            monkeypatch.setattr(tone_code, "vector_bytes", lambda: 0)
        picture = np.empty((70, 341, n_maps), np.uint8)
        _, counts = bound.apply(maps.copy(), picture.transpose(2, 0, 1), inplace=True)
        results.append((picture, counts))
    (coded, coded_counts), (plain, plain_counts) = results
    np.testing.assert_array_equal(coded, plain)
    for name in ("n", "n_low", "n_high", "n_nan", "minimum", "maximum"):
        np.testing.assert_array_equal(getattr(coded_counts, name), getattr(plain_counts, name))
    if bad is None:
        np.testing.assert_allclose(coded_counts.total, plain_counts.total, rtol=1e-6)


@pytest.mark.parametrize("code", [True, False])
@pytest.mark.parametrize("depth", ["8", "16"])
@pytest.mark.parametrize(
    ("values", "spec"),
    [
        (
            np.full((2, 200, 330), 365, np.int16),
            ToneSpec("scale", 0.7),
        ),  # 255.49999999999997 in float64, 256 in float32
        (np.full((2, 200, 330), 93623, np.float32), ToneSpec("scale", 0.7)),
        (np.float32(1000) + np.random.default_rng(1).random((2, 200, 330), np.float32) * 3, ToneSpec("stretch")),
        (np.float32(1e6) + np.random.default_rng(1).random((2, 200, 330), np.float32), ToneSpec("stretch")),
        (np.random.default_rng(2).normal(0, 1e9, (2, 200, 330)).astype(np.float32), ToneSpec("clip")),
        (np.random.default_rng(2).normal(0, 1e37, (2, 200, 330)).astype(np.float32), ToneSpec("abs")),
        (np.random.default_rng(2).integers(0, 300, (2, 200, 330), np.int16), ToneSpec("offset", 1e19)),
        (np.random.default_rng(2).integers(0, 300, (2, 200, 330), np.int16), ToneSpec("offset", -1e300)),
        (np.random.default_rng(2).integers(0, 300, (2, 200, 330), np.int16), ToneSpec("scale", 1e300)),
    ],
    ids=str,
)
def test_nothing_wraps_at_the_ends_of_the_scale(values, spec, depth, code, monkeypatch):
    """Against float64: at most a step off, never from one end to the other; and what is clipped is counted."""
    if not code:
        monkeypatch.setattr(tone_code, "vector_bytes", lambda: 0)
    full = {"8": 255, "16": 65535}[depth]
    ranges = values.min(axis=(1, 2)), values.max(axis=(1, 2))
    bound = Tone(spec, white=full, depth=depth, ranges=ranges)
    picture = np.empty((200, 330, 2), bound.dtype)
    _, counts = bound.apply(values.copy(), picture.transpose(2, 0, 1), inplace=True)
    for index in range(2):
        gain, offset, absolute = bound.gain_offset(index)
        wide = values[index].astype(np.float64)
        exact = np.rint((np.abs(wide) if absolute else wide) * gain + offset)
        stored = picture[..., index].astype(np.float64)
        assert np.abs(stored - np.clip(exact, 0, full)).max() <= 1
        assert abs(counts.n_high[index] - (exact > full).sum()) <= (np.abs(exact - full) <= 1).sum()
        assert abs(counts.n_low[index] - (exact < 0).sum()) <= (np.abs(exact) <= 1).sum()


@runs_code
@pytest.mark.parametrize(
    "out",
    [
        np.empty((3, 8, 64), np.uint8),
        np.empty((8, 64, 4), np.uint8).transpose(2, 0, 1)[:3],
        np.empty((8, 128, 3), np.uint8).transpose(2, 0, 1)[:, :, ::2],
    ],
    ids=["planes apart", "a plane between", "every second pixel"],
)
def test_pictures_of_another_layout_are_left_to_numpy(out, monkeypatch):
    monkeypatch.setattr(tone_code, "LEAST_VALUES", 1)
    assert tone_code.store_bytes(np.zeros((3, 8, 64), np.float32), out, [(1.0, 0.0, False)] * 3) is None


@runs_code
@given(
    dtype=st.sampled_from(["int16", "float32"]),
    shape=st.tuples(st.integers(1, 3), st.just(2), st.integers(1, 9), st.integers(16, 60)),
    seed=st.integers(0, 2**32),
)
def test_the_magnitude_is_that_of_numpy(dtype, shape, seed):
    maps = random_maps(np.random.default_rng(seed), dtype, shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(combine_code, "LEAST_VALUES", 1)
        values = combine_code.magnitude(maps)
        patch.setattr(combine_code, "vector_bytes", lambda: 0)
        by_passes = combine._combine(maps, "magnitude")
    assert values is not None
    np.testing.assert_array_equal(values, by_passes)
    x, y = maps[:, 0].astype(np.float64), maps[:, 1].astype(np.float64)
    if dtype == "int16":  # the passes above have overwritten floats
        np.testing.assert_allclose(values, np.hypot(x, y), rtol=1e-6)


@pytest.mark.parametrize("shape", [(3000, 2, 3, 4), (2, 2, 200, 200), (1, 2, 1, 5)], ids=str)
@pytest.mark.parametrize("size", [1e-25, 1e-10, 1e21, 3e37])
def test_the_magnitude_of_very_small_and_very_large_values(shape, size, recwarn):
    """float32 cannot hold their squares; nor may a plane be shorter than the program's turn."""
    maps = np.full(shape, size, np.float32)
    values = combine.Combination(combine="magnitude").apply(maps.reshape(-1, *shape[2:]), 2)
    np.testing.assert_allclose(values, np.float64(np.float32(size)) * 2**0.5, rtol=1e-6)
    assert not recwarn.list


def test_without_memory_for_programs_numpy_does_it(monkeypatch):
    def refuse(code):
        raise OSError(13, "Permission denied")

    monkeypatch.setattr(processor, "load_code", refuse)
    for room in (tone_code, combine_code):
        room._program.cache_clear()
        monkeypatch.setattr(room, "vector_bytes", lambda: 32)
    assert combine_code.magnitude(np.ones((1, 2, 256, 256), np.float32)) is None
    samples, counts = Tone(ToneSpec("clip"), white=255, depth="8").apply(np.full((1, 256, 300), 300, np.float32))
    assert (samples.min(), counts.n_high.tolist()) == (255, [256 * 300])
    for room in (tone_code, combine_code):
        room._program.cache_clear()


GUARDED = """
    import sys
    import numpy as np
    from convcli import combine_code
    from convcli.images import tone_code
    from guarded import guarded

    tone_code.LEAST_VALUES = combine_code.LEAST_VALUES = 1
    for dtype in ("int16", "float32"):
        for width in (16, 31, 32, 64, 100):
            for at_end in (True, False):
                for n_maps in (1, 2, 3, 4):
                    maps = guarded((n_maps, 5, width), dtype, at_end)
                    picture = guarded((5, width, n_maps), "uint8", at_end)
                    maps[...] = 3
                    assert tone_code.store_bytes(maps, picture.transpose(2, 0, 1), [(1.0, 0.0, False)] * n_maps)
                    done = width // 16 * 16
                    assert (picture[:, :done] == 3).all()
                pair = guarded((2, 2, 5, width), dtype, at_end)
                pair[...] = 3
                assert combine_code.magnitude(pair).size == 2 * 5 * width
    print("whole")
"""


@runs_code
@pytest.mark.subprocess
def test_nothing_is_read_or_written_beyond_the_arrays():
    """The pages next to them may not be touched; that this is noticed is shown in test_direct."""
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(GUARDED)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode != -signal.SIGSEGV
    assert result.stdout == "whole\n", result.stderr
