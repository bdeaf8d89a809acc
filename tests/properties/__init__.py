"""Properties of random configurations, family by family."""

from tests.properties import (
    attention,
    convolution,
    dropout,
    functions,
    graph,
    linear,
    losses,
    normalization,
    pooling,
    recurrent,
    resample,
    vectors,
)

MODULES = [linear, convolution, pooling, resample, normalization, recurrent, attention, dropout]
MODULES += [graph, functions, losses, vectors]
FAMILIES = {name: family for module in MODULES for name, family in module.FAMILIES.items()}
