"""Do the model's outputs differ: every softmax output, and the embeddings as a whole.

Black-box shift detection (Lipton et al. 2018): outputs move with whatever matters to the model. A
KS test for each class and a Bonferroni correction over them did best in the comparison of Rabanser,
Günnemann and Lipton 2019. The maximum mean discrepancy (Gretton et al. 2012) of the embeddings sees
what no single number shows.

    N items, M rows of the reference's sample, K classes, E embedding dimensions
"""

from __future__ import annotations

import numpy as np

from monitoring.analysis.config import DriftConfig
from monitoring.analysis.results import tested, told, untested
from monitoring.drift import distances_of_columns
from monitoring.drift_report import Note, TestName, TestResult
from monitoring.mmd import mmd
from monitoring.reference import Reference
from monitoring.window import Window

_PERMUTATIONS_TIMES = 2
"""The smallest p-value that permutations give is the level over this."""


def output_test(reference: Reference, window: Window, config: DriftConfig) -> TestResult:
    """Return whether the distribution of any class's probability differs."""
    if window.classes != reference.classes:
        says = "the window's classes are not the reference's"
        return untested(config, TestName.OUTPUTS, Note.UNKNOWN_CLASSES, 0, says)
    there = window.probabilities[np.isfinite(window.probabilities).all(axis=1)]  # N K
    if len(there) < config.min_rows:
        note = Note.TOO_FEW if len(there) else Note.ABSENT
        says = f"{len(there)} items have probabilities"
        return untested(config, TestName.OUTPUTS, note, len(there), says)
    found = distances_of_columns(
        np.sort(reference.probabilities.T, axis=1).astype(np.float64), list(there.T)
    )
    p_values = np.minimum(found.ks_p_value * len(reference.classes), 1.0)
    first = int(p_values.argmin())
    return tested(
        config,
        TestName.OUTPUTS,
        statistic=float(found.ks[first]),
        p_value=float(p_values[first]),
        effect=float(found.ks[first]),
        rows=len(there),
        says=f"the probability of class {reference.classes[first]} differs most "
        f"(KS {found.ks[first]:.2f}), {told(float(p_values[first]))} over all "
        f"{len(reference.classes)} classes",
    )


def embedding_test(reference: Reference, window: Window, config: DriftConfig) -> TestResult:
    """Return whether the embeddings have another distribution (MMD, by permutation)."""
    there = window.embedding[np.isfinite(window.embedding).all(axis=1)]  # N E
    if there.shape[1] != reference.embedding.shape[1] or not len(there):
        says = "the items have no embeddings to compare with the reference's"
        return untested(config, TestName.EMBEDDING, Note.ABSENT, 0, says)
    if len(there) < config.min_rows:
        says = f"{len(there)} items have embeddings"
        return untested(config, TestName.EMBEDDING, Note.TOO_FEW, len(there), says)
    permutations = config.resamples(TestName.EMBEDDING, _PERMUTATIONS_TIMES)
    found = mmd(
        reference.embedding,
        there,
        permutations=permutations,
        max_rows=config.max_embedding_rows,
        seed=config.seed,
    )
    distance = float(np.sqrt(max(found.statistic, 0.0)))
    return tested(
        config,
        TestName.EMBEDDING,
        statistic=found.statistic,
        p_value=found.p_value,
        effect=distance,
        rows=found.rows,
        says=f"maximum mean discrepancy {distance:.3f} between {found.rows} and "
        f"{found.reference_rows} embeddings, {told(found.p_value, permutations)}",
    )
