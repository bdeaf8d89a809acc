"""torch.nn's linear family."""

import nnjax as nn
from benchmarks.conformance.twin import Twin, adapter


def dense(get, prefix="", bias=True):
    """PyTorch keeps [out, in], we [in, out]."""
    tree = {"kernel": get(f"{prefix}weight").T}
    return tree | {"bias": get(f"{prefix}bias")} if bias else tree


@adapter("Linear", "NonDynamicallyQuantizableLinear")
def linear(m):
    bias = m.bias is not None
    layer = nn.linear(m.in_features, m.out_features, bias=bias)
    return Twin(layer, lambda get: dense(get, bias=bias))
