"""``convcli shape`` as a command: forms of output that agree, sums that add up, the inverse question, start-up."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import os
import re
import subprocess
import sys

import pytest
from conftest import run_cli

from convcli.errors import GeometryError, UsageError
from convcli.geometry.arithmetic import pool_output_px
from convcli.layers.inverse import solve
from convcli.layers.kinds import NAMES
from convcli.layers.layer import SHORT

STEM = ("3x304x228", "conv:64,k=7,s=2,p=3", "maxpool:k=3,s=2,p=1")
#: A chain with every kind of layer, branches and uneven padding.
EVERYTHING = (
    "4x37x42",
    "conv:8,k=5x3,s=2,p=same,name=a",
    "batchnorm",
    "relu",
    "depthwise:k=3,d=2,p=2,name=b",
    "concat:from=a+b",
    "shuffle:4",
    "separable:12,k=3,p=0,1,0,1",
    "flattened:6,k=3",
    "spatial:6,k=3,p=1,bias=0",
    "maxpool:3,s=2,ceil=1",
    "convtranspose:4,k=4,s=2,p=1,op=1,g=2",
    "upsample:2,mode=bilinear",
    "pad:1,2,3,4",
    "avgpool:2,s=3",
    "combine:magnitude",
    "globalpool",
)


def test_the_example_of_the_documentation():
    report = run_cli("shape", *STEM, "--json").ok().json
    assert [layer["output"] for layer in report["layers"]] == [[64, 152, 114], [64, 76, 57]]
    text = run_cli("shape", *STEM).ok().stdout
    assert "64x152x114" in text
    assert "64x76x57" in text


def test_flags_of_one_conv2d_and_text_agree():
    flags = ("--out-channels", 6, "--kernel-size", "3x5", "--stride", 2, "--padding", "0,1,2,3", "--dilation", "1x2",
             "--groups", 3, "--no-bias")  # fmt: skip
    by_flags = run_cli("shape", "12x40x40", *flags, "--json").ok().json
    assert by_flags == run_cli("shape", "12x40x40", "conv:6,k=3x5,s=2,p=0,1,2,3,d=1x2,g=3,bias=0", "--json").ok().json
    flags = ("--transposed", "--out-channels", 6, "--kernel-size", 4, "--stride", 2, "--output-padding", 1)
    by_flags = run_cli("shape", "12x40x40", *flags, "--json").ok().json
    assert by_flags == run_cli("shape", "12x40x40", "convtranspose:6,k=4,s=2,op=1", "--json").ok().json


def test_text_csv_and_markdown_say_what_json_says():
    report = run_cli("shape", *EVERYTHING, "--json").ok().json
    rows = list(csv.DictReader(io.StringIO(run_cli("shape", *EVERYTHING, "--csv").ok().stdout)))
    assert [row["layer"] for row in rows] == [layer["layer"] for layer in report["layers"]]
    for row, layer in zip(rows, report["layers"], strict=True):
        assert row["output"] == "x".join(map(str, layer["output"]))
        for name in ("parameters", "macs", "bias_adds", "activation_bytes"):
            assert int(row[name]) == layer[name]
    markdown = run_cli("shape", *EVERYTHING, "--markdown").ok().stdout.splitlines()
    table = [line.strip("| ").split(" | ") for line in markdown if line.startswith("|")]
    assert {len(cells) for cells in table} == {17}
    assert [[cells[1], cells[3]] for cells in table[2:]] == [[row["layer"], row["output"]] for row in rows]
    text = run_cli("shape", *EVERYTHING).ok().stdout
    for row in rows:
        assert re.search(rf"^ *\d+ +{re.escape(row['layer'])} +([\d+]+ +)?{row['output']} ", text, re.MULTILINE)
    assert f"macs {report['totals']['macs']:,} " in text


def test_totals_of_the_report_are_the_sums_of_its_rows():
    report = run_cli("shape", *EVERYTHING, "--json").ok().json
    for name in ("parameters", "macs", "flops", "bias_adds", "activation_bytes"):
        assert report["totals"][name] == sum(layer[name] for layer in report["layers"])
    assert report["totals"]["flops"] == 2 * report["totals"]["macs"]
    assert report["totals"]["output"] == report["layers"][-1]["output"]


def test_a_column_that_is_left_out_is_named_with_its_value():
    text = run_cli("shape", "3x9x9", "conv:4,k=3").ok().stdout
    assert "dilation" not in text.splitlines()[3]
    assert "all layers: stride 1, padding 0, dilation 1, groups 1, output padding 0, unused 0" in text
    assert "dilation" in run_cli("shape", "3x9x9", "conv:4,k=3,d=2").ok().stdout.splitlines()[3]


def test_unused_rows_and_columns_are_said():
    result = run_cli("shape", "3x10x11", "conv:4,k=3,s=3").ok()
    assert "note: layer 1 (conv) never reaches the last 1 of 10 rows of its input" in result.stdout
    assert "note: layer 1 (conv) never reaches the last 2 of 11 columns of its input" in result.stdout
    assert "unused" in result.stdout.splitlines()[3]
    assert run_cli("shape", "3x10x11", "conv:4,k=3,s=3", "--json").json["layers"][0]["unused"] == [1, 2]
    skipping = run_cli("shape", "3x9x9", "conv:4,k=1,s=2").ok().stdout
    assert "skips 1 of every 2 rows (stride 2, window 1)" in skipping


def test_centres_between_pixels_are_said_once():
    text = run_cli("shape", "3x32x32", "conv:4,k=3,p=1", "maxpool:2", "relu", "conv:4,k=3,p=1").ok().stdout
    assert "note: layer 2 (maxpool): centres fall between input pixels (start 1, aligned would end in .5)" in text
    assert text.count("centres fall between") == 1
    aligned = run_cli("shape", "3x32x32", "conv:4,k=3,p=1,s=2", "maxpool:3,s=2,p=1").ok().stdout
    assert "centres fall" not in aligned


def test_channels_last_and_images(tmp_path, photo):
    first = run_cli("shape", "3x30x40", "conv:2,k=3", "--json").ok().json
    assert run_cli("shape", "30x40x3", "conv:2,k=3", "--channels-last", "--json").ok().json == first
    report = run_cli("shape", photo, "conv:2,k=3", "--json").ok().json
    assert report["input"] == [3, 400, 600]
    (tmp_path / "no.png").write_text("text")
    assert run_cli("shape", tmp_path / "no.png", "relu").exit_code == 3


def test_stack_files_with_their_own_input_or_another(tmp_path):
    path = tmp_path / "two.toml"
    path.write_text('input = "3x32x32"\nlayers = ["conv:8,k=3,p=1", "maxpool:2"]')
    assert run_cli("shape", path, "--json").ok().json["totals"]["output"] == [8, 16, 16]
    for words in ((path, "--input", "1x10x20"), ("1x10x20", path), ("--input", "1x10x20", path)):
        assert run_cli("shape", *words, "--json").ok().json["totals"]["output"] == [8, 5, 10]
    assert run_cli("shape", path, "relu", "maxpool:4", "--json").ok().json["totals"]["output"] == [8, 4, 4]
    path.write_text('layers = ["relu"]')
    result = run_cli("shape", path)
    assert (result.exit_code, "says no input" in result.stderr) == (2, True)
    assert run_cli("shape", tmp_path / "missing.toml", "--input", "1x2x2").exit_code == 2


def test_help_names_every_layer_and_every_key():
    words = set(re.findall(r"[\w-]+", run_cli("shape", "--help").ok().stdout))
    assert {*NAMES} <= words
    assert {key for key in SHORT if len(key) <= 2} - {"n", "v"} <= words


def test_names_from_files_cannot_drive_the_terminal(tmp_path):
    (tmp_path / "evil.toml").write_text(
        'input = "3x9x9"\nlayers = [{layer = "maxpool:2,s=3", name = "a\\u001b[2J\\nb"}]'
    )
    for form in ((), ("--csv",), ("--markdown",), ("--formula",)):
        text = run_cli("shape", tmp_path / "evil.toml", *form).ok().stdout
        assert "\x1b" not in text
        assert r"a\x1b[2J\nb" in text
    report = run_cli("shape", tmp_path / "evil.toml", "--json").ok()
    assert "\x1b" not in report.stdout
    assert report.json["layers"][0]["name"] == "a\x1b[2J\nb"


# --- formulas ---


def evaluate(text: str) -> float:
    """Compute a sum as it is written."""
    text = text.replace("⌊", "math.floor(").replace("⌈", "math.ceil(").replace("⌋", ")").replace("⌉", ")")
    return eval(
        text.replace("·", "*").replace(",", "") if "max(" not in text else text.replace("·", "*"), {"math": math}
    )


@pytest.mark.parametrize("words", [STEM, EVERYTHING, ("2x7x9", "maxpool:1,s=4,ceil=1", "conv:3,k=2,p=full")])
def test_every_sum_of_the_formulas_is_right(words):
    """Each "sum = result" is computed again, and the results are those of the report."""
    result = run_cli("shape", *words, "--formula").ok()
    report = run_cli("shape", *words, "--json").ok().json
    blocks = re.split(r"^layer \d+ ", result.stdout, flags=re.MULTILINE)[1:]
    blocks = [block for block in blocks if "→" in block.splitlines()[0]]
    assert len(blocks) == len(report["layers"])
    n_sums = 0
    for block, layer in zip(blocks, report["layers"], strict=True):
        for line in block.splitlines()[1:]:
            name, text = re.fullmatch(r"  (\S.*?)  +(\S.*)", line).groups()
            sum_, equals, answer = re.sub(r"^same(_lower)?: padding ", "", text).partition(" = ")
            if not equals:
                continue
            number = float(re.match(r"[-\d.,]+", answer)[0].rstrip(",.").replace(",", ""))
            assert evaluate(sum_) == number, line
            n_sums += 1
            if name in ("parameters", "macs", "bias adds"):
                assert number == layer[name.replace(" ", "_")]
            if name in ("jump", "start", "receptive field") and "(" not in name:
                assert set(layer[name.replace(" ", "_")]) == {number}
            if name == "output" and not text.startswith("same"):
                assert set(layer["output"][1:]) == {number}
    assert n_sums >= 5 * len([layer for layer in report["layers"] if layer["kind"] == "conv"])


def test_formula_needs_a_form_that_can_hold_it():
    assert run_cli("shape", *STEM, "--formula", "--json").exit_code == 2
    assert run_cli("shape", *STEM, "--formula", "--csv").exit_code == 2
    assert "```" in run_cli("shape", *STEM, "--formula", "--markdown").ok().stdout


# --- the inverse question ---


def brute_force(kind, size, target, ranges, known):
    """Every assignment on one axis that gives the target, by the definition of the layer's size."""
    found = set()
    for numbers in itertools.product(*(range(low, high + 1) for low, high in ranges.values())):
        v = {
            "stride": 1,
            "padding": 0,
            "dilation": 1,
            "output_padding": 0,
            **known,
            **dict(zip(ranges, numbers, strict=True)),
        }
        k, s, p, d = v["kernel_size"], v["stride"], v["padding"], v["dilation"]
        window = d * (k - 1) + 1
        if kind == "convtranspose":
            ok = 0 <= v["output_padding"] < max(s, d)
            out = (size - 1) * s - 2 * p + window + v["output_padding"]
        else:
            ok = kind == "conv" or p <= k // 2
            out = len(range(0, size + 2 * p - window + 1, s)) if window <= size + 2 * p else 0
        if ok and out == target:
            found.add(numbers)
    return found


QUESTIONS = [
    ("conv:64,k=7,s=2,p=?", (152, 114), (304, 228)),
    ("conv:64,k=?,s=2,p=3", (152, 114), (304, 228)),
    ("conv:64,k=3,s=?,p=1", (31, 31), (61, 61)),
    ("conv:64,k=3,s=1,p=4,d=?", (30, 40), (30, 40)),
    ("conv:64,k=?,s=?,p=?", (16, 16), (32, 32)),
    ("conv:64,k=?,s=2,p=?,d=?", (16, 20), (32, 40)),
    ("maxpool:?", (8, 8), (24, 24)),
    ("maxpool:?,s=2,p=?", (12, 12), (24, 24)),
    ("convtranspose:3,k=3,s=2,p=1,op=?", (224, 224), (112, 112)),
    ("convtranspose:3,k=?,s=?,p=?", (48, 48), (24, 24)),
    ("depthwise:k=?", (20, 20), (24, 24)),
    # answers at the end of what can be one
    ("conv:64,k=3,s=2,p=?", (200, 200), (100, 100)),
    ("conv:64,k=?", (2, 2), (60, 60)),
    ("conv:64,k=2,d=?", (1, 1), (60, 60)),
    ("convtranspose:3,k=?,s=2", (140, 140), (60, 60)),
    ("convtranspose:3,k=3,s=4,p=?", (1, 1), (60, 60)),
]


@pytest.mark.parametrize(("text", "target", "sizes"), QUESTIONS)
def test_answers_are_all_of_them_and_none_wrong(text, target, sizes):
    found = solve([text], (6, *sizes), target)
    kind, _, rest = text.partition(":")
    names = {"k": "kernel_size", "s": "stride", "p": "padding", "d": "dilation", "op": "output_padding"}
    pairs = [part.split("=") for part in rest.split(",") if "=" in part]
    known = {names[key]: int(value) for key, value in pairs if value != "?"}
    ranges = found.searched
    if len(ranges) == 1 and "output_padding" not in ranges:  # further than any answer can be
        ranges = {name: (low, 700) for name, (low, _) in ranges.items()}
    if text == "maxpool:?":
        by_axis = [
            {(k,) for k in range(1, 300) if (size - k) // k + 1 == want}
            for size, want in zip(sizes, target, strict=True)
        ]
    else:
        kind = "conv" if kind == "depthwise" else kind
        by_axis = [brute_force(kind, size, want, ranges, known) for size, want in zip(sizes, target, strict=True)]
    expected = sorted(set.intersection(*by_axis))
    assert [tuple(values[0] for values in answer.values()) for answer in found.answers] == expected
    assert expected
    for answer in found.answers:  # and each one, put in, gives the target
        assert run_cli("shape", f"6x{sizes[0]}x{sizes[1]}", found.filled(answer), "--json").json["totals"]["output"][
            1:
        ] == [*target]


def test_question_inside_a_chain_looks_at_its_end():
    report = run_cli(
        "shape", "3x224x224", "conv:64,k=7,s=2,p=?", "relu", "maxpool:3,s=2,p=1", "--target", "56x56", "--json"
    )
    answers = report.ok().json["answers"]
    assert [answer["padding"] for answer in answers] == [[2, 2], [3, 3]]


def test_no_answer_says_the_nearest():
    """Padding never makes the output smaller than without it."""
    result = run_cli("shape", "3x304x228", "conv:8,k=3,p=?", "--target", "301x229")
    assert (result.exit_code, result.stdout) == (5, "")
    assert "nothing gives 301x229: searched padding 0 to" in result.stderr
    assert "nearest: conv:8,k=3,p=0 gives 302x226" in result.stderr


def test_axes_that_need_different_numbers_get_them():
    text = run_cli("shape", "3x304x228", "conv:8,k=3,s=?,p=1", "--target", "152x38").ok().stdout
    assert "conv:8,k=3,s=2x6,p=1" in text
    assert "no single number fits all axes" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("conv:8,k=3,p=?",), "needs the size it is to give"),
        (("conv:8,k=3,p=?", "conv:8,k=?", "--target", "3x3"), "2 layers have '?'"),
        (("conv:?,k=3", "--target", "3x3"), "out_channels cannot be asked for"),
        (("conv:8,k=3x?", "--target", "3x3"), "kernel_size cannot be asked for"),
        (("pad:?", "--target", "3x3"), "has no window to solve for"),
        (("conv:8,k=3,p=?", "--target", "3x3x3x3"), "does not fit an input of 2 axes"),
        (("conv:8,k=3,p=?", "--target", "0x3"), "target 0 is too small"),
        (("conv:8,k=3,p=?", "--target", "3x3", "--csv"), "text or --json"),
        (("relu", "--target", "3x3"), "no layer has a '?'"),
        (("--target", "3x3"), "needs an input and a layer"),
        (("conv:8,k=?,s=?,p=?,d=?", "--target", "30x30", "--bound", "40"), "combinations, more than 100,000"),
    ],
)
def test_questions_that_cannot_be_asked(words, said):
    result = run_cli("shape", "3x9x9", *words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr


def test_target_with_channels_must_have_the_layers_channels():
    with pytest.raises(GeometryError, match="the target has 7 channels, and the last layer gives 8"):
        solve(["conv:8,k=3,p=?"], (3, 9, 9), (7, 9, 9))
    assert solve(["conv:8,k=3,p=?"], (3, 9, 9), (8, 9, 9)).answers == ({"padding": (1, 1)},)
    with pytest.raises(UsageError, match="joins branches"):
        solve(["conv:3,k=3,p=?,name=a", "add:from=a+input"], (3, 9, 9), (9, 9))


# --- defects of others ---


def test_ceil_mode_drops_the_window_that_starts_outside():
    """The case of torch's issue: a naive ⌈⌉ gives one window more."""
    assert pool_output_px(4, 1, stride=4, dilation=1, pad_before_px=0, pad_after_px=0, ceil_mode=True) == 1
    assert math.ceil((4 - 1) / 4) + 1 == 2


# --- start-up ---


def environment(folder) -> dict[str, str]:
    """Let compiled modules be kept, as an installed package has them."""
    return {**os.environ, "PYTHONPYCACHEPREFIX": str(folder), "PYTHONDONTWRITEBYTECODE": ""}


@pytest.mark.subprocess
def test_shape_loads_nothing_heavy(tmp_path):
    script = (
        "import sys, json\n"
        "from convcli.cli import main\n"
        "try: main(['shape', '3x304x228', 'conv:64,k=7,s=2,p=?', '--target', '152x114'])\n"
        "except SystemExit as stop: assert not stop.code\n"
        "try: main(['shape', '3x304x228', 'separable:64,k=7', '--formula', '--markdown'])\n"
        "except SystemExit as stop: assert not stop.code\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stderr))
    assert not loaded & {"numpy", "torch", "PIL", "rich", "pydantic", "onnx", "safetensors", "yaml"}
    assert "typer" in loaded
