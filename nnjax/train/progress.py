"""A progress bar for fit: examples done, figures so far, examples a second."""

from collections.abc import Mapping

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress as Bar,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)


class Progress:
    """One line an epoch; nothing at all unless ``shown``."""

    def __init__(self, epochs: int, examples: int, *, shown: bool):
        text = TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}")
        figures = TextColumn("{task.fields[figures]}")
        columns = (text, BarColumn(24), MofNCompleteColumn(), figures, TimeElapsedColumn())
        self._bar = Bar(*columns, disable=not shown)
        self._epochs, self._examples = epochs, examples
        self._tasks: dict[int, TaskID] = {}

    def __enter__(self) -> "Progress":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def advance(self, epoch: int, examples: int, means: Mapping[str, float]) -> None:
        if epoch not in self._tasks:
            for task in self._tasks.values():
                self._bar.update(task, visible=False)
            self._tasks[epoch] = self._bar.add_task(
                "", total=self._examples, epoch=epoch, epochs=self._epochs, figures=""
            )
        task = self._tasks[epoch]
        self._bar.advance(task, examples)
        speed = self._bar.tasks[task].finished_speed or self._bar.tasks[task].speed or 0.0
        figures = "  ".join(f"{name} {value:.4f}" for name, value in means.items())
        self._bar.update(task, figures=f"{figures}  {speed:,.0f} examples/s")
