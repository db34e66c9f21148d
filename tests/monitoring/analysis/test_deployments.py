"""The history of what answered, from the log, and the moments at which something came up."""

from __future__ import annotations

import duckdb

from monitoring.analysis.deployment import Deployment, markers
from monitoring.deployments import deployments

_TABLE = """
CREATE TABLE inference AS SELECT * FROM (VALUES
    (50, 'mnist', 'default', '1.0', '0.1.0', 'aa', {'calibration_id': 'c1'}, {'format': 'png'},
        {'dtype': 'uint8'}),
    (10, 'mnist', 'default', '1.0', '0.1.0', 'aa', {'calibration_id': 'c1'}, {'format': 'png'},
        {'dtype': 'uint8'}),
    (70, 'mnist', 'default', '1.0', '0.1.0', 'aa', {'calibration_id': 'c1'}, {'format': 'npy'},
        {'dtype': 'float32'}),
    (90, 'mnist', 'default', '1.1', '0.1.0', 'bb', NULL, {'format': 'png'}, {'dtype': 'uint8'}),
    (20, 'mnist', 'canary', '1.2', '0.1.0', 'cc', {'calibration_id': 'c3'}, {'format': 'png'},
        {'dtype': 'uint8'}),
    (30, 'other', 'default', '2.0', '0.1.0', 'dd', {'calibration_id': 'c4'}, {'format': 'png'},
        {'dtype': 'uint8'}),
    (40, 'mnist', 'default', '1.0', '0.1.0', 'aa', {'calibration_id': 'c1'}, {'format': 'tiff'},
        NULL)
) AS rows(timestamp_ns, model, role, model_version, code_version, artifact_digest, screening,
    request_type, input_data_summary)
"""


def test_the_log_knows_what_answered_and_since_when() -> None:
    with duckdb.connect() as connection:
        connection.execute(_TABLE)
        history = deployments(connection, "mnist")
        assert deployments(connection, "nothing") == ()
    assert [(each.since_ns, each.version, each.input_format) for each in history] == [
        (10, "1.0", "png"),
        (70, "1.0", "npy"),
        (90, "1.1", "png"),
    ]
    assert history[2].calibration_id == ""
    assert [(marker.timestamp_ns, marker.says) for marker in markers(history)] == [
        (70, "input format npy, input type float32"),
        (90, "version 1.1, artifact bb"),
    ]


def test_what_was_there_before_is_no_news() -> None:
    history = [
        Deployment(since_ns=30, version="1.0"),
        Deployment(since_ns=10, version="1.0", artifact_digest="a" * 64),
        Deployment(since_ns=20, version="1.1"),
    ]
    assert [(marker.timestamp_ns, marker.says) for marker in markers(history)] == [
        (20, "version 1.1")
    ]
    assert markers([]) == ()
