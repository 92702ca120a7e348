"""Flags of ``apply`` as text, in one normal form or refused."""

from __future__ import annotations

import pytest

from convcli.errors import UsageError
from convcli.pipeline.request import parse_request


def test_pairs_words_and_case_have_one_normal_form() -> None:
    one = parse_request({"kernels": ("sobel",), "stride": "2", "layout": "Maps", "groups": "auto", "bias": "1,2"})
    two = parse_request({"kernels": ("sobel",), "stride": "2x2", "layout": "maps", "bias": (1.0, 2.0)})
    assert one == two
    assert hash(one) == hash(two)


def test_the_suffix_of_o_is_the_format_unless_format_says_otherwise() -> None:
    assert parse_request({"kernels": ("a",), "output": "x.JPG"}).format == "jpeg"
    assert parse_request({"kernels": ("a",), "output": "x.dat", "format": "png"}).format == "png"
    assert parse_request({"kernels": ("a",), "output": "-"}).to_stdout


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"kernels": ()}, "no kernel"),
        ({"stride": "0"}, "stride"),
        ({"stride": "2x2x2"}, "stride"),
        ({"groups": "0"}, "groups"),
        ({"groups": "two"}, "groups"),
        ({"mode": "corelate"}, "correlate"),
        ({"layout": "map"}, "maps"),
        ({"output": "x"}, "suffix"),
        ({"output": "x.xyz"}, "xyz"),
        ({"output": "x.png", "layout": "maps"}, "one file"),
        ({"overwrite": True, "skip_existing": True}, "exclude"),
        ({"depth": "float", "format": "png"}, "float"),
        ({"depth": "16", "format": "jpeg"}, "16"),
        ({"output_padding": "1"}, "--transposed"),
        ({"bias": "1,nan"}, "finite"),
        ({"bias": "x"}, "'x'"),
        ({"normalize": "1,2,3"}, "3 numbers"),
        ({"normalize": "1,0"}, "0"),
        ({"memory": "lots"}, "lots"),
        ({"channels": ","}, "no plane"),
        ({"alpha": "blend"}, "premultiply"),
    ],
)
def test_contradictions_and_nonsense_are_refused_with_a_hint(flags: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_request({"kernels": ("sobel",), **flags})
    assert says in f"{caught.value.message} {caught.value.hint}"
    assert caught.value.hint


def test_normalize_implies_unit() -> None:
    assert parse_request({"kernels": ("a",), "normalize": "imagenet"}).unit
