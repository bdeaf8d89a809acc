"""Models, one file an architecture."""

from nnjax.models.cnn import cnn as cnn

__all__ = ["cnn"]
