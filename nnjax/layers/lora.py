"""LoRA: low-rank updates beside the linear layers of any network."""

import dataclasses

import jax
import jax.numpy as jnp

from nnjax.core import (
    Layer,
    check_entries,
    check_positive,
    get_path,
    map_layers,
    matches,
    set_path,
)
from nnjax.core.errors import LayerValueError
from nnjax.core.layer import Params
from nnjax.initializers import Initializer, draw, normal, zeros
from nnjax.ops.random import fold_in

_APART = 2**32 - 1  # the key of lora_a: the layer's own params keep the values that they have alone


def lora(
    model: Layer,
    rank: int,
    *,
    match: str = "**",
    alpha: float | None = None,
    lora_init: Initializer | None = None,
) -> Layer:
    """The network with a low-rank update beside its linear layers, which starts as zero.

    Each linear layer whose path fits ``match`` becomes
    ``y = x @ kernel + bias + (alpha / rank) x @ lora_a @ lora_b``, with two more params beside
    kernel and bias, so that the params of ``model`` fit by path. To train the update alone::

        labels = nn.label(params, {"**/lora_*": "train", "**": "freeze"})
        optax.partition({"train": optax.adam(1e-3), "freeze": optax.set_to_zero()}, labels)

    ``lora_merge`` adds the update to the kernels. alpha is the rank by default, lora_init a normal
    distribution with variance 1 / rank.

    Shapes: those of model; lora_a [in, rank], lora_b [rank, out]. Linear layers with several axes
        in or out are left alone.
    Raises: ValueError, naming the linear layers, if none fits ``match``.
    Source: Hu et al. 2021, https://arxiv.org/abs/2106.09685, section 4.1.
    """
    check_positive("lora", rank=rank)
    scale = (rank if alpha is None else alpha) / rank
    init = normal(rank**-0.5) if lora_init is None else lora_init
    found: dict[str, bool] = {}

    def adapt(path, layer):
        if not _is_linear(layer):
            return layer
        found[path] = matches(match, path)
        return _adapted(layer, rank, scale, init) if found[path] else layer

    adapted = map_layers(adapt, model)
    if not any(found.values()):
        got = f"got match={match!r}, expected a pattern of linear layers' paths"
        raise LayerValueError(f"lora: {got}: {', '.join(map(repr, found)) or 'there are none'}.")
    return adapted


def lora_merge(model: Layer, params: Params) -> tuple[Layer, Params]:
    """The network before ``lora``, with kernels that hold the updates: the same function.

    Raises: ValueError, if model has no layer made by ``lora``.
    """
    tree = {"model": params}  # so that a lone layer has a path, too
    merged = 0

    def merge(path, layer):
        nonlocal tree, merged
        if not isinstance(layer, _Adapted):
            return layer
        path = f"model/{path}".rstrip("/")
        own = dict(get_path(tree, path))
        update = jnp.matmul(own.pop("lora_a"), own.pop("lora_b"))
        own["kernel"] = own["kernel"] + (layer.scale * update).astype(own["kernel"].dtype)
        tree, merged = set_path(tree, path, own), merged + 1
        return layer.base

    plain = map_layers(merge, model)
    if not merged:
        raise LayerValueError(f"lora_merge: got {model.name}, expected what lora(model, ...) made.")
    return plain, tree["model"]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class _Adapted(Layer):
    """A linear layer with its low-rank update; ``base`` is the layer without."""

    base: Layer = None  # type: ignore  # fields with defaults come before it
    scale: float = 1.0


def _adapted(base: Layer, rank: int, scale: float, lora_init: Initializer) -> Layer:
    spec = {entry: a.shape for entry, a in _spec(base).items()}
    in_features, out_features = spec["kernel"]
    added = {"lora_a": (in_features, rank), "lora_b": (rank, out_features)}
    name = f"{base.name}+lora({rank})"

    def init(key):
        params, state = base.init(key)
        update = draw(fold_in(key, _APART), added, lora_a=lora_init, lora_b=zeros)
        return {**params, **update}, state

    def apply(params, state, x, *, key=None, train=False):
        check_entries(name, "params", params, **spec, **added)
        own = {entry: params[entry] for entry in spec}
        y, state = base.apply(own, state, x, key=key, train=train)
        return y + scale * (x @ params["lora_a"] @ params["lora_b"]), state

    return _Adapted(init, apply, name, random=base.random, base=base, scale=scale)


def _is_linear(layer: Layer) -> bool:
    if layer.children or layer.name.split("(")[0] != "linear" or isinstance(layer, _Adapted):
        return False
    return len(_spec(layer)["kernel"].shape) == 2


def _spec(layer: Layer):
    return jax.eval_shape(layer.init, jax.random.key(0))[0]
