"""Which classes a network knows and which it confuses: the matrix, the accuracy of each class, and both in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from evo.confusion import class_name
from evo.reports import style
from evo.reports.features import Floats
from evo.reports.page import Block, Text, table_of
from evo.reports.search_data import SearchData

MOST_CLASSES = 100
"""A matrix of more classes cannot be read."""
WITH_NUMBERS = 15
"""Most classes whose matrix has room for numbers."""
PAIRS = 20
NOT_COUNTED = (
    "Which classes are confused is not known: it is counted when finalists are tested, and by runs that began in a "
    "version of evo that counts it."
)


@dataclass(frozen=True)
class Classes:
    """What trainings of one configuration say of the images of a part.

    Attributes:
        part: "test", or "validation".
        names: Of the classes, in the order of the data.
        table: `replicate, class, predicted, images`, as in confusion.csv.
    """

    part: str
    names: list[str]
    table: pd.DataFrame

    @property
    def trainings(self) -> int:
        """How many trainings there are."""
        return int(self.table["replicate"].nunique())

    @property
    def counts(self) -> pd.DataFrame:
        """`class, predicted, images`: the sum over the trainings."""
        return self.table.groupby(["class", "predicted"], sort=False)["images"].sum().reset_index()

    @property
    def accuracy(self) -> pd.DataFrame:
        """One row per class, the worst first: its images, accuracy, and what it is most often taken for."""
        counts = self.counts
        right = counts[counts["class"] == counts["predicted"]].set_index("class")["images"]
        wrong = self.confused.drop_duplicates("class").set_index("class")
        total = counts.groupby("class")["images"].sum()
        names = [name for name in self.names if name in total.index]
        found = pd.DataFrame({"class": names, "images": total[names].to_numpy() // self.trainings})
        found["accuracy"] = right.reindex(names).fillna(0).to_numpy() / total[names].to_numpy()
        found["taken for"] = wrong["predicted"].reindex(names).to_numpy()
        found["share"] = wrong["share"].reindex(names).to_numpy()
        return found.sort_values("accuracy", kind="stable", ignore_index=True)

    @property
    def confused(self) -> pd.DataFrame:
        """The pairs that are confused, the most images first: `class, predicted, images, share` of the class."""
        counts = self.counts
        share = counts["images"] / counts.groupby("class")["images"].transform("sum")
        wrong = counts.assign(share=share)[counts["class"] != counts["predicted"]]
        return wrong.sort_values("images", ascending=False, kind="stable", ignore_index=True)

    @property
    def outputs(self) -> list[str]:
        """What may be predicted: the classes, and outputs beyond them."""
        return [*self.names, *(name for name in self.table["predicted"].unique() if name not in self.names)]

    @property
    def shares(self) -> Floats:
        """The matrix of the shares of each class, (classes, outputs): what is predicted for its images."""
        matrix = self.counts.pivot_table(index="class", columns="predicted", values="images", fill_value=0)
        matrix = matrix.reindex(index=self.names, columns=self.outputs, fill_value=0)
        values: Floats = matrix.to_numpy(dtype=float)
        totals: Floats = np.maximum(values.sum(axis=1, keepdims=True), 1.0)
        return values / totals


def classes_of(data: SearchData, individual: int | None) -> Classes | None:
    """Return what the trainings of an individual say; None where that was not counted."""
    table = data.confusion
    table = table[table["individual"] == individual]
    if table.empty:
        return None
    part = str(table["part"].iloc[-1])
    known = (data.settings.dataset or {}).get("classes", [])
    table = table[table["part"] == part].drop(columns=["individual", "part"])
    return Classes(part, [class_name(known, label) for label in range(len(known))], table)


def classes_blocks(classes: Classes | None) -> Iterator[Block]:
    """Show what is confused in words and as tables; the matrix is a figure."""
    if classes is None:
        yield Text(NOT_COUNTED)
        return
    yield Text(sentence(classes))
    if len(classes.names) > WITH_NUMBERS and len(classes.confused):
        yield Text("The pairs that are confused most, with the images of all trainings:")
        yield table_of(classes.confused.head(PAIRS), "Classes that are confused most")
    yield Text("Each class, the worst first, with what it is most often taken for:")
    yield table_of(classes.accuracy, "Accuracy of each class")


def sentence(classes: Classes) -> str:
    """Return in words how well the classes are known, and which are confused most."""
    accuracy, confused = classes.accuracy, classes.confused
    worst, best = accuracy.iloc[0], accuracy.iloc[-1]
    over = "" if classes.trainings == 1 else f", over {classes.trainings} trainings"
    ends = [f"{100 * row['accuracy']:.1f} % of the images of {_quoted(row['class'])}" for row in (worst, best)]
    text = f"On the {classes.part} set{over}: from {ends[0]} to {ends[1]} are classified correctly."
    if confused.empty:
        return f"{text} No image is misclassified."
    pairs = [
        f"{_quoted(row['class'])} for {_quoted(row['predicted'])} ({100 * row['share']:.1f} % of its images)"
        for row in confused.head(3).to_dict("records")
    ]
    images = int(classes.counts["images"].sum())
    wrong = int(confused["images"].sum())
    most = " and ".join([", ".join(pairs[:-1]), pairs[-1]] if len(pairs) > 1 else pairs)
    return f"{text} Of {images:,} answers {wrong:,} are wrong. Most often it takes {most}."


def confusion_figure(data: SearchData) -> Figure | None:
    """Rows are the classes of the images, columns the predicted classes. Blue: right; orange: wrong.

    The stronger the colour, the larger the share of the row's images; the largest that is wrong has the strongest
    orange. Numbers (where there is room for them) are percent of the row, over all trainings.
    """
    return matrix_figure(classes_of(data, data.best))


def matrix_figure(classes: Classes | None) -> Figure | None:
    """Return the confusion matrix as a figure; None where nothing was counted, or of too many classes to be read."""
    if classes is None or len(classes.names) > MOST_CLASSES:
        return None
    shares = classes.shares
    rows, columns = shares.shape
    side = min(max(3.2 + 0.34 * rows, 4.0), 11.0)
    figure, [axes] = style.new_figure(0.92 * side, width=max(side, style.WIDTH))
    mesh: Any = {"rasterized": rows > WITH_NUMBERS, "edgecolors": "none"}
    axes.pcolormesh(_colours(shares), **mesh)
    size = min(10.0, 620.0 / max(rows, columns))
    names = [style.shortened(name) for name in classes.outputs]
    axes.set_xticks(np.arange(columns) + 0.5, names, rotation=90 if _is_long(names) else 0, fontsize=size)
    axes.set_yticks(np.arange(rows) + 0.5, names[:rows], fontsize=size)
    axes.set(xlabel="predicted class", ylabel="class", xlim=(0, columns), ylim=(rows, 0), aspect="equal")
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[["left", "bottom"]].set_visible(False)
    if rows <= WITH_NUMBERS:
        for (row, column), share in np.ndenumerate(shares):
            if share:
                axes.text(column + 0.5, row + 0.5, _percent(share), ha="center", va="center", fontsize=9)
    return figure


def _colours(shares: Floats) -> npt.NDArray[np.float64]:
    """Return the colour of each share, with transparency: blue where the network is right, orange where it is not."""
    right = np.eye(*shares.shape, dtype=np.bool_)
    colours = np.zeros((*shares.shape, 4))
    colours[right, :3], colours[~right, :3] = to_rgb(style.BLUE), to_rgb(style.ORANGE)
    most = max(float(shares[~right].max(initial=0.0)), 1e-9)
    strongest = (0.55, 0.7) if len(shares) <= WITH_NUMBERS else (0.9, 1.0)  # numbers must be readable on them
    colours[..., 3] = np.where(right, strongest[0] * shares, strongest[1] * shares / most)
    return colours


def _is_long(names: list[str]) -> bool:
    return len(names) * max(map(len, names)) > 70


def _percent(share: float) -> str:
    percent = 100 * share
    return f"{percent:.0f}" if percent >= 9.95 else f"{percent:.1f}" if percent >= 0.05 else "<0.1"


def _quoted(name: str) -> str:
    return f"“{style.shortened(name, 40)}”"
