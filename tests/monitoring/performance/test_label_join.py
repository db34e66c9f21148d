from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from monitoring.label_join import NOT_LABELLED, join_labels
from monitoring.request_log import RequestLog, RequestLogConfig
from monitoring.store import LogStore
from monitoring.window import NOT_PREDICTED
from tests.monitoring.performance.windows import NOW_NS, SECOND_NS, a_window, labels_of
from tests.monitoring.records import a_record


def test_a_label_comes_beside_its_item() -> None:
    joined = join_labels(a_window(3), labels_of(("r2", "owl"), ("r0", "cat")))
    assert joined.truth.tolist() == [0, NOT_LABELLED, 2]
    assert joined.labelled.tolist() == [True, False, True]
    assert joined.delay_s[[0, 2]].tolist() == [3600, 3598]
    assert np.isnan(joined.delay_s[1])
    assert (joined.counts.labels, joined.counts.used, joined.counts.left_out) == (2, 2, 0)


def test_without_labels_or_items_nothing_is_joined() -> None:
    assert join_labels(a_window(3), labels_of()).truth.tolist() == [NOT_LABELLED] * 3
    joined = join_labels(a_window(0), labels_of(("r0", "cat")))
    assert len(joined.truth) == 0
    assert joined.counts.elsewhere == 1


def test_labels_that_fit_nothing_are_counted_by_name() -> None:
    window = a_window(4, predicted=np.array([0, 0, NOT_PREDICTED, 0]))
    labels = labels_of(
        ("r0", "cat"), ("r1", "unicorn"), ("r2", "cat"), ("r9", "cat"), ("r3", "cat", 1)
    )
    counts = join_labels(window, labels).counts
    assert (counts.used, counts.unknown_class, counts.not_predicted, counts.elsewhere) == (
        1,
        1,
        1,
        2,
    )
    assert counts.left_out == 4


def test_an_id_of_several_clients_is_ambiguous_unless_the_label_names_one() -> None:
    window = a_window(3, request_id=np.array(["r", "r", "q"]), client=np.array(["a", "b", "a"]))
    joined = join_labels(window, labels_of(("r", "dog"), ("q", "cat")))
    assert joined.truth.tolist() == [NOT_LABELLED, NOT_LABELLED, 0]
    assert joined.counts.ambiguous == 1
    joined = join_labels(window, labels_of(("r", "dog", 0, "b")))
    assert joined.truth.tolist() == [NOT_LABELLED, 1, NOT_LABELLED]
    assert joined.counts.ambiguous == 0


def test_an_id_that_one_client_used_for_two_images_is_ambiguous() -> None:
    window = a_window(2, request_id=np.array(["r", "r"]))
    assert join_labels(window, labels_of(("r", "dog"))).counts.ambiguous == 1


def test_of_a_request_that_was_tried_again_the_last_attempt_has_the_label() -> None:
    window = a_window(2, request_id=np.array(["r", "r"]))
    window = replace(window, features=window.features[[0, 0]])
    joined = join_labels(window, labels_of(("r", "dog")))
    assert joined.truth.tolist() == [NOT_LABELLED, 1]
    assert joined.counts.used == 1


def test_every_version_that_answered_a_request_gets_its_label() -> None:
    window = a_window(2, request_id=np.array(["r", "r"]), version=np.array(["1.0", "1.1"]))
    window = replace(window, features=window.features[[0, 0]])
    assert join_labels(window, labels_of(("r", "dog"))).truth.tolist() == [1, 1]


def test_of_two_labels_that_name_one_item_the_later_counts() -> None:
    window = a_window(1, client=np.array(["a"]))
    joined = join_labels(window, labels_of(("r0", "dog", 0, "", 20), ("r0", "cat", 0, "a", 10)))
    assert joined.truth.tolist() == [1]
    assert (joined.counts.used, joined.counts.revised, joined.counts.left_out) == (1, 1, 1)


def test_a_label_older_than_its_request_is_used_and_counted() -> None:
    joined = join_labels(a_window(1), labels_of(("r0", "cat"), later_s=-3600))
    assert joined.truth.tolist() == [0]
    assert joined.counts.early == 1


def test_the_whole_log_tells_unknown_requests_and_ids_used_again(tmp_path: Path) -> None:
    """`old` is outside the window; `r1` was used by another client, `r2` days before."""
    day = 86_400 * SECOND_NS
    records = [
        *(a_record(f"r{k}", model="pets", timestamp_ns=NOW_NS + k) for k in range(3)),
        a_record("old", model="pets", timestamp_ns=NOW_NS - day),
        a_record("r1", model="pets", client="x", timestamp_ns=NOW_NS),
        a_record("r2", model="pets", attempt=2, timestamp_ns=NOW_NS - day),
        a_record("r0", model="cars", client="y", timestamp_ns=NOW_NS),
    ]
    with RequestLog(RequestLogConfig(directory=tmp_path / "log")) as log:
        log.write(records)
    labels = labels_of(
        ("r0", "cat"), ("r1", "cat"), ("r2", "cat"), ("old", "cat"), ("never", "cat")
    )
    with LogStore(tmp_path / "store", tmp_path / "log").connect() as connection:
        joined = join_labels(a_window(3), labels, connection=connection)
    assert joined.truth.tolist() == [0, NOT_LABELLED, NOT_LABELLED]
    counts = joined.counts
    assert (counts.used, counts.ambiguous, counts.elsewhere, counts.unknown_request) == (1, 2, 1, 1)
