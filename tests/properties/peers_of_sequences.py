"""PyTorch's side of random attention and recurrent networks."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import assume

from tests.parity.test_torch import linear_params, randomize, value
from tests.properties.family import Case


def attention(case: Case):
    s = case.settings
    dim, heads = s["dim"], s["heads"]
    key_heads, size = s["key_heads"] or heads, s["head_dim"] or dim // heads
    wide = s.get("context_dim") or dim
    wide, wider = wide if isinstance(wide, tuple) else (wide, wide)
    make = lambda ins, outs: randomize(torch.nn.Linear(ins, outs, bias=s["bias"]))
    parts = {"query": make(dim, heads * size), "key": make(wide, key_heads * size)}
    parts |= {"value": make(wider, key_heads * size), "out": make(heads * size, dim)}
    length = case.inputs[0].shape[-2]
    keys = case.inputs[-1].shape[-2]
    ahead = torch.arange(keys) - torch.arange(length)[:, None]
    seen = torch.ones(length, keys, dtype=torch.bool)
    if s["causal"]:
        seen = seen & (ahead <= 0)
    if s["window"] is not None:
        seen = seen & (ahead.abs() < s["window"])
    if "mask" in case.named:
        seen = seen & torch.tensor(case.named["mask"])
    assume(bool(seen.any(-1).all()))  # PyTorch's softmax over nothing is NaN
    bias = torch.tensor(case.named.get("score_bias", np.zeros((), np.float32)))
    bias = torch.where(seen, bias, -torch.inf)

    def call(x, context=None, values=None):
        context = x if context is None else context
        values = context if values is None else values
        split = lambda h: h.unflatten(-1, (-1, size)).transpose(-2, -3)
        q, k, v = (
            split(parts["query"](x)),
            split(parts["key"](context)),
            split(parts["value"](values)),
        )
        if s["softcap"] is None:
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, enable_gqa=True)
        else:
            k, v = (h.repeat_interleave(heads // key_heads, -3) for h in (k, v))
            scores = s["softcap"] * torch.tanh(q @ k.mT / size**0.5 / s["softcap"])
            y = (scores + bias).softmax(-1) @ v
        return parts["out"](y.transpose(-2, -3).flatten(-2))

    return call, lambda of: {name: linear_params(part)(of) for name, part in parts.items()}


def recurrent(case: Case):
    """Our tree of carries is theirs, cut into layers and directions."""
    s = case.settings
    kind, layers, both, hidden = (
        s[key] for key in ("kind", "layers", "bidirectional", "hidden_features")
    )
    projection = s.get("projection")
    assume(not s.get("peephole") and s.get("reset_after", True) and "mask" not in case.named)
    assume(projection is None or projection < hidden)
    assume(not s["reverse"] or not both and "lengths" not in case.named)
    options = {"proj_size": projection} if projection else {}
    module = randomize(
        getattr(torch.nn, kind.upper())(
            s["in_features"],
            hidden,
            layers,
            bias=s["bias"],
            bidirectional=both,
            batch_first=True,
            **options,
        )
    )
    batch = case.inputs[0].shape[:-2]
    places = [f"l{layer}{way}" for layer in range(layers) for way in ("", "_reverse")[: 1 + both]]

    def grown(leaves: list[Any]) -> Any:
        """A leaf a layer and direction as our tree."""
        pairs = [tuple(leaves[i : i + 2]) for i in range(0, len(leaves), 2)] if both else leaves
        return pairs[0] if layers == 1 else tuple(pairs)

    def cell(of, place):
        entry = lambda name: of(getattr(module, f"{name}_{place}"))
        made = {"kernel": entry("weight_ih").T, "recurrent": entry("weight_hh").T}
        if projection:
            made["projection"] = entry("weight_hr").T
        if s["bias"]:
            own, other = entry("bias_ih"), entry("bias_hh")
            if kind == "gru":
                made["recurrent_bias"], other = other[2 * hidden :], other.copy()
                other[2 * hidden :] = 0
            made["bias"] = own + other if of is value else own  # either has the sum's gradient
        return made

    def params(of):
        cells = [cell(of, place) for place in places]
        if both:
            ways = ("forward", "backward")
            pairs = zip(cells[::2], cells[1::2], strict=True)
            cells = [dict(zip(ways, pair, strict=True)) for pair in pairs]
        return cells[0] if layers == 1 else {f"layer_{i}": c for i, c in enumerate(cells)}

    lengths = case.named.get("lengths")
    assume(lengths is None or lengths.min() > 0)  # PyTorch packs no empty sequence

    def start():
        carry = case.named.get("carry")
        if carry is None:
            return None
        flat = lambda a: torch.tensor(a).reshape(-1, a.shape[-1])
        leaves = leaves_of(carry)
        if kind != "lstm":
            return torch.stack([flat(a) for a in leaves])
        return tuple(torch.stack([flat(a) for a in leaves[part::2]]) for part in (0, 1))

    def leaves_of(tree):
        return (
            [leaf for part in tree for leaf in leaves_of(part)]
            if isinstance(tree, tuple)
            else [tree]
        )

    def call(x):
        steps = x.shape[-2]
        x = x.reshape(-1, *x.shape[-2:])
        x = x.flip(1) if s["reverse"] else x
        if lengths is not None:
            flat = torch.tensor(lengths.reshape(-1)).clamp(max=steps)
            x = torch.nn.utils.rnn.pack_padded_sequence(
                x, flat.long(), batch_first=True, enforce_sorted=False
            )
        y, carry = module(x, start())
        if lengths is not None:
            y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, True, total_length=steps)
        y = y.flip(1) if s["reverse"] else y
        parts = [
            a.reshape(len(places), *batch, -1) for a in (carry if kind == "lstm" else (carry,))
        ]
        leaves = [
            parts[0][i] if kind != "lstm" else (parts[0][i], parts[1][i])
            for i in range(len(places))
        ]
        return y.reshape(*batch, *y.shape[1:]), grown(leaves)

    return call, params
