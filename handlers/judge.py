"""From the arrays of one forward pass to a judgement per item, and what the policy makes of it.

Shapes: B items, K classes, S heads.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from handlers.item import Item, Judgement
from monitoring.array_fields import encode_embeddings
from robustness.screened_model import ScreenedBatch
from torchkeep.schema import MAX_LOGGED_CLASSES, TOP_K, ItemStatus, Policy, Verdict

NOT_FINITE = "the model's output for this item is not finite"
SUSPICIOUS = "the item was rejected: screening found it suspicious"
UNSCREENED = "the item was rejected: screening could not judge it"


def judge(
    items: Sequence[Item], batch: ScreenedBatch, classes: Sequence[str], policy: Policy
) -> None:
    """Give each of B items its judgement and its status."""
    for item, judgement in zip(items, _judgements(batch, classes), strict=True):
        item.judgement = judgement
        if not judgement.labels:
            item.fail(ItemStatus.ERROR, NOT_FINITE)
        elif policy is Policy.REJECT and judgement.verdict is not Verdict.CLEAN:
            failed = judgement.verdict is Verdict.FAILED
            item.fail(ItemStatus.REJECTED, UNSCREENED if failed else SUSPICIOUS)


def _judgements(batch: ScreenedBatch, classes: Sequence[str]) -> list[Judgement]:
    """Return B judgements; one whose probabilities are not finite has no labels."""
    probabilities = batch.probabilities
    size, count = probabilities.shape
    keep = count if count <= MAX_LOGGED_CLASSES else TOP_K
    order = (-probabilities).argsort(axis=1, kind="stable")[:, :keep]
    ranked = probabilities[np.arange(size)[:, None], order]
    finite: list[bool] = np.all(np.isfinite(probabilities), axis=1).tolist()
    columns = zip(
        _verdicts(batch),
        finite,
        order.tolist(),
        ranked,
        ranked[:, 0].tolist(),
        np.ascontiguousarray(probabilities),
        batch.score.tolist(),
        batch.p_value.tolist(),
        batch.head_p_values.tolist(),
        encode_embeddings(batch.embedding),
        strict=True,
    )
    return [
        Judgement(
            verdict,
            indices[0],
            probability,
            row,
            [classes[index] for index in indices] if whole else [],
            best if whole else best[:0],
            score,
            p_value,
            heads,
            embedding,
            size,
        )
        for (
            verdict,
            whole,
            indices,
            best,
            probability,
            row,
            score,
            p_value,
            heads,
            embedding,
        ) in columns
    ]


def _verdicts(batch: ScreenedBatch) -> list[Verdict]:
    return [
        Verdict.FAILED if failed else Verdict.SUSPICIOUS if suspicious else Verdict.CLEAN
        for failed, suspicious in zip(batch.failed.tolist(), batch.suspicious.tolist(), strict=True)
    ]
