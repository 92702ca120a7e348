"""Layers as text: what every short form means, and where the fault is when one is not understood."""

from __future__ import annotations

import pytest
from conftest import run_cli
from hypothesis import given
from hypothesis import strategies as st

from convcli.errors import ConvcliError, GeometryError, UsageError
from convcli.geometry.arithmetic import check_groups, resolve_padding
from convcli.geometry.sizes import parse_padding, parse_pair, parse_sizes
from convcli.geometry.transposed import resolve_transpose_padding
from convcli.layers.dump import _toml, dump_stack, layer_as_table
from convcli.layers.kinds import NAMES, WORDS
from convcli.layers.names import load_aliases
from convcli.layers.stack import parse_stack
from convcli.layers.text import layers_from_values, load_word, parse_layers


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("conv:64,k=7,s=2,p=3", "Conv2d:out_channels=64,kernel_size=7x7,stride=2x2,padding=3,3,3,3"),
        ("conv:64,k=7", "conv2d:64,kernel_size=7,stride=1,padding=0,dilation=1,groups=1,bias=true"),
        ("conv:64,k=3,p=valid", "conv:64,k=3,p=VALID"),
        ("conv:64,k=3,p=same", "conv:64,k=3,p=same-upper"),
        ("grouped:6,k=3,g=3", "conv:6,k=3,groups=3"),
        ("maxpool:2", "max_pool2d:kernel_size=2,stride=2"),
        ("avgpool:3,s=2,ceil=1", "AvgPool2d:3,s=2,ceil_mode=true"),
        ("tconv:8,k=4,s=2,op=1", "ConvTranspose2d:8,kernel_size=4,stride=2,output_padding=1"),
        ("dw:k=3", "depthwise:k=3,m=1"),
        ("pw:8", "conv:8,k=1"),
        ("bn", "batch_norm"),
        ("up:2", "upsample:f=2,mode=nearest"),
        ("conv: 64 , k = 3", "conv:64,k=3"),
        ("conv:8,k=7×5", "conv:8,k=7x5"),
    ],
)
def test_two_ways_to_write_one_layer(text, same):
    assert parse_layers(text) == parse_layers(same)


def test_words_for_several_layers():
    """Depthwise separable is depthwise, then 1×1; the other two take a kernel apart into lines."""
    depthwise, pointwise = parse_layers("separable:64,k=3,s=2,p=1,m=2,bias=0")
    assert (depthwise.groups, depthwise.multiplier, depthwise.stride, depthwise.bias) == (0, 2, (2, 2), False)
    assert (pointwise.out_channels, pointwise.kernel_size, pointwise.stride) == (64, (1, 1), (1, 1))
    vertical, horizontal = parse_layers("spatial:64,k=7x5,p=3x2,s=1x2")
    assert (vertical.kernel_size, vertical.padding, vertical.stride) == ((7, 1), ((3, 3), (0, 0)), (1, 1))
    assert (horizontal.kernel_size, horizontal.padding, horizontal.stride) == ((1, 5), ((0, 0), (2, 2)), (1, 2))
    lateral, vertical, horizontal = parse_layers("flattened:64,k=3,name=flat")
    assert (lateral.kernel_size, lateral.out_channels) == ((1, 1), 64)
    assert [each.groups for each in (vertical, horizontal)] == [0, 0]
    assert [each.name for each in (lateral, vertical, horizontal)] == ["", "", "flat"]
    assert len(parse_layers("flattened:8,k=3", 3)) == 4


def test_the_table_of_words_is_that_of_the_classes():
    for module, words in WORDS.items():
        for word in words:
            found = load_word(word)
            assert (found.kind, found.__module__) == (word, f"convcli.layers.kinds.{module}")
            assert not found.needed or word in found.example
    aliases = [alias for word in NAMES for alias in load_word(word).aliases]
    assert len({*aliases, *NAMES}) == len(aliases) + len(NAMES) == len(load_aliases()) + len(NAMES)


FAULTS = [
    # text, character that is at fault (from 1), exit code, a word of the message or hint
    ("conv:k=0", 8, "kernel_size 0 is too small"),
    ("conv:64,k=0", 11, "kernel_size is at least 1"),
    ("conv:64,k=7,s=0", 15, "stride is at least 1"),
    ("conv:64", 1, "kernel_size is missing"),
    ("conv:64,kernal_size=3", 9, "did you mean kernel_size"),
    ("conv:64,k=3,q=1", 13, "conv has no parameter 'q'"),
    ("conv:64,k=three", 11, "'three' is not a whole number"),
    ("conv:64,k=3x", 13, "a number is missing"),
    ("conv:64,k=3x3x3", 11, ""),
    ("conv:64,k=3,p=sane", 15, "did you mean same"),
    ("conv:64,k=3,p=-1", 15, "padding -1 is too small"),
    ("conv:64,k=3,p=1,2,3", 15, "has 3 sides"),
    ("conv:64,k=3,p=1,2,3,x", 21, ""),
    ("conv:64,k=3,k=5", 13, "kernel_size is given twice"),
    ("conv:64,3", 9, "has no key"),
    ("conv:64,,k=3", 9, "has no key"),
    ("conv:", 6, "nothing after the colon"),
    ("conv:64,k=", 11, "nothing given"),
    ("conv:64,k=3,bias=maybe", 18, "neither true nor false"),
    ("conv:9999999999,k=3", 6, "10 digits"),
    ("convv:2", 1, "did you mean conv"),
    ("softmax", 1, "unknown layer 'softmax'"),
    ("leakyrelu:0.2", 1, "'leakyrelu' relu:leaky,value=0.2"),
    ("&&", 1, "layers are separated by blanks alone: leave && out"),
    ("leaky_relu", 1, "relu:leaky,value=0.01"),
    ("tahn", 1, "did you mean relu:tanh?"),
    ("ReflectPad2d:2", 1, "pad:2,mode=reflect"),
    ("PReLU", 1, "activations are identity, relu, "),
    ("GroupNorm(4, 8)", 1, "batchnorm is the one norm here"),
    ("gaussian:sigma=2", 1, "conv:gaussian:sigma=2 for the kernel of this name"),
    ("dropout2d:0.5", 11, "leave '0.5' out"),
    (":3", 1, "name is missing"),
    ("conv3d:8,k=3", 1, "needs 3 axes besides the channels, and the input has 2"),
    ("relu:relu7", 6, "did you mean relu, relu6"),
    ("relu:leaky,v=much", 14, "is not a number"),
    ("batchnorm:3", 11, "no bare value"),
    ("concat:from=a", 1, "two inputs or more"),
    ("relu:from=a+b", 1, "takes one input"),
    ("relu:from=a++b", 11, "is not a name"),
    ("pad:same", 5, "pad needs numbers"),
    ("separable:64,k=3,g=2", 18, "separable has no parameter 'groups'"),
    ("spatial:64", 1, "kernel_size is missing"),
]


@pytest.mark.parametrize(("text", "character", "said"), FAULTS)
def test_a_fault_is_said_with_its_position_and_what_would_be_right(text, character, said):
    if text == "conv:64,k=3x3x3":  # a number for each of three axes is geometry, not grammar
        result = run_cli("shape", "3x9x9", text)
        assert (result.exit_code, "for 3 axes, but the input has 2" in result.stderr) == (5, True)
        return
    with pytest.raises(UsageError) as caught:
        parse_layers(text)
    error = caught.value
    assert str(error).startswith(f"{text!r}, character {character}: ")
    assert said in f"{error.message} {error.hint}"
    assert error.facts["position"] == character - 1
    result = run_cli("shape", "3x32x32", "relu", text)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"character {character}: " in result.stderr
    assert len(result.stderr.splitlines()) <= 2


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["3x0x4", "relu"], 2, "input '3x0x4', character 3: 0 is too small"),
        (["3x-1x4", "relu"], 2, "character 3: -1 is too small"),
        (["3xx4", "relu"], 2, "character 3: a number is missing"),
        (["3", "relu"], 2, "has 1 number"),
        (["3x4x5x6x7", "relu"], 2, "has 5 numbers"),
        (["conv:3", "relu"], 2, "neither a shape nor a file"),
        (["nowhere.png", "relu"], 2, "neither a shape nor a file"),
        (["3x4x4"], 2, "no layer given"),
        ([], 2, "no input given"),
        (["3x4x4", "conv:2,k=9"], 5, "layer 1 (conv): rows: kernel 9 covers 9 px and does not fit 4 px"),
        (["3x4x9", "relu", "conv:2,k=4x9,d=1x2"], 5, "layer 2 (conv): columns: kernel 9 with dilation 2 covers 17 px"),
        (["3x4x4", "conv:2,k=3,g=2"], 5, "2 groups do not divide 3 input and 2 output channels"),
        (["6x4x4", "conv:12,k=3,g=4"], 5, "groups can be 1, 2, 3, 6"),
        (["3x4x4", "shuffle:2"], 5, "layer 1 (shuffle)"),
        (["3x4x4", "maxpool:2,p=2"], 5, "more than half of the pooling kernel"),
        (["3x4x4", "convtranspose:2,k=3,s=2,op=2"], 5, "output padding 2 must be below max(stride 2, dilation 1) = 2"),
        (["3x4x4", "convtranspose:2,k=1,p=2"], 5, "padding cuts 4 of them"),
        (["3x4x4", "relu:from=nowhere"], 2, "'nowhere', which no layer before it is called"),
        (["3x4x4", "maxpool:2,name=a", "add:from=a+input"], 5, "cannot add 3x2x2 and 3x4x4"),
        (["3x4x4", "combine:max,n=2"], 5, "cannot combine 3 channels in sets of 2"),
        (["3x4x4", "relu", "--out-channels", "3"], 2, "flags of one Conv2d"),
        (["3x4x4", "--kernel-size", "3"], 2, "out_channels is missing"),
        (["3x4x4", "relu", "--json", "--csv"], 2, "--json, --csv and --markdown"),
    ],
)
def test_nonsense_exits_with_its_code_and_one_or_two_lines(words, code, said):
    result = run_cli("shape", *words)
    assert result.exit_code == code
    assert (result.json["status"] == "failed") if "--json" in words else (result.stdout == "")
    assert said in result.stderr
    assert 1 <= len(result.stderr.splitlines()) <= 2


@given(st.text(alphabet="convpolmax:=,k0123456789x?-+ é", max_size=30))
def test_any_text_is_a_layer_or_an_expected_error(text):
    try:
        layers = parse_layers(text)
    except (UsageError, GeometryError) as caught:
        error = caught
    else:
        assert layers
        return
    position = error.facts.get("position", 0)
    assert error.message
    assert 0 <= position <= len(text)


SIZES = st.integers(1, 5)
PAIRS = st.tuples(SIZES, SIZES)


@given(
    st.fixed_dictionaries(
        {"out_channels": SIZES, "kernel_size": PAIRS},
        optional={
            "stride": PAIRS,
            "dilation": PAIRS,
            "groups": SIZES,
            "bias": st.booleans(),
            "padding": st.one_of(
                st.sampled_from(["same", "same_lower", "valid", "full"]), st.tuples(PAIRS, PAIRS), st.integers(0, 4)
            ),
            "name": st.sampled_from(["a", "b c", 'q"uote']),
            "padding_mode": st.sampled_from(["zeros", "replicate"]),
        },
    )
)
def test_a_layer_written_as_a_table_comes_back_equal(values):
    layer = layers_from_values("conv", values)[0]
    table = layer_as_table(layer)
    assert layers_from_values(table.pop("type"), table)[0] == layer


def test_numbers_and_padding_as_text():
    assert parse_pair("7", "kernel size", minimum=1) == (7, 7)
    assert parse_pair(" 7x5 ", "kernel size", minimum=1) == (7, 5)
    assert parse_padding("1,2,3,4") == ((1, 2), (3, 4))
    for text, position in (("7y5", 0), ("x7", 0), ("7x", 2), ("1x2x3", 0), ("0", 0), ("٣", 0), ("1e3", 0), ("", 0)):
        with pytest.raises(UsageError) as caught:
            parse_pair(text, "stride", minimum=1)
        assert caught.value.facts["position"] == position
    for text, position in (("1,2,3", 0), ("1,-2,3,4", 2), ("1,2,,4", 4), ("sam", 0), ("1;2", 0)):
        with pytest.raises(UsageError) as caught:
            parse_padding(text)
        assert caught.value.facts["position"] == position
    assert parse_sizes("3×304X228", "input", minimum=1) == (3, 304, 228)


def test_same_is_onnx_same_and_full_touches_everything():
    """SAME_UPPER by its definition: output ⌈i/s⌉, the odd pixel after; checked by counting windows."""
    for size in range(1, 12):
        for kernel in range(1, 6):
            for stride in range(1, 5):
                for dilation in (1, 2):
                    window = dilation * (kernel - 1) + 1
                    ((before, after),) = resolve_padding("same", (size,), (kernel,), (stride,), (dilation,))
                    assert len(range(0, before + size + after - window + 1, stride)) == -(-size // stride)
                    assert after - before == max((-(-size // stride) - 1) * stride + window - size, 0) % 2
                    lower = resolve_padding("same_lower", (size,), (kernel,), (stride,), (dilation,))
                    assert lower == ((after, before),)
                    ((before, after),) = resolve_padding("full", (size,), (kernel,), (stride,), (dilation,))
                    assert (before, after) == (window - 1, window - 1)


def test_same_of_a_transposed_layer_multiplies_the_size():
    shape = run_cli("shape", "3x7x9", "convtranspose:2,k=4x3,s=2,p=same", "--json").ok().json
    assert shape["totals"]["output"] == [2, 14, 18]
    assert shape["layers"][0]["padding"] == [[1, 1], [0, 1]]
    with pytest.raises(GeometryError, match="leaves gaps"):
        resolve_transpose_padding("same", (4,), (1,), (2,), (1,), (0,))


def test_groups_that_divide_are_listed():
    with pytest.raises(GeometryError) as caught:
        check_groups(12, 18, 4)
    assert caught.value.facts["divisors"] == [1, 2, 3, 6]
    for groups in caught.value.facts["divisors"]:
        check_groups(12, 18, groups)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("layers = [", "not TOML"),
        ("", "no layers"),
        ("layers = []", "no layers"),
        ('layer = ["relu"]', "did you mean layers"),
        ('layers = ["relu", "convv:3"]', "layer 2: 'convv:3', character 1: unknown layer 'convv'"),
        ('layers = [{type = "conv", out_channels = 3, kernel = 3}]', "layer 1: conv has no parameter 'kernel'"),
        ('layers = [{type = "conv", layer = "relu"}]', "either layer (its text) or type"),
        ('layers = [{layer = "conv:3,k=3", kernel_size = 5}]', "kernel_size is given twice"),
        ("layers = [3]", "neither text nor a table"),
        ('layers = [{layer = "relu", name = "a"}, {layer = "relu", name = "a"}]', "two layers are called 'a'"),
        ('layers = [{layer = "relu", name = "input"}]', "two layers are called 'input'"),
        ('outputs = ["b"]\nlayers = [{layer = "relu", name = "a"}]', "no layer is called 'b'"),
        ('input = "3x9"\ndims = 2\nlayers = ["relu"]', "do not agree"),
        ("name = 3\nlayers = ['relu']", "name is not text"),
        ("init = 3\nlayers = ['relu']", "init is not a table"),
        ('layers = [{layer = "conv:3,k=3", init = 5}]', "init 5 is not a table"),
    ],
)
def test_a_stack_file_that_is_wrong_says_what(text, said, tmp_path):
    with pytest.raises(ConvcliError) as caught:
        parse_stack(text)
    assert said in f"{caught.value} {caught.value.hint}"
    (tmp_path / "bad.toml").write_text(text)
    result = run_cli("shape", tmp_path / "bad.toml", "--input", "3x9x9")
    assert result.exit_code == 2
    assert "bad.toml: " in result.stderr


SCALARS = st.one_of(
    st.integers(-2, 9), st.booleans(), st.floats(), st.sampled_from(["same", "3", "2x2", "", "a", "a+b"])
)
VALUES = st.one_of(SCALARS, st.lists(st.one_of(SCALARS, st.lists(SCALARS, max_size=3)), max_size=5), st.just({}))
KINDS = st.sampled_from(NAMES)
KEYS = st.sampled_from(["out_channels", "kernel_size", "stride", "padding", "groups", "bias", "mode", "from", "name",
                        "members", "scale_factor", "value", "eps", "init", "weight", "constants"])  # fmt: skip


@given(st.lists(st.tuples(KINDS, st.dictionaries(KEYS, VALUES, max_size=5)), min_size=1, max_size=4))
def test_any_table_is_a_layer_or_an_expected_error(tables):
    """Whatever a stack file holds: a stack whose shapes can be asked for, or an error with a message and exit code."""
    entries = ", ".join(_toml({"type": word, **values}) for word, values in tables)
    try:
        stack = parse_stack(f"layers = [{entries}]")
        shape = stack.shape((6, 9, 9))
    except ConvcliError as error:
        caught = error
    else:
        assert all(size > 0 for row in shape.rows for size in row.output)
        assert parse_stack(dump_stack(stack)) == stack
        return
    assert caught.exit_code in (2, 5)
    assert caught.message
