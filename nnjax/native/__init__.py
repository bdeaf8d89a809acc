"""Kernels in C++ for a CPU, compiled on request, where XLA's own leave half of the machine idle."""

from nnjax.native.library import build as build, built as built

__all__ = ["build", "built"]
