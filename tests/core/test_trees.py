"""Paths, files, summaries and numbers drawn for parameters."""

import json
import os
import subprocess
import sys
from typing import Any

import chex
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import pytest
from safetensors.numpy import load_file

import nnjax as nn

KEY = jax.random.key(0)
MODEL = nn.serial(
    nn.conv(1, 2, 3), nn.batch_norm(2), nn.flatten(), blocks=nn.repeat(nn.linear(8, 8), 2)
)


def test_paths_name_every_array():
    params, state = MODEL.init(KEY)
    assert list(nn.paths(params)) == [
        "batch_norm_0/bias",
        "batch_norm_0/scale",
        "blocks/bias",
        "blocks/kernel",
        "conv_0/bias",
        "conv_0/kernel",
    ]
    for path, leaf in nn.paths((params, state)).items():
        assert nn.get_path((params, state), path) is leaf


def test_set_path_makes_a_new_tree():
    tree = {"a": [jnp.ones(2), (jnp.zeros(1), jnp.ones(3))], "b": {"c": jnp.ones(1)}}
    new = nn.set_path(tree, "a/1/0", jnp.full(1, 5.0))
    assert float(nn.get_path(new, "a/1/0")[0]) == 5 and float(tree["a"][1][0][0]) == 0
    assert jax.tree.structure(new) == jax.tree.structure(tree)
    named: Any = optax.adam(1e-3).init({"w": jnp.ones(2)})
    moved = nn.set_path(named, "0/mu/w", jnp.full(2, 3.0))
    assert type(moved[0]) is type(named[0]) and float(moved[0].mu["w"][0]) == 3
    for path in ("a/2", "b/d", "a/0/x"):
        with pytest.raises(ValueError, match="expected one of"):
            nn.set_path(tree, path, 0)
        with pytest.raises(ValueError, match="expected one of"):
            nn.get_path(tree, path)


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ({"**": "x"}, ["x"] * 6),
        ({"**/kernel": "k", "**": "o"}, list("ooo") + ["k", "o", "k"]),
        ({"*/bias": "b", "**": "o"}, ["b", "o", "b", "o", "b", "o"]),
        ({"blocks/**": "s", "**": "o"}, ["o", "o", "s", "s", "o", "o"]),
        ({"blocks/**/kernel": "s", "**": "o"}, ["o", "o", "o", "s", "o", "o"]),
        ({"conv_?/kernel": "s", "**": "o"}, None),
    ],
)
def test_label_takes_the_first_pattern(patterns, expected):
    params, _ = MODEL.init(KEY)
    if expected is None:
        with pytest.raises(ValueError, match=r"no array for \['conv_\?/kernel'\]"):
            nn.label(params, patterns)
    else:
        assert jax.tree.leaves(nn.label(params, patterns)) == expected


def test_label_refuses_what_it_leaves_out():
    params, _ = MODEL.init(KEY)
    with pytest.raises(ValueError, match="got no label for .*'batch_norm_0/bias'"):
        nn.label(params, {"blocks/*": "x", "conv_0/*": "x"})


def test_labels_freeze_with_optax():
    params, _ = MODEL.init(KEY)
    labels = nn.label(params, {"blocks/**": "train", "**": "freeze"})
    optimizer = optax.partition({"train": optax.sgd(1.0), "freeze": optax.set_to_zero()}, labels)
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    new: Any = optax.apply_updates(params, updates)
    chex.assert_trees_all_equal(new["conv_0"], params["conv_0"])
    assert not np.allclose(new["blocks"]["kernel"], params["blocks"]["kernel"])


def test_save_and_load_round_trip(tmp_path):
    trees = {"params": MODEL.init(KEY)[0], "half": [jnp.ones((2, 0), jnp.bfloat16), jnp.int8(3)]}
    file = tmp_path / "w.safetensors"
    nn.save(file, trees, config={"sizes": [1, 2], "name": "ü"})
    like = jax.eval_shape(lambda: trees)
    loaded = nn.load(file, like)
    chex.assert_trees_all_equal(loaded, trees)
    chex.assert_trees_all_equal_shapes_and_dtypes(loaded, trees)
    assert nn.load_config(file) == {"sizes": [1, 2], "name": "ü"}
    assert load_file(file)["half/0"].dtype == ml_dtypes.bfloat16  # readable without nnjax
    nn.save(file, {"a": np.arange(6.0, dtype=np.float32).reshape(2, 3).T})
    assert nn.load_config(file) is None
    transposed = nn.load(file, {"a": jax.ShapeDtypeStruct((3, 2), jnp.float32)})
    np.testing.assert_array_equal(transposed["a"], [[0, 3], [1, 4], [2, 5]])
    assert os.listdir(tmp_path) == ["w.safetensors"]


def test_load_lists_every_mismatch_in_one_error(tmp_path):
    file = tmp_path / "w.safetensors"
    nn.save(file, {"a": jnp.ones(2), "b": jnp.ones(3), "c": jnp.ones(1)})
    like = {"a": jnp.ones(2, jnp.bfloat16), "b": jnp.ones((3, 1)), "d": jnp.ones(1)}
    with pytest.raises(ValueError, match="holds another model's arrays") as caught:
        nn.load(file, like)
    lines = [line.strip() for line in str(caught.value).splitlines()[1:]]
    assert lines == [
        "a is float32[2], expected bfloat16[2]",
        "b is float32[3], expected float32[3, 1]",
        "left over c",
        "missing d",
    ]


def test_bad_files_and_leaves_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is none"):
        nn.load(tmp_path / "none", {})
    broken = tmp_path / "broken"
    nn.save(broken, {"a": jnp.ones(1000)})
    broken.write_bytes(broken.read_bytes()[:100])
    with pytest.raises(ValueError, match="damaged or foreign file"):
        nn.load(broken, {"a": jnp.ones(1000)})
    for leaf in (jax.random.key(0), "text"):
        with pytest.raises(TypeError, match="a: got"):
            nn.save(tmp_path / "bad", {"a": leaf})
    assert sorted(os.listdir(tmp_path)) == ["broken"]


def test_a_failed_save_leaves_the_old_file_whole(tmp_path):
    file = tmp_path / "w"
    nn.save(file, {"a": jnp.ones(3)}, config=1)
    with pytest.raises(TypeError):
        nn.save(file, {"a": jnp.zeros(3)}, config={"no json": object()})
    assert nn.load_config(file) == 1


def test_summary_shows_each_layer_and_allocates_nothing():
    huge = nn.serial(
        nn.embedding(10**9, 4096), blocks=nn.repeat(nn.mlp(4096, 16384, 4096), 48)
    )  # 16 terabytes
    table = nn.summary(huge, jax.ShapeDtypeStruct((8, 128), jnp.int32))
    assert (
        "blocks/linear_0" in table and "(8, 128, 16384)" in table and "4,096,000,000,000" in table
    )
    assert nn.output_shape(huge, jax.ShapeDtypeStruct((2,), jnp.int32)) == (2, 4096)


def test_summary_of_a_small_network():
    model = nn.serial(nn.linear(4, 3), nn.batch_norm(3), twice=nn.ensemble(nn.lstm(3, 2), 2))
    header, rule, *rows, carried = nn.summary(model, (5, 4)).splitlines()
    assert header.split() == ["path", "layer", "output", "params", "bytes"] and set(rule) == {"-"}
    assert [" ".join(row.split()) for row in rows] == [
        ". serial (2, 5, 2), (2, 2), (2, 2) 117 468",
        "linear_0 linear(4, 3) (5, 3) 15 60",
        "batch_norm_0 batch_norm(3) (5, 3) 6 24",
        "twice ensemble(2) of lstm(3, 2) of lstm_cell(3, 2) (2, 5, 2), (2, 2), (2, 2) 96 384",
    ]
    assert carried == "state: 6 numbers, 24 bytes"
    params, _ = model.init(KEY)
    assert nn.count_params(params) == 117


def test_importing_nnjax_leaves_heavy_modules_alone():
    code = "import sys, json, nnjax; print(json.dumps([m for m in sys.modules]))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = set(json.loads(out.stdout))
    assert not {"chex", "optax", "rich", "tyro", "matplotlib", "sklearn", "torch"} & modules
