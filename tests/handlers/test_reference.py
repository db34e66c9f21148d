"""What a handler logs of images is what the reference would hold of them."""

from __future__ import annotations

import numpy as np

from monitoring.features import MODEL_FEATURES
from monitoring.store import LogStore
from monitoring.windows import read_window_with_report
from tests.conftest import quiet
from tests.handlers.conftest import Bench
from tests.handlers.samples import npy, png
from torchkeep.data import ImageSet, Splits
from training.reference import make_reference


def test_a_window_of_the_reference_images_equals_the_reference(
    bench: Bench, digits: Splits
) -> None:
    held_out = ImageSet(digits.calibration_b.images[:40], digits.calibration_b.labels[:40])
    reference = make_reference(bench.artifact, bench.model, held_out, quiet)
    bench.ask(npy(held_out.images[:10]), request_id="a")
    bench.ask(held_out.images[10:30].tobytes(), "application/octet-stream", request_id="b")
    for place, image in enumerate(held_out.images[30:]):
        bench.ask(png(image), "image/png", request_id=f"c{place}")
    store = LogStore(bench.log.directory.parent / "store", bench.log.directory)
    with store.connect() as connection:
        window, report = read_window_with_report(
            connection,
            model=reference.model,
            classes=reference.classes,
            feature_names=reference.feature_names,
        )
    assert (report.found, report.in_window) == (40, 40)
    assert set(window.input_format) == {"npy", "raw", "png"}
    of_image = -len(MODEL_FEATURES)
    np.testing.assert_array_equal(window.features[:, :of_image], reference.features[:, :of_image])
    # the rest is computed in other batches, so it may differ by what float32 rounds
    np.testing.assert_allclose(
        window.features[:, of_image:], reference.features[:, of_image:], rtol=1e-3, atol=1e-4
    )
    np.testing.assert_allclose(window.probabilities, reference.probabilities, atol=1e-5)
    np.testing.assert_array_equal(window.predicted, reference.predicted)
    np.testing.assert_allclose(window.embedding, reference.embedding, rtol=2e-3, atol=1e-3)
