"""The house: public JAX only, floors that import downwards, one public path a name."""

import ast
import importlib
import re
from pathlib import Path

import pytest

import nnjax as nn

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "nnjax").rglob("*.py"))
EVERYTHING = [
    p for d in ("nnjax", "tests", "benchmarks", "examples") for p in (ROOT / d).rglob("*.py")
]

# Gone or warned about in jax 0.10 to 0.12, and what is private in any.
FORBIDDEN = (
    r"jax\._src",
    r"jaxlib\.(?!__version__)",
    r"jax\.experimental\.(shard_map|pjit|maps)",
    r"jax\.(pmap|xla|lib|linear_util|abstract_arrays|tree_map|tree_leaves|tree_flatten)\b",
    r"jax\.tree_util\.tree_(map|leaves|flatten|unflatten|structure)\(",
    r"jax\.random\.KeyArray",
    r"lax\.pvary\b|sharding\.use_mesh|jax\.custom_remat|experimental\.enable_x64",
    r"\bjnp\.(fix|in1d|row_stack|trapz|round_|clip\([^)]*a_m)",
    r"\bnp\.(product|cumproduct|sometrue|alltrue|float_|bool8)\b",
)

FLOORS = {
    "ops": 0,
    "native": 0,
    "core": 0,
    "initializers": 1,
    "activations": 1,
    "losses": 1,
    "metrics": 1,
    "layers": 2,
    "models": 3,
    "data": 3,
    "train": 3,
    "testing": 3,
    "cli": 5,
}


def imports(path: Path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("pattern", FORBIDDEN)
def test_public_jax_only(pattern):
    here = Path(__file__)
    found = [p.name for p in EVERYTHING if p != here and re.search(pattern, p.read_text())]
    assert not found


def test_floors_import_downwards():
    for path in SOURCES:
        own = path.relative_to(ROOT / "nnjax").parts[0].removesuffix(".py")
        for module in imports(path):
            match module.split("."):
                case ["nnjax", other, *_] if other in FLOORS and own in FLOORS:
                    assert FLOORS[other] <= FLOORS[own], f"{path} imports {module}"
                    assert (own, other) != ("ops", "core"), f"{path}: ops know only arrays"


def test_every_folder_has_a_floor():
    folders = {p.name for p in (ROOT / "nnjax").iterdir() if p.is_dir() and p.name[0] != "_"}
    assert folders <= set(FLOORS)


def test_all_names_are_there_and_no_others():
    for name in nn.__all__:
        assert getattr(nn, name) is not None
    assert sorted(nn.__all__, key=str.lower) == sorted(set(nn.__all__), key=str.lower)
    for module in (
        "nnjax.losses",
        "nnjax.metrics",
        "nnjax.train",
        "nnjax.data",
        "nnjax.models",
        "nnjax.native",
        "nnjax.initializers",
    ):
        loaded = importlib.import_module(module)
        assert all(hasattr(loaded, name) for name in loaded.__all__)
        shared = set(loaded.__all__) & set(nn.__all__)
        assert not any(getattr(loaded, n) is getattr(nn, n) for n in shared), "two public paths"


def test_public_names_say_what_they_do():
    modules = (nn, nn.losses, nn.metrics, nn.train, nn.data, nn.models, nn.native, nn.initializers)
    for module in modules:
        for name in module.__all__:
            thing = getattr(module, name)
            if callable(thing) and not isinstance(thing, type):
                assert thing.__doc__ or name in ("zeros", "ones", "orthogonal"), name


def test_layers_document_shapes_and_errors():
    from tests.catalogue import public_layers

    layers = importlib.import_module("nnjax.layers")
    for name in public_layers():
        if hasattr(layers, name):
            text = getattr(layers, name).__doc__
            assert "Shapes:" in text and "Raises:" in text, name


def test_files_stay_readable():
    for path in SOURCES:
        assert len(path.read_text().splitlines()) <= 500, path


def test_functions_take_few_arguments():
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                a = node.args
                assert len(a.posonlyargs + a.args + a.kwonlyargs) <= 15, f"{path}: {node.name}"
