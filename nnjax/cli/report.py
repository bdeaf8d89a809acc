"""What a run shows at its end: the test table, the learning curves, the confusion matrix."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support


def test_table(labels: np.ndarray, predicted: np.ndarray, classes: Sequence[str]) -> Table:
    """Accuracy over all, and precision, recall, F1 and number of examples for each class."""
    accuracy = accuracy_score(labels, predicted)
    table = Table(title=f"test accuracy {accuracy:.4%} of {len(labels):,} examples")
    for column in ("class", "precision", "recall", "F1", "examples"):
        table.add_column(column, justify="left" if column == "class" else "right")
    scores: Any = precision_recall_fscore_support(  # its stubs know only averaged scores
        labels,
        predicted,
        labels=range(len(classes)),
        zero_division=0.0,  # type: ignore
    )
    for name, precision, recall, f1, count in zip(classes, *scores, strict=True):
        figures = (f"{value:.4f}" for value in (precision, recall, f1))
        table.add_row(name, *figures, f"{count:,}")
    return table


def show(*lines: object) -> None:
    console = Console(highlight=False)
    for line in lines:
        console.print(line)


def plot_curves(rows: Sequence[Mapping[str, float]], path: Path) -> None:
    """Loss and accuracy by epoch, in training and on the validation split."""
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        epochs = [row["epoch"] for row in rows]
        axes.plot(epochs, [row[name] for row in rows], label="training")
        axes.plot(epochs, [row[f"validation_{name}"] for row in rows], label="validation")
        axes.set(xlabel="epoch", ylabel=name)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=120, format="png")


def plot_confusion(
    labels: np.ndarray, predicted: np.ndarray, classes: Sequence[str], path: Path
) -> None:
    """Counts of true class (rows) against predicted class (columns); shades are shares of a row."""
    counts = confusion_matrix(labels, predicted, labels=range(len(classes)))
    shares = counts / np.maximum(1, counts.sum(1, keepdims=True))
    side = 1.5 + 0.55 * len(classes)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=8)
    ticks = range(len(classes))
    axes.set_xticks(ticks, classes, rotation=45, ha="right")
    axes.set_yticks(ticks, classes)
    axes.set(xlabel="predicted", ylabel="true", title="test examples")
    figure.savefig(path, dpi=120, format="png")
