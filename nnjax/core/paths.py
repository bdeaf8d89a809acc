"""Paths: one string names one array, everywhere: ``"blocks/attn/query/kernel"``."""

import re
from collections.abc import Mapping
from typing import Any

import jax

from nnjax.core.errors import LayerValueError


def paths(tree: Any) -> dict[str, Any]:
    """Every array of a tree by its path: ``{"linear_0/kernel": ..., "linear_0/bias": ...}``."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def get_path(tree: Any, path: str) -> Any:
    """The array or subtree at ``path``.

    Raises: ValueError, with the names that are there, if there is none.
    """
    for depth, name in enumerate(names := path.split("/")):
        tree = _entries(tree, names[:depth], name)[name]
    return tree


def set_path(tree: Any, path: str, value: Any) -> Any:
    """A new tree with ``value``, an array or a subtree, at ``path``; the old one is untouched.

    Raises: ValueError, with the names that are there, if there is none.
    """
    return _set(tree, path.split("/"), 0, value)


def label(tree: Any, patterns: Mapping[str, str]) -> Any:
    """A tree of labels, one an array: that of the first pattern that its path matches.

    ``*`` stands for any part of a name, ``**`` for any number of names. For ``optax.partition``::

        labels = nn.label(params, {"head/**": "train", "**": "freeze"})
        optimizer = optax.partition({"train": adam, "freeze": optax.set_to_zero()}, labels)

    Raises: ValueError, listing arrays that no pattern matches and patterns that match no array.
    """
    matched = set()

    def choose(path):
        for pattern, chosen in patterns.items():
            if matches(pattern, path):
                matched.add(pattern)
                return chosen
        return None

    chosen = {path: choose(path) for path in paths(tree)}
    unlabelled = [path for path, found in chosen.items() if found is None]
    idle = [pattern for pattern in patterns if pattern not in matched]
    if unlabelled or idle:
        raise LayerValueError(
            f"got no label for {unlabelled or 'nothing'} and no array for {idle or 'nothing'}; "
            "expected each array to match a pattern and each pattern to be the first to match some "
            "array. A last pattern '**' takes all that is left."
        )
    return jax.tree.unflatten(jax.tree.structure(tree), list(chosen.values()))


def matches(pattern: str, path: str) -> bool:
    """Whether a path is one that a pattern names, see ``label``."""
    return re.fullmatch(_regex(pattern), path) is not None


def _regex(pattern: str) -> str:
    parts = (re.escape(part) for part in pattern.split("/"))
    regex = "/".join(part.replace(r"\*\*", ".*").replace(r"\*", "[^/]*") for part in parts)
    return regex.replace("/.*", "(/.*)?").replace(".*/", "(.*/)?")  # ** may stand for no name


def _entries(tree: Any, names: list[str], name: str) -> dict[str, Any]:
    """Children of a node by name; those of a list or tuple are numbered."""
    if isinstance(tree, Mapping):
        entries = dict(tree)
    elif isinstance(tree, list | tuple):
        fields = getattr(tree, "_fields", range(len(tree)))
        entries = dict(zip(map(str, fields), tree, strict=True))
    else:
        entries = {}
    if name not in entries:
        where = "/".join(names) or "the tree"
        raise LayerValueError(f"got {name!r}, expected one of {sorted(entries)} in {where}.")
    return entries


def _set(tree: Any, names: list[str], depth: int, value: Any) -> Any:
    if depth == len(names):
        return value
    entries = _entries(tree, names[:depth], names[depth])
    entries[names[depth]] = _set(entries[names[depth]], names, depth + 1, value)
    if isinstance(tree, Mapping):
        return entries
    return (
        type(tree)(*entries.values()) if hasattr(tree, "_fields") else type(tree)(entries.values())
    )
