"""Our layers beside those of Flax NNX, Equinox and Keras 3 (on JAX), of which any may be missing.

``PAIRS[layer, peer]()`` are configurations with the same weights and inputs on both sides.
"""

import importlib
import importlib.util
import os

from benchmarks.conformance.peers.pair import (
    NOTES as NOTES,
    PAIRS as PAIRS,
    TOLERANCE as TOLERANCE,
    Cell as Cell,
    Pair as Pair,
    cell as cell,
    measure as measure,
)

PEERS = {"flax": "Flax NNX", "equinox": "Equinox", "keras": "Keras"}
MISSING: dict[str, str] = {}  # the peers that are left out, and why

os.environ.setdefault("KERAS_BACKEND", "jax")  # read once, when keras is first imported
for _peer in PEERS:
    if importlib.util.find_spec(_peer) is None:
        MISSING[_peer] = f"{_peer} is not installed: pip install {_peer}"
    elif _peer == "keras" and os.environ["KERAS_BACKEND"] != "jax":
        MISSING[_peer] = f"keras runs on {os.environ['KERAS_BACKEND']}: set KERAS_BACKEND=jax"
    else:
        importlib.import_module(f"{__name__}.{_peer}")
