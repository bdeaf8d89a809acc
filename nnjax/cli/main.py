"""``nnjax``: reads the command line, and turns what can be mended into one line on stderr."""

import dataclasses
import difflib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import OmitArgPrefixes, Positional, subcommand

from nnjax.cli import commands
from nnjax.cli.settings import MODELS, Cnn, CommandError, Mlp
from nnjax.core.errors import LayerTypeError, LayerValueError
from nnjax.data import DataError
from nnjax.train import NonFiniteLossError

Model = Annotated[Mlp, subcommand("mlp")] | Annotated[Cnn, subcommand("cnn")]
COMMANDS = ("train", "evaluate", "summary", "devices")


@dataclasses.dataclass(frozen=True)
class Train:
    """Train a model, and write config, metrics, weights and plots to a run folder."""

    model: Model

    def run(self) -> None:
        commands.train(self.model)


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Load a run folder and print its test table again."""

    run_folder: Positional[Path]

    def run(self) -> None:
        commands.evaluate(self.run_folder)


@dataclasses.dataclass(frozen=True)
class Summary:
    """Print the table of a model's layers: output shapes, parameters, bytes."""

    model: Model

    def run(self) -> None:
        commands.summary(self.model)


@dataclasses.dataclass(frozen=True)
class Devices:
    """Print platform, devices and versions."""

    require: Literal["cpu", "gpu", "tpu"] | None = None
    """Fail unless JAX runs on this platform, rather than fall back to the CPU in silence."""

    def run(self) -> None:
        commands.devices(self.require)


Command = (
    Annotated[Train, subcommand("train")]
    | Annotated[Evaluate, subcommand("evaluate")]
    | Annotated[Summary, subcommand("summary")]
    | Annotated[Devices, subcommand("devices")]
)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0, or 1 after an error that one line explains."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        _check_words(arguments)
        config = (OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes)
        tyro.cli(Command, prog="nnjax", args=arguments, config=config).run()
    except (CommandError, DataError, LayerValueError, LayerTypeError, NonFiniteLossError) as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"{error.filename or ''}: {error.strerror or error}".lstrip(": "))
    except KeyboardInterrupt:
        return _fail("interrupted; the run folder holds the epochs that were finished.")
    return 0


def _check_words(arguments: Sequence[str]) -> None:
    """Refuse an unknown command or model in one line, where the parser would print a page."""
    known = {0: COMMANDS, 1: tuple(MODELS) if arguments[:1] in (["train"], ["summary"]) else ()}
    for place, word in enumerate(arguments[:2]):
        if known[place] and not word.startswith("-") and word not in known[place]:
            kind = ("command", "model")[place]
            close = difflib.get_close_matches(word, known[place], n=1)
            hint = f" Did you mean {close[0]}?" if close else ""
            raise CommandError(
                f"got {kind} {word!r}, expected one of {', '.join(known[place])}.{hint}"
            )


def _fail(message: str) -> int:
    lines = [line.strip() for line in message.splitlines()]
    if len(lines) > 5:  # every one of them is in the error that the Python function raises
        lines = [*lines[:5], f"and {len(lines) - 5} more"]
    print("nnjax: error: " + "; ".join(lines).replace(":;", ":"), file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
