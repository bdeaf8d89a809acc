"""PyTorch's side of a random case: from settings to a call and the parameters it shares with ours.

Each peer takes a case and gives ``theirs, params``, as ``check`` of the parity tests wants them.
What PyTorch does not have is left out by ``assume``.
"""

import math
from typing import Any

import jax
import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import assume

from tests.parity.test_resample import transposed_params
from tests.parity.test_torch import conv_params, linear_params, no_params, randomize
from tests.properties.convolution import reaches, sides, spread
from tests.properties.family import Case

MODES = {"constant": "constant", "reflect": "reflect", "replicate": "replicate"}
MODES["circular"] = "circular"


def parameter(*shape: int, seed: int = 0) -> torch.nn.Parameter:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.Parameter(0.5 + torch.randn(shape, generator=generator))


def on_images(call, axes: int):
    """A call on [B, C, *spatial] as one on [*batch, *spatial, C]."""

    def run(x):
        batch, image = x.shape[: -1 - axes], x.shape[-1 - axes :]
        y = call(x.reshape(-1, *image).permute(0, -1, *range(1, axes + 1)))
        y = y.permute(0, *range(2, y.ndim), 1)
        return y.reshape(*batch, *y.shape[1:])

    return run


def torch_pads(pads) -> list[int]:
    """PyTorch counts axes from the last."""
    return [n for pair in reversed(list(pads)) for n in pair]


def padded(settings: dict[str, Any], count: int, name: str = "kernel_size"):
    """x [B, C, *spatial] with the padding that our settings ask for."""
    kernel, stride, dilation = (
        spread(settings.get(key, 1), count) for key in (name, "stride", "dilation")
    )
    padding, mode = settings["padding"], MODES[settings.get("padding_mode", "constant")]

    def pads(spatial):
        if padding == "VALID":
            return [(0, 0)] * count
        if not isinstance(padding, str):
            return sides(padding, count)
        out = []
        for n, s, r in zip(spatial, stride, reaches(kernel, dilation), strict=True):
            whole = (math.ceil(n / s) - 1) * s + r - n
            before = r - 1 if padding == "CAUSAL" else max(whole, 0) // 2
            out.append((before, 0 if padding == "CAUSAL" else max(whole, 0) - before))
        return out

    return pads, lambda x: F.pad(x, torch_pads(pads(x.shape[2:])), mode=mode)


def count_axes(case: Case, name: str = "kernel_size") -> int:
    size = case.settings[name]
    return 2 if isinstance(size, int) else len(size)


def conv(case: Case):
    s, count = case.settings, count_axes(case)
    _, pad = padded(s, count)
    options = {key: s[key] for key in ("stride", "dilation")}
    make = getattr(torch.nn, f"Conv{count}d")
    if "groups" in s:
        ins, outs = s["in_features"], s["out_features"]
        module = randomize(
            make(ins, outs, s["kernel_size"], groups=s["groups"], bias=s["bias"], **options)
        )
        return on_images(lambda x: module(pad(x)), count), conv_params(module)
    features = s.get("features", s.get("in_features"))
    wide, alone = features * s["multiplier"], "features" in s
    bias = s["bias"] and alone
    module = randomize(
        make(features, wide, s["kernel_size"], groups=features, bias=bias, **options)
    )
    if alone:
        return on_images(lambda x: module(pad(x)), count), conv_params(module)
    point = randomize(make(wide, s["out_features"], 1, bias=s["bias"]))
    params = lambda of: {"depthwise": conv_params(module)(of), "pointwise": conv_params(point)(of)}
    return on_images(lambda x: point(module(pad(x))), count), params


def conv_transpose(case: Case):
    """Painted in full by PyTorch, then cut as documented, and only then the bias."""
    s, count = case.settings, count_axes(case)
    kernel, stride, dilation = (
        spread(s[key], count) for key in ("kernel_size", "stride", "dilation")
    )
    reach, extra, padding = reaches(kernel, dilation), s["output_padding"], s["padding"]
    make = getattr(torch.nn, f"ConvTranspose{count}d")
    options = {"stride": stride, "dilation": dilation, "groups": s["groups"], "bias": s["bias"]}
    module = randomize(make(s["in_features"], s["out_features"], kernel, **options))
    paint = getattr(F, f"conv_transpose{count}d")

    def cuts(spatial):
        for axis, (n, st, r, e) in enumerate(zip(spatial, stride, reach, extra, strict=True)):
            full = st * (n - 1) + r
            if padding == "SAME":
                before = max(r - st, 0) // 2
                yield -before, st * n - (full - before) + e
            elif padding == "VALID":
                yield 0, st * n + max(r - st, 0) - full + e
            else:
                before, after = sides(padding, count)[axis]
                yield -before, e - after

    def call(x):
        y = paint(x, module.weight, None, stride, 0, 0, s["groups"], dilation)
        y = F.pad(y, torch_pads(cuts(x.shape[2:])))
        return y if module.bias is None else y + module.bias.reshape(-1, *[1] * count)

    return on_images(call, count), transposed_params(module)


def linear(case: Case):
    s = case.settings
    assume("in_features" in s or "equation" in s or "in1_features" in s)
    x = case.inputs[0]
    if "in1_features" in s:
        module = randomize(torch.nn.Bilinear(*list(s.values())[:3], bias=s["bias"]))

        def params(of):
            kernel = np.moveaxis(of(module.weight), 0, -1)
            return {"kernel": kernel} | ({"bias": of(module.bias)} if s["bias"] else {})

        return module, params
    if "equation" in s:
        own, _ = case.layer.init(jax.random.key(0))
        kernel = parameter(*own["kernel"].shape)
        bias = parameter(*own["bias"].shape, seed=1) if s["bias"] else None
        letters, output = s["equation"].partition(",")[2].split("->")
        shape = [dict(zip(letters, kernel.shape, strict=True)).get(c, 1) for c in output[3:]]

        def einsum(x):
            y = torch.einsum(s["equation"], x, kernel)
            return y if bias is None else y + bias.reshape(shape)

        params = lambda of: {"kernel": of(kernel)} | ({} if bias is None else {"bias": of(bias)})
        return einsum, params
    tuples = [f if isinstance(f, tuple) else (f,) for f in (s["in_features"], s["out_features"])]
    ins, outs = tuples
    module = randomize(torch.nn.Linear(math.prod(ins), math.prod(outs), bias=s["bias"]))
    batch = x.shape[: x.ndim - len(ins)]
    call = lambda x: module(x.reshape(*batch, -1)).reshape(*batch, *outs)

    def params(of):
        made = linear_params(module)(of)
        shapes = {"kernel": (*ins, *outs), "bias": outs}
        return {name: a.reshape(shapes[name]) for name, a in made.items()}

    return call, params


def embedding(case: Case):
    s = case.settings
    assume(s["max_norm"] is None)  # PyTorch's changes the table in place
    module = randomize(torch.nn.Embedding(s["vocabulary"], s["dim"], s["padding_id"]))
    return lambda ids: module(ids.long()), lambda of: {"embedding": of(module.weight)}


def embedding_bag(case: Case):
    s, ids = case.settings, case.inputs[0]
    assume(s["max_norm"] is None and "weights" not in case.named)
    options = {"mode": s["reduce"], "padding_idx": s["padding_id"]}
    module = randomize(torch.nn.EmbeddingBag(s["vocabulary"], s["dim"], **options))
    params = lambda of: {"embedding": of(module.weight)}
    if "offsets" in case.named:
        offsets = torch.tensor(case.named["offsets"])
        return lambda ids: module(ids, offsets), params
    batch = ids.shape[:-1]
    return lambda ids: module(ids.reshape(-1, ids.shape[-1])).reshape(*batch, -1), params


def pool(case: Case):
    s, count = case.settings, count_axes(case, "window")
    kind, window, padding = s["kind"], s["window"], s["padding"]
    ceil, stride = s["ceil_mode"], s.get("stride", s["window"])
    cells = math.prod(spread(window, count))
    common = {"stride": stride, "padding": padding, "ceil_mode": ceil}
    if kind in ("max_pool", "min_pool"):
        sign = 1 if kind == "max_pool" else -1
        most = getattr(F, f"max_pool{count}d")
        call = lambda x: sign * most(sign * x, window, dilation=s["dilation"], **common)
    elif kind == "lp_pool":  # PyTorch's has no padding, and divides windows beyond the end
        assume(not ceil and not any(padding))
        norm = getattr(F, f"lp_pool{count}d")
        bare = lambda size: size[0] if count == 1 and not isinstance(size, int) else size
        call = lambda x: norm(x, s["p"], bare(window), bare(stride))
    else:
        mean = getattr(F, f"avg_pool{count}d")
        room = zip(case.inputs[0].shape[-1 - count :], spread(window, count), strict=False)
        assume(count < 3 or all(n >= w for n, w in room))  # though padding makes room
        if kind == "sum_pool":
            if count == 1:
                assume(not ceil)
                call = lambda x: mean(x, window, count_include_pad=True, **common) * cells
            else:
                call = lambda x: mean(x, window, divisor_override=1, **common)
        else:
            options = {"count_include_pad": s["count_include_pad"]}
            if s["divisor"] is not None:
                assume(count > 1 and s["divisor"] == int(s["divisor"]))
                options = {"divisor_override": int(s["divisor"])}
            call = lambda x: mean(x, window, **common, **options)
    return on_images(call, count), no_params


def unpool(case: Case):
    s, count = case.settings, count_axes(case, "window")
    assume(s["distinct"])  # PyTorch documents no order among entries of one index
    window, stride = (spread(s[key], count) for key in ("window", "stride"))
    size = list(case.outputs.shape[-1 - count : -1])
    undo = getattr(F, f"max_unpool{count}d")

    def call(x, indices):
        images = lambda a: a.reshape(-1, *a.shape[-1 - count :]).movedim(-1, 1)
        y = undo(images(x), images(indices).long(), window, stride, s["padding"], size)
        return y.movedim(1, -1).reshape(case.outputs.shape)

    return call, no_params


def adaptive(case: Case):
    size, kind = case.settings["output_size"], case.settings["kind"]
    function = getattr(F, f"{kind}{len(size)}d")

    def call(x):  # one axis has no None there
        whole = [n if m is None else m for n, m in zip(x.shape[2:], size, strict=True)]
        return function(x, whole)

    return on_images(call, len(size)), no_params


def affine(settings: dict[str, Any], *shape: int):
    """Scale and bias, if asked for, and our tree of them."""
    names = [name for name in ("scale", "bias") if settings.get(name)]
    made = {name: parameter(*shape, seed=i) for i, name in enumerate(names)}
    return made, lambda of: {name: of(p) for name, p in made.items()}


def norm(case: Case):
    s = case.settings
    kind = s.get("kind", "group_norm")
    assume("mask" not in case.named and kind != "global_response_norm")
    if kind in ("layer_norm", "rms_norm"):
        shape = s["features"] if isinstance(s["features"], tuple) else (s["features"],)
        made, params = affine(s, *shape)
        if kind == "rms_norm":
            return lambda x: F.rms_norm(x, shape, made.get("scale"), s["eps"]), params
        call = lambda x: F.layer_norm(x, shape, made.get("scale"), made.get("bias"), s["eps"])
        return call, params
    if kind == "unit_norm":
        return lambda x: F.normalize(x, dim=s["axis"], eps=1e-12), no_params
    if kind == "local_response_norm":
        rest = (s["alpha"], s["beta"], s["k"])
        call = lambda x: F.local_response_norm(x[..., None], s["size"], *rest)[..., 0]
        flat = lambda x: call(x.reshape(-1, x.shape[-1])).reshape(x.shape)
        return flat, no_params
    made, params = affine(s, s["features"])
    scale = made.get("scale", torch.ones(s["features"]))  # PyTorch takes no bias alone
    group = lambda x: F.group_norm(x, s["groups"], scale, made.get("bias"), s["eps"])
    return on_images(group, s["axes"]), params


def running_norm(case: Case):
    s, x = case.settings, case.inputs[0]
    assume("mask" not in case.named and "running" in s)  # not batch_renorm
    assume(math.prod(x.shape[:-1]) > 1)
    made, params = affine(s, s["features"])
    mean, var = torch.zeros(s["features"]), torch.ones(s["features"])
    weights = (made.get("scale"), made.get("bias"))
    given = case.train or not s["running"]
    axes = s.get("axes", 0)
    if axes and given:

        def instance(x):
            # PyTorch 2.13's gradients are wrong where the cotangent's channels come last in memory
            y = F.instance_norm(x.contiguous(), None, None, *weights, True, 0.1, s["eps"])
            y.register_hook(lambda cotangent: cotangent.contiguous())
            return y

        return on_images(instance, axes), params
    flat = lambda x: F.batch_norm(x, mean, var, *weights, given, 0.1, s["eps"])
    return lambda x: flat(x.reshape(-1, x.shape[-1])).reshape(x.shape), params


def resample(case: Case):
    s = case.settings
    kind = s["kind"]
    if kind == "affine_grid":
        size = s["size"]
        assume(len(size) > 1)
        count = len(size)

        def grid(theta):
            flat = theta.reshape(-1, count, count + 1)
            y = F.affine_grid(flat, [len(flat), 1, *size], s["align_corners"])
            return y.reshape(*theta.shape[:-2], *y.shape[1:])

        return grid, no_params
    if kind == "grid_sample":
        x, points = case.inputs
        count = points.shape[-1]
        assume(count == 2 or count == 3 and s["method"] != "cubic")
        mode = {"linear": "bilinear", "cubic": "bicubic", "nearest": "nearest"}[s["method"]]
        lead = x.shape[: -1 - count]

        def sample(x, grid):
            x, grid = (a.reshape(-1, *a.shape[len(lead) :]) for a in (x, grid))
            x = x.permute(0, -1, *range(1, count + 1))
            y = F.grid_sample(x, grid, mode, s["padding"], s["align_corners"])
            y = y.permute(0, *range(2, y.ndim), 1)
            return y.reshape(*lead, *y.shape[1:])

        return sample, no_params
    target: Any = s.get("size", s.get("scale"))
    count, method = len(target), s["method"]
    assume(method != "cubic" or count == 2)
    assume(not s["antialias"] or count == 2)
    smooth = {"linear": ("linear", "bilinear", "trilinear")[count - 1], "cubic": "bicubic"}
    options: dict[str, Any] = {"mode": smooth.get(method, method)}
    if method in smooth:
        options |= {"align_corners": s["align_corners"], "antialias": s["antialias"]}
    options["size" if kind == "resize" else "scale_factor"] = target
    return on_images(lambda x: F.interpolate(x, **options), count), no_params


def rearrange(case: Case):
    s, kind = case.settings, case.settings.get("kind", "")
    assume(kind)
    if kind in ("pixel_shuffle", "pixel_unshuffle"):
        factor = s["factor"]
        assume(len(factor) == 2 and factor[0] == factor[1])
        return on_images(lambda x: getattr(F, kind)(x, factor[0]), 2), no_params
    if kind == "channel_shuffle":
        call = lambda x: F.channel_shuffle(x.reshape(-1, x.shape[-1], 1), s["groups"])
        return lambda x: call(x).reshape(x.shape), no_params
    if kind == "pad":
        pairs = sides(s["amount"], len(s["amount"]))
        options = {"value": s["value"]} if s["mode"] == "constant" else {}
        call = lambda x: F.pad(x, torch_pads(pairs), mode=MODES[s["mode"]], **options)
        return on_images(call, len(pairs)), no_params
    count = count_axes(case, "window")
    assume(count == 2)
    window = spread(s["window"], 2)
    options = {"dilation": s["dilation"], "stride": s["stride"]}
    pads, pad = padded(s, 2, "window")

    def unfold(x):  # features in PyTorch's order are [C, window], in ours [window, C]
        y = F.unfold(pad(x), window, **options).reshape(len(x), x.shape[1], -1, *places)
        return y.transpose(1, 2).reshape(len(x), -1, *places)

    def fold(x):
        y = x.reshape(len(x), math.prod(window), -1, math.prod(x.shape[2:])).transpose(1, 2)
        sizes: Any = [n + sum(pair) for n, pair in zip(s["size"], pads(s["size"]), strict=True)]
        y = F.fold(y.reshape(len(x), -1, y.shape[-1]), sizes, window, **options)
        return F.pad(y, [-n for n in torch_pads(pads(s["size"]))])

    places = case.outputs.shape[-3:-1]
    return on_images(unfold if kind == "unfold" else fold, 2), no_params
