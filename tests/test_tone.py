"""Tones: rounded half to even, saturating, counted, never wrapping."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp

from convcli.engine.store import ToneCounts
from convcli.errors import UsageError
from convcli.pipeline.tones import AUTO, Tone, ToneSpec, parse_tone

FULL = {"8": 255, "16": 65535}


def toned(values, text, depth="8", white=255.0, dtype=np.float32, ranges=None, **options):
    maps = np.asarray(values, dtype).reshape(1, 1, -1)
    samples, counts = Tone(parse_tone(text), white=white, depth=depth, ranges=ranges).apply(maps, **options)
    return samples.ravel().tolist(), counts


def expected_of(values, spec, depth, white, low, high):
    """One sample after the other in float64 Python, from the table in the documentation."""
    full = FULL[depth]
    mid = (full + 1) // 2
    out, n_low, n_high = [], 0, 0
    for value in values:
        v = float(value)
        peak = max(abs(low), abs(high))
        stored = {
            "clip": lambda v=v: v * full / white,
            "abs": lambda v=v: abs(v) * full / white,
            "signed": lambda v=v, peak=peak: mid + (v * (mid - 1) / peak if peak else 0),
            "stretch": lambda v=v: (v - low) * full / (high - low) if high > low else 0,
            "offset": lambda v=v: v + spec.value,
            "scale": lambda v=v: v * spec.value,
        }[spec.name]()
        rounded = round(stored)  # Python rounds half to even
        n_low += rounded < 0
        n_high += rounded > full
        out.append(min(max(rounded, 0), full))
    return out, n_low, n_high


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.int32, np.int64])
@pytest.mark.parametrize("depth", ["8", "16"])
@pytest.mark.parametrize("text", ["clip", "abs", "offset:128", "scale:0.5", "scale:-1", "offset:-3.5"])
def test_edges_of_400_never_wrap(text, depth, dtype):
    values = [-400, -256, -1, 0, 1, 127, 128, 255, 256, 400]
    samples, counts = toned(values, text, depth, dtype=dtype)
    expected, n_low, n_high = expected_of(values, parse_tone(text), depth, 255.0, -400, 400)
    assert samples == expected
    assert (counts.n_low[0], counts.n_high[0]) == (n_low, n_high)
    assert (counts.minimum[0], counts.maximum[0], counts.total[0], counts.n) == (-400, 400, sum(values), 10)


@pytest.mark.parametrize(
    ("text", "low", "zero", "high"),
    [("clip", 0, 0, 255), ("abs", 255, 0, 255), ("offset:128", 0, 128, 255), ("scale:0.25", 0, 0, 100)],
)
def test_a_rising_and_a_falling_edge(text, low, zero, high):
    assert toned([-400, 0, 400], text)[0] == [low, zero, high]


def test_16_bit_offset_keeps_400_of_both_signs():
    samples, counts = toned([-400, 0, 400], "offset:32768", "16")
    assert samples == [32368, 32768, 33168]
    assert not counts.n_low.any()
    assert not counts.n_high.any()


@pytest.mark.parametrize("depth", ["8", "16"])
@pytest.mark.parametrize("text", ["signed", "stretch"])
@pytest.mark.parametrize("values", [[-400, 0, 100], [5, 5, 5], [0, 0, 0], [-3, -2, -1]])
def test_tones_with_a_range(text, values, depth):
    low, high = min(values), max(values)
    samples, _ = toned(values, text, depth, ranges=(np.array([low]), np.array([high])))
    assert samples == expected_of(values, parse_tone(text), depth, 255.0, low, high)[0]


def test_signed_puts_zero_in_the_middle_and_ends_at_the_ends():
    ranges = (np.array([-400.0]), np.array([100.0]))
    assert toned([-400, 0, 400], "signed", ranges=ranges)[0] == [1, 128, 255]


@given(
    hnp.arrays(np.float32, (2, 3, 5), elements=st.floats(-1e5, 1e5, width=32)),
    st.sampled_from(["clip", "abs", "offset:10.25", "scale:3", "signed", "stretch"]),
    st.sampled_from(["8", "16"]),
    st.sampled_from([255.0, 65535.0, 1023.0]),
)
def test_against_one_sample_at_a_time(maps, text, depth, white):
    spec = parse_tone(text)
    lows, highs = maps.min(axis=(1, 2)), maps.max(axis=(1, 2))
    maps64 = maps.astype(np.float64)
    samples, counts = Tone(spec, white=white, depth=depth, ranges=(lows, highs)).apply(maps64)
    for index in range(2):
        plane = maps64[index].ravel()
        expected, n_low, n_high = expected_of(plane, spec, depth, white, float(lows[index]), float(highs[index]))
        # float64 may differ from Python's order of operations by one rounding
        np.testing.assert_allclose(samples[index].ravel().astype(int), expected, atol=1)
        assert abs(int(counts.n_low[index]) - n_low) <= 1
        assert abs(int(counts.n_high[index]) - n_high) <= 1


def interleaved(maps):
    return np.ascontiguousarray(maps.transpose(1, 2, 0)).transpose(2, 0, 1)


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("depth", ["8", "16", "float"])
@pytest.mark.parametrize("text", ["clip", "abs", "offset:100", "scale:0.5"])
def test_every_layout_gives_the_same(text, depth, inplace):
    maps = np.random.default_rng(1).normal(60, 200, (3, 20, 30)).astype(np.float32)
    tone = Tone(parse_tone(text), white=255, depth=depth)
    expected, counted = tone.apply(maps)
    for make_maps in (np.copy, interleaved, np.asfortranarray):
        for make_out in (np.empty_like, lambda out: interleaved(np.empty_like(out))):
            samples, counts = tone.apply(make_maps(maps.copy()), make_out(expected), inplace=inplace)
            np.testing.assert_array_equal(samples, expected)
            for found, known in zip(counts, counted, strict=True):
                np.testing.assert_allclose(found, known, rtol=1e-5)
    if not inplace:
        before = maps.copy()
        tone.apply(maps)
        np.testing.assert_array_equal(maps, before)


def test_counts_add_up_over_bands():
    maps = np.random.default_rng(2).normal(0, 300, (2, 40, 11)).astype(np.float32)
    tone = Tone(parse_tone("clip"), white=255, depth="8")
    whole = tone.apply(maps)[1]
    total = ToneCounts.zero(2)
    for top in range(0, 40, 7):
        total += tone.apply(maps[:, top : top + 7])[1]
    for found, known in zip(total, whole, strict=True):
        np.testing.assert_allclose(found, known, rtol=1e-5)
    np.testing.assert_allclose(whole.mean, maps.mean(axis=(1, 2), dtype=np.float64), rtol=1e-5)
    np.testing.assert_array_equal(whole.n_low, (np.rint(maps) < 0).sum(axis=(1, 2)))
    np.testing.assert_array_equal(whole.n_high, (np.rint(maps) > 255).sum(axis=(1, 2)))


def test_one_tone_a_map():
    maps = np.full((2, 2, 2), -7, np.float32)
    samples, _ = Tone([ToneSpec("clip"), ToneSpec("abs")], white=255, depth="8").apply(maps)
    assert samples[:, 0, 0].tolist() == [0, 7]


def test_not_a_number_is_counted_and_stored_as_0():
    samples, counts = toned([np.nan, 3, np.nan, 300], "offset:5")
    assert samples == [5, 8, 5, 255]
    assert (counts.n_nan[0], counts.n_high[0], counts.minimum[0], counts.maximum[0], counts.mean[0]) == (
        2,
        1,
        3,
        300,
        151.5,
    )
    assert toned([np.nan], "clip")[0] == [0]


def test_infinity_saturates():
    samples, counts = toned([np.inf, -np.inf, 1], "clip")
    assert samples == [255, 0, 1]
    assert (counts.n_low[0], counts.n_high[0]) == (1, 1)


def test_16_bit_white_goes_to_8_bits_and_back():
    assert toned([0, 32896, 65535], "clip", "8", white=65535.0)[0] == [0, 128, 255]
    assert toned([0, 128, 255], "clip", "16")[0] == [0, 32896, 65535]
    assert toned([0, 0.5, 1], "clip", "8", white=1.0)[0] == [0, 128, 255]  # 127.5 is rounded to even


def test_float_depth_stores_values_as_they_are():
    assert toned([-400.25, 400.5], "clip", "float")[0] == [-400.25, 400.5]
    assert toned([-400.25, 400.5], "abs", "float")[0] == [400.25, 400.5]
    ranges = (np.array([-400.0]), np.array([200.0]))
    assert toned([-400, 200], "signed", "float", ranges=ranges)[0] == [-1, 0.5]
    assert toned([-400, 200], "stretch", "float", ranges=ranges)[0] == [0, 1]


def test_integers_at_the_end_of_their_range():
    assert toned([-32768, 32767], "abs", dtype=np.int16)[0] == [255, 255]
    assert toned([-32768, 32767], "abs", "16", dtype=np.int16, white=65535.0)[0] == [32768, 32767]
    assert toned([-(2**31), 2**31 - 1], "offset:5", dtype=np.int32)[0] == [0, 255]


def test_auto_follows_the_nature_of_a_map():
    assert parse_tone("auto").resolve("zero-sum") == ToneSpec("abs")
    assert parse_tone("auto").resolve("brightness") == ToneSpec("clip")
    assert parse_tone("auto").resolve("other") == ToneSpec("stretch")
    assert parse_tone("clip").resolve("zero-sum") == ToneSpec("clip")
    assert all(spec.reason for spec in AUTO.values())


@pytest.mark.parametrize("text", ["", "clp", "offset", "offset:", "offset:x", "scale:nan", "scale:inf", "clip:3"])
def test_bad_tones_are_usage_errors(text):
    with pytest.raises(UsageError) as caught:
        parse_tone(text)
    assert caught.value.hint


def test_unbound_tones_are_refused():
    for text in ("auto", "signed", "stretch"):
        with pytest.raises(ValueError, match="not bound"):
            Tone(parse_tone(text), white=255, depth="8")


def test_no_samples_at_all():
    samples, counts = Tone(ToneSpec("clip"), white=255, depth="8").apply(np.empty((2, 0, 5), np.float32))
    assert samples.shape == (2, 0, 5)
    assert counts.n == 0
