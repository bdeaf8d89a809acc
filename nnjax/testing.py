"""The law kit: what every layer owes its users, as equations, for layers of anyone's.

``check_layer(layer, *inputs)`` puts a layer through all of them and raises one error that says
which law it breaks, and by how much::

    nn.testing.check_layer(nn.linear(4, 3), jnp.ones((8, 4)))

Our own layers pass the same laws, see ``tests/core/test_contract.py``.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, PartitionSpec as P

from nnjax.core import Layer, as_layer

__all__ = ["LawError", "check_layer", "laws"]


class LawError(AssertionError):
    """A layer breaks laws of the contract; ``broken`` has the amount by law."""

    def __init__(self, layer: str, broken: Mapping[str, str], checked: int):
        lines = "".join(f"\n  {law}: {amount}" for law, amount in broken.items())
        super().__init__(f"{layer} breaks {len(broken)} of {checked} laws:{lines}")
        self.broken = dict(broken)


_LAWS: dict[str, Callable[["_Subject"], None]] = {}


def laws() -> tuple[str, ...]:
    """The names of the laws, in the order in which they are checked."""
    return tuple(_LAWS)


def check_layer(
    layer: Layer | Callable[..., Any],
    *inputs: Any,
    named: Mapping[str, Any] | None = None,
    batch_axis: int = 0,
    seed: int = 0,
) -> None:
    """Put a layer through every law of the contract.

    ``inputs`` are example arrays, or ``jax.ShapeDtypeStruct``s that are filled with normal numbers
    (zeros, if of integers); ``named`` are further keyword inputs. The first axis of each is a batch
    of independent examples; ``batch_axis`` says where it is in the outputs. On several devices, a
    batch that they divide is also sharded over them (``jax.config.update("jax_num_cpu_devices",
    8)`` makes eight of one CPU).

    Raises: LawError, naming every law broken, and by how much.
    """
    layer = as_layer(layer)
    filled = jax.tree.map(_fill, inputs), jax.tree.map(_fill, dict(named or {}))
    subject = _Subject(layer, filled[0], filled[1], batch_axis, seed)
    broken = {}
    for name, law in _LAWS.items():
        try:
            law(subject)
        except Exception as error:  # a layer may fail in any way: all of them are the report
            lines = str(error).strip().splitlines() or [""]
            kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
            broken[name] = f"{kind}{lines[0]}"[:400]
    if broken:
        raise LawError(layer.name, broken, len(_LAWS))


def _law(name: str):
    def register(law):
        _LAWS[name] = law
        return law

    return register


@dataclasses.dataclass(eq=False)
class _Subject:
    """A layer with inputs, and the values that several laws compare with."""

    layer: Layer
    inputs: tuple[Any, ...]
    named: dict[str, Any]
    batch_axis: int
    seed: int

    def __post_init__(self):
        self.key = jax.random.key(self.seed + 7)
        self.made = self.layer.init(jax.random.key(self.seed))

    @functools.cached_property
    def params(self):
        """Moved off their first values: a bias of zeros could go unused and pass unseen."""
        rng = np.random.default_rng(self.seed)
        shift = lambda p: p + jnp.asarray(0.1 * rng.normal(size=p.shape), p.dtype)
        return jax.tree.map(lambda p: shift(p) if _floating(p) else p, self.made[0])

    @property
    def state(self):
        return self.made[1]

    def forward(self, train: bool = False):
        """(params, state, inputs, named) -> outputs."""

        def f(params, state, inputs, named):
            key = self.key if train else None
            return self.layer.apply(params, state, *inputs, key=key, train=train, **named)[0]

        return f

    @property
    def arguments(self):
        return self.params, self.state, self.inputs, self.named

    @functools.cached_property
    def jitted(self):
        return jax.jit(self.forward())

    @functools.cached_property
    def outputs(self):
        return self.jitted(*self.arguments)

    @functools.cached_property
    def training_is_another_program(self) -> bool:
        programs = (jax.make_jaxpr(self.forward(train))(*self.arguments) for train in (False, True))
        return len(set(map(str, programs))) == 2 or bool(self.state)

    @functools.cached_property
    def step(self):
        """A training step: (params, state, inputs) -> (outputs, state), compiled once."""

        def step(params, state, inputs):
            self.traces += 1
            return self.layer.apply(params, state, *inputs, key=self.key, train=True, **self.named)

        self.traces = 0
        return jax.jit(step)

    @functools.cached_property
    def point(self):
        """What to differentiate in: params, and the inputs if all of them are floating."""
        floating = self.inputs and all(map(_floating, jax.tree.leaves(self.inputs)))
        return (self.params, self.inputs) if floating else (self.params,)

    def objective(self, train: bool):
        """A smooth scalar of the point."""
        f = self.forward(train)

        def objective(params, inputs=self.inputs):
            outputs = jax.tree.leaves(f(params, self.state, inputs, self.named))
            return sum((jnp.sum(jnp.sin(_wide(y))) for y in outputs if _floating(y)), jnp.zeros(()))

        return objective


@_law("params and state are built-in containers of arrays")
def _trees(subject):
    def walk(tree, path):
        if isinstance(tree, dict):
            assert type(tree) is dict, f"{path} is a {type(tree).__name__}"
            for name, node in tree.items():
                assert isinstance(name, str), f"{path} has the key {name!r}, which is no string"
                empty = isinstance(node, dict) and not node
                assert not empty, f"{path}/{name} is an empty entry"
                walk(node, f"{path}/{name}")
        elif isinstance(tree, list | tuple):
            assert type(tree) in (list, tuple), f"{path} is a {type(tree).__name__}"
            for i, node in enumerate(tree):
                walk(node, f"{path}/{i}")
        else:
            assert isinstance(tree, jax.Array), f"{path} is a {type(tree).__name__}, not an array"
            assert not tree.weak_type, f"{path} has a weak type"

    for what, tree in zip(("params", "state"), subject.made, strict=True):
        assert type(tree) is dict, f"{what} is a {type(tree).__name__}, not a dict"
        walk(tree, what)


@_law("init is the same under eval_shape, jit and vmap")
def _init(subject):
    init, key = subject.layer.init, jax.random.key(subject.seed)
    spec = jax.eval_shape(init, key)
    _same_spec(spec, subject.made)
    if jax.tree.leaves(subject.made):
        pair = jax.jit(jax.vmap(init))(jnp.stack([jax.random.key(subject.seed + 1), key]))
        _close(jax.tree.map(lambda a: a[1], pair), subject.made)


@_law("jit equals eager")
def _jit(subject):
    _close(subject.outputs, subject.forward()(*subject.arguments))


@_law("jit equals eager in training")
def _jit_training(subject):
    if subject.training_is_another_program:
        eager = subject.layer.apply(
            subject.params,
            subject.state,
            *subject.inputs,
            key=subject.key,
            train=True,
            **subject.named,
        )
        _close(subject.step(subject.params, subject.state, subject.inputs), eager)


@_law("state keeps its structure, and a step is traced once")
def _state(subject):
    state = subject.state
    for _ in range(3):
        _, state = subject.step(subject.params, state, subject.inputs)
        _same_spec(state, subject.state, weak=True)
    assert subject.traces == 1, f"{subject.traces} traces for calls with the same shapes"


@_law("state is untouched when not training")
def _untouched(subject):
    _, after = subject.layer.apply(subject.params, subject.state, *subject.inputs, **subject.named)
    old, new = jax.tree.flatten(subject.state), jax.tree.flatten(after)
    assert old[1] == new[1], f"structure {new[1]}, was {old[1]}"
    assert all(a is b for a, b in zip(old[0], new[0], strict=True)), "other arrays came out"


@_law("inference is deterministic and draws no random numbers")
def _inference(subject):
    text = str(jax.make_jaxpr(subject.forward())(*subject.arguments))
    drawn = [word for word in _DRAWS if word in text]
    assert not drawn, f"its program has {drawn[0]}"


@_law("`random` says whether training draws, and keys decide what")
def _random(subject):
    run = lambda key: subject.layer.apply(
        subject.params, subject.state, *subject.inputs, key=key, train=True, **subject.named
    )[0]
    text = str(jax.make_jaxpr(run)(subject.key))
    draws = any(word in text for word in _DRAWS)
    assert draws == subject.layer.random, f"random={subject.layer.random}, but it draws: {draws}"
    if draws:
        run = jax.jit(run)
        one = run(subject.key)
        _close(run(subject.key), one, rtol=0, atol=0)
        others = [run(jax.random.key(seed)) for seed in range(90, 95)]  # few draws may be alike
        same = lambda a, b: all(
            np.array_equal(x, y, equal_nan=True)
            for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
        )
        assert not all(same(one, other) for other in others), "six keys gave the same outputs"


@_law("training without a key is refused where it draws, and a wrong key everywhere")
def _keys(subject):
    call = lambda **more: subject.layer.apply(
        subject.params, subject.state, *subject.inputs, **more, **subject.named
    )
    if subject.layer.random:
        _refused(ValueError, "key", lambda: call(train=True))
    _refused(TypeError, "key", lambda: call(key=3))
    _refused(TypeError, "key", lambda: subject.layer.init(3))


@_law("a misspelled keyword is refused")
def _keyword(subject):
    named = {**subject.named, "trian": True}
    call = lambda: subject.layer.apply(subject.params, subject.state, *subject.inputs, **named)
    _refused(TypeError, "trian", call)


@_law("params of another layer are refused")
def _foreign(subject):
    if subject.params:
        call = lambda tree: subject.layer(
            tree, *subject.inputs, state=subject.state, **subject.named
        )
        for tree in ({}, {**subject.params, "foreign": subject.params}):
            _refused(ValueError, "params", lambda tree=tree: call(tree))


@_law("derivatives: forward mode equals reverse mode, to second order, checkpointed or not")
def _derivatives(subject):
    if jax.tree.leaves(subject.point):
        point, f = subject.point, subject.objective(train=False)
        stored = jax.checkpoint(f)  # which may change no derivative
        slope, curved = jax.jit(lambda *p: _forward_over_reverse(stored, p))(*point)
        once = lambda *p: jax.jvp(f, p, _direction(p))
        pushed, twice = jax.jit(lambda *p: _forward_over_forward(once, p))(*point)
        _check_finite((slope, curved))
        _close(pushed, _inner(slope, _direction(point)), rtol=1e-4, atol=1e-4)
        _close(twice, _inner(curved, _direction(point)), rtol=1e-3, atol=1e-3)


@_law("derivatives in training: forward mode equals reverse mode, checkpointed or not")
def _derivatives_in_training(subject):
    if jax.tree.leaves(subject.point) and subject.training_is_another_program:
        point, f = subject.point, subject.objective(train=True)
        every = tuple(range(len(point)))
        slope = jax.jit(jax.grad(jax.checkpoint(f), every))(*point)
        pushed = jax.jit(lambda *p: jax.jvp(f, p, _direction(p))[1])(*point)
        _check_finite(slope)
        _close(pushed, _inner(slope, _direction(point)), rtol=1e-4, atol=1e-4)


def _direction(point):
    """A direction that depends on nothing but the shapes, or its own derivative would count."""
    return jax.tree.map(
        lambda a: jnp.cos(jnp.arange(a.size, dtype=a.dtype)).reshape(a.shape), point
    )


def _forward_over_reverse(f, point):
    gradient = jax.grad(f, tuple(range(len(point))))
    return jax.jvp(gradient, point, _direction(point))


def _forward_over_forward(once, point):
    (_, pushed), (_, twice) = jax.jvp(once, point, _direction(point))
    return pushed, twice


def _inner(a, b):
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return sum((jnp.vdot(_wide(x), _wide(y)) for x, y in pairs), jnp.zeros(()))


def _check_finite(tree):
    finite = all(np.isfinite(np.asarray(_wide(a))).all() for a in jax.tree.leaves(tree))
    assert finite, "a derivative is not finite"


@_law("vmap over inputs equals the batch")
def _vmap_inputs(subject):
    if not subject.inputs:
        return
    one = lambda inputs, named: subject.forward()(subject.params, subject.state, inputs, named)
    mapped = jax.jit(jax.vmap(one, out_axes=subject.batch_axis))(subject.inputs, subject.named)
    _close(mapped, subject.outputs)


@_law("vmap over stacked params equals a loop")
def _vmap_params(subject):
    keys = [jax.random.key(subject.seed + i) for i in range(3)]
    models = [subject.layer.init(key) for key in keys]
    if not jax.tree.leaves(models):
        return
    stack = lambda *leaves: jnp.stack(leaves)
    call = lambda tree: subject.jitted(*tree, subject.inputs, subject.named)
    mapped = jax.jit(jax.vmap(call))(jax.tree.map(stack, *models))
    _close(mapped, jax.tree.map(stack, *map(call, models)))


@_law("scan equals a loop of training steps")
def _scan(subject):
    both = jax.tree.map(lambda x: jnp.stack([x, x[::-1]]), subject.inputs)

    def step(state, inputs):
        y, state = subject.step(subject.params, state, inputs)
        return state, y

    last, ys = jax.jit(lambda s, x: jax.lax.scan(step, s, x))(subject.state, both)
    state, loop = subject.state, []
    for i in range(2):
        state, y = step(state, jax.tree.map(lambda x, i=i: x[i], both))
        loop.append(y)
    _close(ys, jax.tree.map(lambda *y: jnp.stack(y), *loop))
    _close(last, state)


@_law("shard_map over the devices equals one device")
def _sharded(subject):
    n = len(jax.devices())
    sizes = {jnp.shape(x)[:1] for x in jax.tree.leaves((subject.inputs, subject.named))}
    if n == 1 or not sizes or any(not size or size[0] % n for size in sizes):
        return
    mesh = jax.make_mesh((n,), ("batch",), axis_types=(AxisType.Auto,))
    out = P(*[None] * subject.batch_axis, "batch")
    specs = (P(), P(), P("batch"), P("batch"))
    f = jax.shard_map(subject.forward(), mesh=mesh, in_specs=specs, out_specs=out)
    _close(jax.jit(f)(*subject.arguments), subject.outputs)


@_law("no tracer leaks")
def _leaks(subject):
    with jax.checking_leaks():
        jax.make_jaxpr(subject.forward(train=True))(*subject.arguments)


@_law("bfloat16 in is bfloat16 out")
def _bfloat16(subject):
    half = lambda tree: jax.tree.map(lambda a: a.astype(jnp.bfloat16) if _floating(a) else a, tree)
    y = subject.jitted(
        half(subject.params), subject.state, half(subject.inputs), half(subject.named)
    )
    dtypes = {str(leaf.dtype) for leaf in jax.tree.leaves(y) if _floating(leaf)}
    assert dtypes <= {"bfloat16"}, f"outputs of {', '.join(sorted(dtypes))}"
    floats = lambda tree: [_wide(a) for a in jax.tree.leaves(tree) if _floating(a)]
    _close(floats(y), floats(subject.outputs), rtol=0.1, atol=0.1)  # 8 bits, some layers deep


@_law("its repr is readable")
def _repr(subject):
    text = repr(subject.layer)
    assert subject.layer.name in text, f"{text!r} is without the name {subject.layer.name!r}"
    assert "<function" not in text and " at 0x" not in text, f"{text!r} shows an object's address"


_DRAWS = ("random_", "threefry", "rng_")


def _fill(spec):
    if not isinstance(spec, jax.ShapeDtypeStruct):
        return spec
    if not jnp.issubdtype(spec.dtype, jnp.floating):
        return jnp.zeros(spec.shape, spec.dtype)
    return jnp.asarray(np.random.default_rng(len(spec.shape)).normal(size=spec.shape), spec.dtype)


def _floating(a: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(a), jnp.floating)


def _wide(a: Any) -> jax.Array:
    return a if a.dtype == jnp.float64 else a.astype(jnp.float32)


def _same_spec(got: Any, want: Any, weak: bool = False) -> None:
    spec = lambda a: (a.shape, str(a.dtype), *([a.weak_type] if weak else []))
    got, want = (jax.tree.map(spec, tree) for tree in (got, want))
    assert got == want, f"got {got}, expected {want}"


def _close(got: Any, want: Any, rtol: float = 2e-5, atol: float = 2e-6) -> None:
    """By default to some roundings of float32: other fusions sum in another order."""
    (got, a), (want, b) = jax.tree.flatten_with_path(got), jax.tree.flatten_with_path(want)
    assert a == b, f"structure {a}, expected {b}"
    for (path, x), (_, y) in zip(got, want, strict=True):
        where = jax.tree_util.keystr(path)
        assert x.shape == y.shape, f"shape{where} is {x.shape}, expected {y.shape}"
        assert x.dtype == y.dtype, f"dtype{where} is {x.dtype}, expected {y.dtype}"
        x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        if not np.allclose(x, y, rtol, atol, equal_nan=True):
            excess = np.nan_to_num(np.abs(x - y) - rtol * np.abs(y), nan=np.inf)
            at = tuple(map(int, np.unravel_index(np.argmax(excess), x.shape)))
            raise AssertionError(
                f"value{where} at {at} is {x[at]:.6g}, expected {y[at]:.6g} "
                f"(allowed: {rtol:g} of it, plus {atol:g})"
            )


def _refused(kind: type[Exception], word: str, call: Callable[[], Any]) -> None:
    try:
        call()
    except kind as error:
        assert word in str(error), f"{kind.__name__} does not speak of {word}: {error}"
        return
    raise AssertionError(f"nothing was raised, expected a {kind.__name__} that speaks of {word}")
