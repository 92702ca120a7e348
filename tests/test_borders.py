"""What lies beyond the edge, against a walk from sample to sample."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import border_sample, correlate_loops

from convcli.engine import Border, border_index, conv2d, parse_border
from convcli.errors import UsageError

ALL_MODES = ("constant", "replicate", "reflect", "symmetric", "circular")


@given(size=st.integers(1, 6), before=st.integers(0, 30), after=st.integers(0, 30), mode=st.sampled_from(ALL_MODES))
@settings(max_examples=150)
def test_index_maps_walk_the_edge(size, before, after, mode):
    row = list(range(10, 10 + size))
    expected = [border_sample(row, at, mode, -1) for at in range(-before, size + after)]
    index = border_index(before, size, after, mode)
    assert [-1 if i < 0 else row[i] for i in index.tolist()] == expected


@pytest.mark.parametrize(
    ("mode", "numpy_mode"),
    [("replicate", "edge"), ("reflect", "reflect"), ("symmetric", "symmetric"), ("circular", "wrap")],
)
@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_index_maps_equal_numpy_pad(mode, numpy_mode, size):
    row = np.arange(size)
    assert border_index(9, size, 8, mode).tolist() == np.pad(row, (9, 8), mode=numpy_mode).tolist()


def test_negative_pads_cut():
    assert border_index(-2, 6, -1, "reflect").tolist() == [2, 3, 4]


@pytest.mark.parametrize(
    ("text", "border"),
    [
        ("zeros", Border("constant")),
        ("constant:7", Border("constant", 7.0)),
        ("Constant:-1.5e1", Border("constant", -15.0)),
        ("edge", Border("replicate")),
        ("nearest", Border("replicate")),
        ("mirror", Border("reflect")),
        ("reflect101", Border("reflect")),
        ("REFLECT-101", Border("reflect")),
        ("half-sample", Border("symmetric")),
        ("wrap", Border("circular")),
        ("periodic", Border("circular")),
    ],
)
def test_other_libraries_names_mean_the_same(text, border):
    assert parse_border(text) == border


@pytest.mark.parametrize("text", ["", "constant", "constant:x", "constant:nan", "reflect:3", "zeros:1", "mirorr"])
def test_names_that_mean_nothing_are_refused(text):
    with pytest.raises(UsageError) as caught:
        parse_border(text)
    assert caught.value.hint


def test_a_near_name_is_suggested():
    with pytest.raises(UsageError) as caught:
        parse_border("replicat")
    assert "replicate" in caught.value.hint


@pytest.mark.parametrize("name", ["zeros", "constant:5", "replicate", "reflect", "symmetric", "circular"])
@pytest.mark.parametrize("engine", ["reference", "gemm"])
def test_nine_by_nine_on_three_by_three(name, engine):
    random = np.random.default_rng(1)
    image, weight = random.standard_normal((1, 3, 3)), random.standard_normal((1, 1, 9, 9))
    border = parse_border(name)
    expected = correlate_loops(
        image, weight, stride=(1, 1), padding=((4, 4), (4, 4)), dilation=(1, 1), mode=border.mode, value=border.value
    )
    np.testing.assert_allclose(conv2d(image, weight, padding=4, padding_mode=name, engine=engine), expected, rtol=1e-10)
