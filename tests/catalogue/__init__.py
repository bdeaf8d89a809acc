"""The catalogue: every public function that makes a layer, once, with inputs and mistakes.

One module a family, each with its ``CASES``. ``tests/core/test_contract.py`` puts each case through
every law of the contract, and fails if a public layer is missing here.
"""

import importlib
import inspect
import pkgutil

import nnjax as nn
from tests.catalogue.case import Case

CASES: dict[str, Case] = {}
for module in sorted(info.name for info in pkgutil.iter_modules(__path__)):
    if module != "case":
        CASES |= importlib.import_module(f"{__name__}.{module}").CASES


def public_layers() -> set[str]:
    """Every public function of nnjax that says that it returns a Layer."""
    found = set()
    for name in nn.__all__:
        thing = getattr(nn, name)
        if inspect.isfunction(thing) and inspect.signature(thing).return_annotation is nn.Layer:
            found.add(name)
    return found
