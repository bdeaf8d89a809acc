"""What a run is made of: the options of ``nnjax train``, and what config.json keeps of them."""

import dataclasses
from pathlib import Path
from typing import Any, Literal

import jax
import optax

from nnjax import models
from nnjax.core import Layer, serial
from nnjax.layers import flatten, mlp

Optimizer = Literal["adam", "adamw", "rmsprop", "sgd"]


class CommandError(Exception):
    """Something that the person at the keyboard can mend; its message is one line."""


@dataclasses.dataclass(frozen=True)
class Training:
    """Options that every model shares."""

    data: str = "digits"
    """Data set: digits (no download), mnist or fashion_mnist."""
    epochs: int = 20
    batch_size: int = 32
    optimizer: Optimizer = "adamw"
    lr: float = 1e-3
    """Learning rate, at its highest."""
    schedule: Literal["constant", "cosine"] = "constant"
    """constant, or cosine: up over the first twentieth of all steps, then down to a hundredth."""
    weight_decay: float = 1e-4
    """Decoupled weight decay; adamw only."""
    seed: int = 0
    """Of the splits, the parameters, the order of examples and the noise."""
    native: bool = False
    """On a CPU: kernels in C++, which a compiler makes once, and memory kept. See nnjax.native."""
    out: Path | None = None
    """Run folder; by default runs/MODEL-DATA-DATE-TIME."""
    overwrite: bool = False
    """Replace a run that is there already."""

    def model(self, image: tuple[int, int, int], classes: int) -> Layer:
        """Each subcommand's own network: float32[batch, *image] -> logits [batch, classes]."""
        raise NotImplementedError

    def make_optimizer(self, steps: int) -> optax.GradientTransformation:
        rate: Any = self.lr
        if self.schedule == "cosine":
            warmup = max(1, steps // 20)
            rate = optax.warmup_cosine_decay_schedule(0, self.lr, warmup, steps, self.lr / 100)
        return {
            "adam": lambda: optax.adam(rate),
            "adamw": lambda: optax.adamw(rate, weight_decay=self.weight_decay),
            "rmsprop": lambda: optax.rmsprop(rate),
            "sgd": lambda: optax.sgd(rate, momentum=0.9),
        }[self.optimizer]()


@dataclasses.dataclass(frozen=True)
class Mlp(Training):
    """A multi-layer perceptron on flattened images."""

    hidden: tuple[int, ...] = (64, 32)
    """Sizes of the hidden layers."""
    dropout_rate: float = 0.0

    def model(self, image: tuple[int, int, int], classes: int) -> Layer:
        width = image[0] * image[1] * image[2]
        sizes = (width, *self.hidden, classes)
        return serial(flatten(), mlp(*sizes, dropout_rate=self.dropout_rate))


@dataclasses.dataclass(frozen=True)
class Cnn(Training):
    """A small convolutional network with batch norm."""

    epochs: int = 5
    batch_size: int = 128
    lr: float = 2e-3
    schedule: Literal["constant", "cosine"] = "cosine"
    features: tuple[int, ...] = (32, 64, 128)
    """Channels of each stage."""
    dropout_rate: float = 0.3

    def model(self, image: tuple[int, int, int], classes: int) -> Layer:
        return models.cnn(image, classes, features=self.features, dropout_rate=self.dropout_rate)


MODELS: dict[str, type[Training]] = {"mlp": Mlp, "cnn": Cnn}


def to_config(settings: Training) -> dict[str, Any]:
    """What config.json keeps: enough to build the model and to load the same data again."""
    name = next(name for name, kind in MODELS.items() if type(settings) is kind)
    options = dataclasses.asdict(settings)
    del options["out"], options["overwrite"]
    return {"model": name, "options": options, "jax": jax.__version__}


def from_config(config: Any) -> Training:
    """The settings that ``to_config`` has written down."""
    try:
        options: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value  # JSON has no tuples
            for name, value in config["options"].items()
        }
        return MODELS[config["model"]](**options)
    except (KeyError, TypeError, AttributeError) as error:
        raise CommandError(
            f"config.json is not that of a run of nnjax train ({error!r})."
        ) from None
