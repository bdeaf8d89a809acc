"""nnjax: neural networks as pure functions in JAX."""

import importlib
from typing import TYPE_CHECKING

from nnjax import activations as _activations, layers as _layers
from nnjax.activations import *  # noqa: F403  # their one list is in nnjax/activations.py
from nnjax.core import (
    Layer as Layer,
    as_layer as as_layer,
    compose as compose,
    count_params as count_params,
    ensemble as ensemble,
    explain as explain,
    get_path as get_path,
    label as label,
    load as load,
    load_config as load_config,
    map_layers as map_layers,
    output_shape as output_shape,
    parallel as parallel,
    paths as paths,
    remat as remat,
    repeat as repeat,
    residual as residual,
    save as save,
    serial as serial,
    set_path as set_path,
    stack as stack,
    summary as summary,
    unstack as unstack,
)
from nnjax.layers import *  # noqa: F403  # their one list is in nnjax/layers/__init__.py

if TYPE_CHECKING:
    from nnjax import (
        data as data,
        initializers as initializers,
        losses as losses,
        metrics as metrics,
        models as models,
        native as native,
        testing as testing,
        train as train,
    )

__version__ = "0.1.0"

_LAZY = ("data", "initializers", "losses", "metrics", "models", "native", "testing", "train")

__all__ = [
    "Layer",
    "as_layer",
    "compose",
    "count_params",
    "data",
    "ensemble",
    "get_path",
    "initializers",
    "label",
    "load",
    "load_config",
    "losses",
    "map_layers",
    "metrics",
    "models",
    "native",
    "output_shape",
    "parallel",
    "paths",
    "remat",
    "repeat",
    "residual",
    "save",
    "serial",
    "set_path",
    "stack",
    "explain",
    "summary",
    "testing",
    "train",
    "unstack",
]
__all__ += _activations.__all__
__all__ += _layers.__all__


def __getattr__(name: str):
    if name in _LAZY:  # submodules that would slow `import nnjax` down
        return importlib.import_module(f"nnjax.{name}")
    raise AttributeError(f"module 'nnjax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
