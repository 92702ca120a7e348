"""Stacks that run: each example equals the same network written in torch by hand, and has the shapes foretold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import REPOSITORY
from oracles import assert_close
from torch.nn import functional as F  # noqa: N812

import convcli
from convcli.errors import GeometryError, KernelError, UsageError
from convcli.layers.run import INITS, load_numbers, run_stack
from convcli.layers.stack import KEYS, Stack, load_stack, parse_stack

STACKS = REPOSITORY / "examples" / "stacks"


class Weights:
    """Hands out the convolutions' weights and biases in order, as torch tensors."""

    def __init__(self, stack: Stack, shape: tuple[int, ...]):
        found = load_numbers(stack, stack.shape(shape))
        kinds = [layer.kind for layer in stack.layers]
        self.pairs = iter([n for n, kind in zip(found, kinds, strict=True) if kind in ("conv", "convtranspose")])

    def __call__(self):
        weight, bias = next(self.pairs)
        return torch.from_numpy(weight), None if bias is None else torch.from_numpy(bias)


def norm(x):
    n = x.shape[1]
    return F.batch_norm(x, torch.zeros(n).double(), torch.ones(n).double())


def resnet_stem(x, w):
    conv1 = F.conv2d(x, *w(), stride=2, padding=3)
    return {"conv1": conv1, "pool1": F.max_pool2d(F.relu(norm(conv1)), 3, 2, 1)}


def mobilenet_block(x, w):
    x = F.relu(norm(F.conv2d(x, *w(), stride=2, padding=1)))
    dw1 = F.conv2d(x, *w(), padding=1, groups=32)
    pw1 = F.conv2d(F.relu(norm(dw1)), *w())
    x = F.conv2d(F.relu(norm(pw1)), *w(), stride=2, padding=1, groups=64)
    return {"dw1": dw1, "pw1": pw1, "output": F.relu(norm(F.conv2d(F.relu(norm(x)), *w())))}


def inception_1x1(x, w):
    one = F.conv2d(x, *w())
    three = F.conv2d(F.relu(F.conv2d(x, *w())), *w(), padding=1)
    five = F.conv2d(F.relu(F.conv2d(x, *w())), *w(), padding=2)
    pooled = F.conv2d(F.max_pool2d(x, 3, 1, 1), *w())
    joined = torch.cat([one, three, five, pooled], 1)
    return {"one": one, "three": three, "five": five, "pooled": pooled, "inception": joined}


def dilated_pyramid(x, w):
    near, middle, wide, far = (F.conv2d(x, *w(), padding=d, dilation=d) for d in (1, 6, 12, 18))
    output = F.conv2d(torch.cat([near, middle, wide, far], 1), *w())
    return {"near": near, "middle": middle, "wide": wide, "far": far, "output": output}


def unet_up(x, w):
    skip = F.relu(F.conv2d(x, *w(), padding=1))
    up = F.conv_transpose2d(F.relu(F.conv2d(F.max_pool2d(skip, 2), *w(), padding=1)), *w(), stride=2)
    x = F.relu(F.conv2d(torch.cat([skip, up], 1), *w(), padding=1))
    return {"skip": skip, "up": up, "output": F.conv2d(x, *w())}


def flattened(x, w):
    x = F.conv2d(F.conv2d(x, *w()), *w(), padding=(1, 0), groups=16)
    first = F.conv2d(x, *w(), padding=(0, 1), groups=16)
    x = F.conv2d(F.relu(first), *w())
    x = F.conv2d(F.pad(x, (0, 0, 1, 2)), *w(), stride=(2, 1), groups=32)  # same: 5 rows at stride 2, more after
    second = F.conv2d(F.pad(x, (0, 1, 0, 0)), *w(), stride=(1, 2), groups=32)
    return {"first": first, "second": second, "output": F.relu(second)}


def shuffle_group(x, w):
    entry = F.relu(norm(F.conv2d(x, *w(), stride=2, padding=1)))
    x = F.relu(norm(F.conv2d(entry, *w(), groups=3)))
    shuffled = F.channel_shuffle(x, 3)
    x = norm(F.conv2d(shuffled, *w(), padding=1, groups=12))
    grouped = norm(F.conv2d(x, *w(), groups=3))
    return {"entry": entry, "shuffled": shuffled, "grouped": grouped, "output": F.relu(entry + grouped)}


def laplacian_pyramid(x, w):
    def halve(x):
        return F.conv2d(F.pad(x, (2, 2, 2, 2), mode="replicate"), *w(), stride=2, groups=3)

    def enlarge(x):
        padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
        return F.conv_transpose2d(padded, *w(), stride=2, padding=4, output_padding=1, groups=3)

    half = halve(x)
    guess0 = enlarge(half)
    rest = halve(half)
    guess1 = enlarge(rest)
    return {"half": half, "guess0": guess0, "detail0": x - guess0, "rest": rest, "guess1": guess1,
            "detail1": half - guess1}  # fmt: skip


def canny_front(x, w):
    smooth = F.conv2d(F.pad(x, (4, 4, 4, 4), mode="replicate"), *w(), groups=3)
    gradient = F.conv2d(F.pad(smooth, (1, 1, 1, 1), mode="replicate"), *w(), groups=3)
    return {"smooth": smooth, "gradient": gradient, "magnitude": torch.hypot(gradient[:, ::2], gradient[:, 1::2])}


NETWORKS = {
    "resnet-stem": resnet_stem,
    "mobilenet-block": mobilenet_block,
    "inception-1x1": inception_1x1,
    "dilated-pyramid": dilated_pyramid,
    "unet-up": unet_up,
    "flattened": flattened,
    "shuffle-group": shuffle_group,
    "laplacian-pyramid": laplacian_pyramid,
    "canny-front": canny_front,
}


def test_every_example_has_its_network():
    assert {path.stem for path in STACKS.glob("*.toml")} == set(NETWORKS)


def read_photo(path: Path, rows: int, columns: int) -> np.ndarray:
    """Read a piece of the photograph, channels first, in its own units."""
    from PIL import Image

    with Image.open(path) as image:
        samples = np.asarray(image.convert("RGB"), np.float32)
    return np.ascontiguousarray(samples[100 : 100 + rows, 200 : 200 + columns].transpose(2, 0, 1))


@pytest.mark.parametrize("name", sorted(NETWORKS))
@torch.no_grad()
def test_example_on_a_photograph_equals_torch(name, photo):
    stack = load_stack(STACKS / f"{name}.toml")
    planes = read_photo(photo, 96, 120)
    expected = NETWORKS[name](torch.from_numpy(planes).double()[None], Weights(stack, planes.shape))
    found = run_stack(stack, planes, outputs=list(expected))
    assert list(found) == list(expected)
    for output, maps in found.items():
        assert_close(maps, expected[output][0].numpy(), rtol=1e-4)


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_shape_foretells_every_output(name):
    stack = load_stack(STACKS / f"{name}.toml")
    assert stack.name == name
    shape = stack.shape((3, 64, 72))
    rows = {row.layer.name: row.output for row in shape.rows}
    rows["output"] = shape.output
    found = run_stack(stack, np.zeros((3, 64, 72), np.float32), outputs="all")
    assert {output: maps.shape for output, maps in found.items()} == {output: rows[output] for output in found}


def test_sobel_in_a_stack_is_sobel():
    """The bank's kernels run on each plane: gradient maps in the order x and y of plane 0, then of plane 1."""
    stack = parse_stack('layers = [{layer = "depthwise:m=2,k=3,bias=false", weight = "sobel"}]')
    ramp = np.stack([np.tile(np.arange(5.0), (5, 1)), np.tile(np.arange(5.0)[:, None], (1, 5))])
    maps = run_stack(stack, ramp)["output"]
    assert maps[:, 0, 0].tolist() == [8, 0, 0, 8]


def test_a_single_kernel_without_groups_adds_over_the_planes():
    stack = parse_stack('layers = [{layer = "conv:1,k=3,bias=false", weight = "1 1 1; 1 1 1; 1 1 1"}]')
    assert run_stack(stack, np.ones((3, 3, 3), np.float32))["output"].tolist() == [[[27.0]]]


@torch.no_grad()
def test_pooling_with_uneven_padding_follows_torchs_division(rng):
    """Uneven sides are put together from torch's own: padded beforehand, and what hangs over never counts."""
    planes = rng.normal(size=(2, 9, 11))
    for kernel, stride, ceil, include in ((3, 2, 0, 1), (3, 2, 1, 1), (2, 2, 0, 0), (3, 1, 0, 1)):
        text = f"avgpool:{kernel},s={stride},p=1,0,0,1,ceil={ceil},include_pad={include}"
        stack = parse_stack(f'layers = ["{text}"]')
        maps = run_stack(stack, planes)["output"]
        for (m, row, column), value in np.ndenumerate(maps):
            top, left = row * stride - 1, column * stride
            inside = planes[m, max(top, 0) : max(top + kernel, 0), left : left + kernel]
            low, high, end = (-1, 9, 12) if include else (0, 9, 11)
            count = (min(top + kernel, high) - max(top, low)) * (min(left + kernel, end) - left)
            assert np.isclose(value, inside.sum() / count), (text, m, row, column)
        most = run_stack(parse_stack(f'layers = ["{text.replace("avg", "max").split(",include")[0]}"]'), planes)[
            "output"
        ]
        assert most[0, 0, 0] == planes[0, : kernel - 1, :kernel].max()


@torch.no_grad()
def test_layers_without_weights_equal_torch(rng):
    x = rng.normal(size=(6, 8, 10)) * 4
    t = torch.from_numpy(x)[None]
    pairs = {
        "relu": F.relu(t),
        "relu:relu6": F.relu6(t),
        "relu:leaky": F.leaky_relu(t),
        "relu:leaky,v=0.2": F.leaky_relu(t, 0.2),
        "relu:sigmoid": torch.sigmoid(t),
        "relu:silu": F.silu(t),
        "relu:hardswish": F.hardswish(t),
        "relu:tanh": torch.tanh(t),
        "relu:clip": torch.clamp(t, 0, 1),
        "relu:abs": torch.abs(t),
        "upsample:2x3": F.interpolate(t, scale_factor=(2, 3), mode="nearest"),
        "upsample:3,mode=bilinear": F.interpolate(t, scale_factor=3, mode="bilinear"),
        "shuffle:3": F.channel_shuffle(t, 3),
        "globalpool": F.adaptive_avg_pool2d(t, 1),
        "globalpool:max": F.adaptive_max_pool2d(t, 1),
        "maxpool:3,s=2,p=1,ceil=1": F.max_pool2d(t, 3, 2, 1, ceil_mode=True),
        "avgpool:3,s=2,p=1,include_pad=0": F.avg_pool2d(t, 3, 2, 1, count_include_pad=False),
        "pad:1,2,3,4": F.pad(t, (3, 4, 1, 2)),
        "pad:1,2,3,4,mode=reflect": F.pad(t, (3, 4, 1, 2), mode="reflect"),
        "pad:1,2,3,4,mode=constant,v=7": F.pad(t, (3, 4, 1, 2), value=7),
        "pad:1,mode=circular": F.pad(t, (1, 1, 1, 1), mode="circular"),
        "combine:max,n=3": t.reshape(1, 2, 3, 8, 10).amax(2),
        "combine:mean,n=2": t.reshape(1, 3, 2, 8, 10).mean(2),
    }
    for text, expected in pairs.items():
        assert_close(run_stack(parse_stack(f'layers = ["{text}"]'), x)["output"], expected[0].numpy(), rtol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("text", "module"),
    [
        ("silu", torch.nn.SiLU()),
        ("swish", torch.nn.SiLU()),
        ("Sigmoid", torch.nn.Sigmoid()),
        ("Hardswish", torch.nn.Hardswish()),
        ("GELU", torch.nn.GELU()),
    ],
)
def test_activations_equal_torchs_modules_to_the_last_digits(text, module, dtype):
    x = np.concatenate([np.linspace(-30, 30, 12_001), [0.0, -3.0, 3.0, 1e4, -1e4]]).astype(dtype).reshape(1, 1, -1)
    maps = run_stack(parse_stack(f'layers = ["{text}"]'), x)["output"]
    exact = module(torch.from_numpy(x.astype(np.float64))).numpy()
    assert maps.dtype == dtype
    assert maps.shape == parse_stack(f'layers = ["{text}"]').shape(x.shape).output
    lost = 1e-15 if text == "GELU" else 1e-30  # torch's Φ loses its digits far below 0, ours does not
    np.testing.assert_allclose(maps, exact, rtol=8 * np.finfo(dtype).eps, atol=lost)


@torch.no_grad()
@pytest.mark.parametrize("n_axes", [1, 3])
def test_stacks_of_one_and_three_axes_run(n_axes, rng):
    text = '["conv:4,k=3,s=2,p=1", "relu", "maxpool:2", "convtranspose:2,k=3,s=2,p=1,op=1"]'
    stack = parse_stack(f"dims = {n_axes}\ninit = {{kind = 'xavier'}}\nlayers = {text}")
    planes = rng.normal(size=(2, *(12,) * n_axes))
    w = Weights(stack, planes.shape)
    conv, pool, up = (getattr(F, f"{name}{n_axes}d") for name in ("conv", "max_pool", "conv_transpose"))
    y = pool(F.relu(conv(torch.from_numpy(planes)[None], *w(), 2, 1)), 2)
    expected = up(y, *w(), 2, 1, output_padding=1)[0].numpy()
    assert_close(run_stack(stack, planes)["output"], expected, rtol=1e-10)


@torch.no_grad()
@pytest.mark.parametrize("n_axes", [1, 3])
def test_layers_that_move_samples_run_over_one_and_three_axes(n_axes, rng):
    x = rng.normal(size=(6, *(5,) * n_axes))
    t = torch.from_numpy(x)[None]
    pool = getattr(F, f"adaptive_max_pool{n_axes}d")
    pairs = {
        "shuffle:3": F.channel_shuffle(t, 3),
        "globalpool:max": pool(t, 1),
        "batchnorm": t / np.sqrt(1 + 1e-5),
        "pad:2,mode=replicate": F.pad(t, (2,) * 2 * n_axes, mode="replicate"),
        "upsample:2": F.interpolate(t, scale_factor=2, mode="nearest"),
        "upsample:3,mode=bilinear": F.interpolate(t, scale_factor=3, mode={1: "linear", 3: "trilinear"}[n_axes]),
        "combine:sum,n=3": t.reshape(1, 2, 3, *t.shape[2:]).sum(2),
        "concat:from=input+input": torch.cat([t, t], 1),
    }
    for text, expected in pairs.items():
        assert_close(run_stack(Stack(text, dims=n_axes), x)["output"], expected[0].numpy(), rtol=1e-12)


@pytest.mark.parametrize("planes", [None, "text", [[1, 2], [3]], np.ones((3, 5, 5), complex)])
def test_planes_that_are_no_numbers_are_our_error(planes):
    with pytest.raises(UsageError, match="planes"):
        Stack("relu").run(planes)


def test_shapes_are_numbers_or_text_everywhere():
    stack = Stack("maxpool:2", input=[np.int64(3), 8, 6])
    assert stack == Stack("maxpool:2", input="3x8x6")
    assert stack.shape() == stack.shape("3x8x6") == stack.shape(torch.zeros(3, 8, 6).shape)
    assert convcli.output_shape("3x8x6", "conv:4,k=3 relu", "maxpool:2") == (4, 3, 2)


@pytest.mark.parametrize(
    "shape", [(3, 0, 4), (3, -1, 4), (3.0, 4, 4), (3,), (1, 3, 4, 4, 4), 3, "3x0x4", "three", None]
)
def test_shapes_that_are_none_are_our_error(shape):
    with pytest.raises(UsageError, match="input"):
        convcli.output_shape(shape, "relu")
    for refused in (Stack("relu").shape, lambda shape: Stack("relu", input=shape).shape()):
        with pytest.raises(UsageError, match="input"):
            refused(shape)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"dims": 5}, "dims 5"),
        ({"dims": "2"}, "dims '2'"),
        ({"init": 5}, "init 5 is neither a name nor a table"),
        ({"layers": [None]}, "None is neither text nor a table"),
    ],
)
def test_arguments_of_a_stack_that_are_of_another_type_are_our_error(arguments, said):
    with pytest.raises(UsageError, match=said):
        Stack(**{"layers": "relu"} | arguments)
    with pytest.raises(UsageError, match="neither text nor a layer"):
        convcli.output_shape((3, 4, 4), None)
    with pytest.raises(UsageError, match="outputs 5 are no names"):
        Stack("relu").run(np.ones((3, 4, 4)), outputs=5)


# --- where numbers come from ---


def checkpoint(tmp_path: Path, kind: str) -> tuple[Path, dict[str, torch.Tensor]]:
    torch.manual_seed(3)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ConvTranspose2d(4, 2, 2, 2))
    for tensor in net.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.1, 1)
    state = net.state_dict()
    path = tmp_path / f"net.{kind}"
    if kind == "pt":
        torch.save(state, path)
    else:
        from safetensors.torch import save_file

        save_file(state, path)
    (tmp_path / "net.toml").write_text(
        f'layers = [{{layer = "conv:4,k=3", weight = "net.{kind}#0.weight"}},\n'
        f' {{layer = "batchnorm", weight = "net.{kind}#1"}},\n'
        f' {{layer = "convtranspose:2,k=2,s=2", weight = "net.{kind}#2.weight", bias_from = "net.{kind}#2.bias"}}]'
    )
    return tmp_path / "net.toml", net


@torch.no_grad()
@pytest.mark.parametrize("kind", ["pt", "safetensors"])
def test_weights_from_a_checkpoint_beside_the_stack(tmp_path, kind, rng):
    path, net = checkpoint(tmp_path, kind)
    planes = rng.random((3, 7, 8)).astype(np.float32)
    expected = net.eval()(torch.from_numpy(planes)[None])[0].numpy()
    assert_close(run_stack(load_stack(path), planes)["output"], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ('{layer = "conv:4,k=3"}', "layer 1 (conv): has no weights"),
        ('{layer = "conv:4,k=3,bias=false", weight = "sobbel"}', "sobbel"),
        ('{layer = "conv:4,k=5,bias=false", weight = "sobel"}', "shape 2x1x3x3, and the layer needs 4x3x5x5"),
        ('{layer = "conv:2,k=3", weight = "sobel"}', "has a bias, and 'sobel' brings none"),
        ('{layer = "conv:4,k=3", weight = "none.safetensors#x"}', "no file"),
        ('{layer = "conv:4,k=3", init = {kind = "kaimming"}}', "unknown init 'kaimming'"),
        ('{layer = "conv:4,k=3", init = {kind = "normal", gain = 1}}', "init normal has no 'gain'"),
        ('{layer = "batchnorm", constants = {mean = [1, 2]}}', "mean has 2 numbers for 3 channels"),
        ('{layer = "batchnorm", constants = {men = 1}}', "constants has no 'men'"),
        ('{layer = "relu:clip", constants = {lo = 1}}', "constants has no 'lo'"),
        ('{layer = "batchnorm", constants = {var = -1}}', "variance is negative"),
    ],
)
def test_numbers_that_are_missing_or_do_not_fit_are_said(layer, message):
    with pytest.raises((KernelError, UsageError)) as caught:
        run_stack(parse_stack(f"layers = [{layer}]"), np.zeros((3, 9, 9), np.float32))
    assert message in str(caught.value)
    assert str(caught.value).startswith("layer 1")


TORCH_INITS = {
    "default": lambda weight: weight,
    "xavier": torch.nn.init.xavier_uniform_,
    "xavier_normal_": torch.nn.init.xavier_normal_,
    "kaiming-uniform": lambda weight: torch.nn.init.kaiming_uniform_(weight, nonlinearity="relu"),
    "kaiming": lambda weight: torch.nn.init.kaiming_normal_(weight, nonlinearity="relu"),
    "normal": lambda weight: torch.nn.init.normal_(weight, 0, 0.02),
    "uniform": lambda weight: torch.nn.init.uniform_(weight, -0.02, 0.02),
    "constant": lambda weight: torch.nn.init.constant_(weight, 0),
}


@pytest.mark.parametrize("kind", TORCH_INITS)
def test_a_stack_starts_as_the_torch_module_built_in_its_order(kind):
    layers = '"conv:5,k=3,p=1", "batchnorm", "relu", "depthwise:k=3,bias=0", '
    stack = parse_stack(
        f'init = {{kind = "{kind}", seed = 11}}\nlayers = [{layers}"convtranspose:6,k=2,s=2", "pointwise:3"]'
    )
    torch.manual_seed(11)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 5, 3, padding=1),
        torch.nn.BatchNorm2d(5),
        torch.nn.ReLU(),
        torch.nn.Conv2d(5, 5, 3, groups=5, bias=False),
        torch.nn.ConvTranspose2d(5, 6, 2, 2),
        torch.nn.Conv2d(6, 3, 1),
    )
    for layer in module:
        if "Conv" in type(layer).__name__:
            TORCH_INITS[kind](layer.weight)
    for layer, numbers in zip(module, load_numbers(stack, stack.shape((3, 9, 9))), strict=True):
        if "Conv" in type(layer).__name__:
            np.testing.assert_array_max_ulp(np.float32(numbers.weight), layer.weight.detach().numpy(), 1)
            if layer.bias is not None:
                np.testing.assert_array_max_ulp(np.float32(numbers.bias), layer.bias.detach().numpy(), 1)


def test_a_seed_of_a_layer_is_its_own_and_layers_with_weights_draw_too():
    layer = '{layer = "conv:4,k=3", init = {kind = "default", seed = 2}}'
    stack = parse_stack(f'init = {{kind = "default"}}\nlayers = ["conv:4,k=3", {layer}, "conv:4,k=3"]')
    first, own, last = load_numbers(stack, stack.shape((4, 9, 9)))
    torch.manual_seed(0)
    expected = [torch.nn.Conv2d(4, 4, 3) for _ in range(2)]
    torch.manual_seed(2)
    for ours, theirs in zip((first, last, own), (*expected, torch.nn.Conv2d(4, 4, 3)), strict=True):
        np.testing.assert_array_max_ulp(np.float32(ours.weight), theirs.weight.detach().numpy(), 1)
    given = '{layer = "conv:2,k=3,bias=0", weight = "sobel"}'
    stack = parse_stack(f'init = {{kind = "default"}}\nlayers = [{given}, "conv:4,k=3"]')
    torch.manual_seed(0)
    torch.nn.Conv2d(1, 2, 3, bias=False)
    expected = torch.nn.Conv2d(2, 4, 3).weight.detach().numpy()
    np.testing.assert_array_max_ulp(np.float32(load_numbers(stack, stack.shape((1, 9, 9)))[1].weight), expected, 1)


def test_a_few_normal_numbers_are_drawn_in_pairs_from_layer_to_layer():
    stack = parse_stack('init = {kind = "normal", seed = 4}\nlayers = ["conv:3,k=1", "conv:5,k=1", "conv:3,k=1"]')
    torch.manual_seed(4)
    module = [torch.nn.Conv2d(1, 3, 1), torch.nn.Conv2d(3, 5, 1), torch.nn.Conv2d(5, 3, 1)]
    for layer, numbers in zip(module, load_numbers(stack, stack.shape((1, 4, 4))), strict=True):
        torch.nn.init.normal_(layer.weight, 0, 0.02)
        np.testing.assert_array_max_ulp(np.float32(numbers.weight), layer.weight.detach().numpy(), 1)


def test_the_numbers_of_numpy_are_kept():
    stack = parse_stack('init = {kind = "xavier", seed = 9, rng = "numpy"}\nlayers = ["relu", "conv:2,k=3"]')
    weight, bias = load_numbers(stack, stack.shape((3, 9, 9)))[1]
    limit = (6 / (27 + 18)) ** 0.5
    np.testing.assert_allclose(weight, np.random.default_rng([9, 1]).uniform(-limit, limit, (2, 3, 3, 3)), rtol=1e-14)
    assert not bias.any()


def test_outputs_by_name():
    stack = parse_stack('layers = [{layer = "relu", name = "a"}, {layer = "maxpool:2", name = "b"}, "relu"]')
    planes = np.ones((1, 4, 4), np.float32)
    assert list(run_stack(stack, planes)) == ["output"]
    assert list(run_stack(stack, planes, outputs="all")) == ["a", "b", "output"]
    assert list(run_stack(stack, planes, outputs="b,a")) == ["a", "b"]
    declared = parse_stack(
        'outputs = ["b"]\nlayers = [{layer = "relu", name = "a"}, {layer = "relu", name = "b"}, "relu"]'
    )
    assert list(run_stack(declared, planes, outputs="all")) == ["b", "output"]
    assert list(declared.run(planes, outputs="a")) == ["a"]
    with pytest.raises(UsageError, match="no output 'c'"):
        run_stack(stack, planes, outputs="c")


def test_a_stack_that_does_not_fit_the_picture_says_which_layer():
    stack = parse_stack('init = {kind = "normal"}\nlayers = ["maxpool:2", "conv:3,k=7"]')
    with pytest.raises(GeometryError, match=r"layer 2 \(conv\): rows: kernel 7 covers 7 px"):
        run_stack(stack, np.zeros((3, 9, 30), np.float32))


# --- the page about stacks ---


def test_the_page_names_every_example_and_every_key():
    page = (STACKS / "README.md").read_text()
    for name in NETWORKS:
        assert f"[{name}]({name}.toml)" in page
    example = page.partition("```toml\n")[2].partition("```")[0]
    stack = parse_stack(example)
    assert {line.partition(" ")[0] for line in example.splitlines() if line[:1].isalpha()} == set(KEYS)
    found = run_stack(stack, np.ones((3, 16, 16), np.float32), outputs="small,edges,output")
    assert {name: maps.shape for name, maps in found.items()} == {
        "small": (3, 8, 8),
        "edges": (3, 8, 8),
        "output": (6, 8, 8),
    }
    assert all(kind in page for kind in INITS)
