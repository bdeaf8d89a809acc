"""What makes a CPU quicker on request: kernels in C++, and memory that is not given back."""

from nnjax.native.library import build as build, built as built
from nnjax.native.memory import keep_memory as keep_memory

__all__ = ["build", "built", "keep_memory"]
