"""Results of each image as a table that programs read: one row an image and attack."""

from __future__ import annotations

import csv
import io

from robustness.evaluation.plan import CLEAN, Purpose, Task
from robustness.evaluation.results import Results
from torchkeep.threat_model import Norm

HEAD = (
    "index",
    "label",
    "attack",
    "threat",
    "purpose",
    "attacked",
    "predicted",
    "right",
    "score",
    "suspicious",
    *(str(norm) for norm in Norm),
)


def samples_csv(results: Results) -> str:
    """Return all results as CSV (RFC 4180): clean images first, then each attack.

    Where `attacked` is 0 an attack was not run on the image, and the fields after it are empty.
    """
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(HEAD)
    clean = Task(key=CLEAN, kind=results.plan.by_key[CLEAN].kind, name=CLEAN, title=CLEAN)
    for task in (clean, *results.strikes()):
        _rows(writer, results, task)
    return file.getvalue()


def _rows(writer: object, results: Results, task: Task) -> None:
    columns, classes = results.of(task.key), results.material.labels
    purpose = CLEAN if task.key == CLEAN else str(task.purpose)
    for place in range(results.plan.n):
        attacked = task.key == CLEAN or bool(columns["attacked"][place])
        head = (results.plan.first + place, classes[place], task.title, task.threat, purpose)
        row: list[object] = [*head, int(attacked)]
        if attacked:
            row += [
                columns["predicted"][place],
                int(columns["right"][place]),
                f"{columns['score'][place]:.6g}",
                int(columns["suspicious"][place]),
            ]
            if task.key != CLEAN:
                row += [f"{columns[str(norm)][place]:.6g}" for norm in Norm]
        row += [""] * (len(HEAD) - len(row))
        writer.writerow(row)  # type: ignore[attr-defined]


PURPOSES = tuple(str(purpose) for purpose in Purpose)
