"""The folder of a run: every file in it is whole, whenever the run is killed."""

import contextlib
import csv
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nnjax.cli.settings import CommandError

FILES = ("config.json", "metrics.csv", "weights.safetensors", "curves.png", "confusion.png")


class RunFolder:
    """Files are written in a folder beside this one and moved in when they are finished."""

    def __init__(self, path: Path, *, overwrite: bool = False):
        self.path = path
        self._unfinished = path.parent / f".{path.name}.unfinished"
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._unfinished.mkdir(exist_ok=True)
        except OSError as error:
            reason = error.strerror or error
            raise CommandError(f"cannot write to {path}: {reason}. Give another --out.") from None
        if any(path.iterdir()) and not overwrite:
            self.__exit__()
            raise CommandError(f"{path} is not empty. Give another --out, or add --overwrite.")
        for name in FILES:
            (path / name).unlink(missing_ok=True)

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._unfinished, ignore_errors=True)

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """A path to write to, which becomes ``name`` in the folder at the end of the block."""
        yield self._unfinished / name
        os.replace(self._unfinished / name, self.path / name)

    def write_json(self, name: str, content: Any) -> None:
        with self.writing(name) as path:
            path.write_text(json.dumps(content, indent=2) + "\n")

    def write_csv(self, name: str, rows: Sequence[Mapping[str, float]]) -> None:
        with self.writing(name) as path, path.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
