"""Scan records: training takes third-party data only once it was scanned, or when told to."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given

from tests.data.files import CAPS, FUZZ, damaged, refuses_or_reads
from tests.data.test_cleaned_index import some_dataset
from torchkeep.data import Dataset, ScanRecord, require_scanned
from torchkeep.data.scan_record import now, read_record, record_path
from torchkeep.errors import DataError
from torchkeep.paths import Home

DIGEST = "cd" * 32
RECORD = ScanRecord(
    dataset_digest=DIGEST,
    scanned_at="2026-01-01T00:00:00+00:00",
    images=100,
    flagged={"reclassified": 3},
)


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    record = replace(RECORD, dropped=3, index_digest="ef" * 32, cleaned_from="01" * 32)
    assert record.write(Home(tmp_path)) == tmp_path / "scans" / f"{DIGEST}.json"
    assert read_record(Home(tmp_path), DIGEST) == record


def test_unscanned_third_party_data_is_refused_with_both_remedies(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        require_scanned(some_dataset(), told=False, home=Home(tmp_path))
    assert "torchkeep scan-poison /some/where" in caught.value.remedy
    assert "--unscanned" in caught.value.remedy


def test_told_to_one_takes_it(tmp_path: Path) -> None:
    require_scanned(some_dataset(), told=True, home=Home(tmp_path))


def test_scanned_data_is_taken_and_changed_data_is_not(tmp_path: Path) -> None:
    dataset = some_dataset()
    replace(RECORD, dataset_digest=dataset.digest, scanned_at=now()).write(Home(tmp_path))
    require_scanned(dataset, told=False, home=Home(tmp_path))
    with pytest.raises(DataError, match="was not scanned"):
        require_scanned(some_dataset(31), told=False, home=Home(tmp_path))


def test_the_home_is_the_default_one_unless_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHKEEP_HOME", str(tmp_path))
    dataset = some_dataset()
    with pytest.raises(DataError, match="was not scanned"):
        require_scanned(dataset, told=False)
    replace(RECORD, dataset_digest=dataset.digest).write(Home(tmp_path))
    require_scanned(dataset, told=False)


def test_the_catalogues_data_needs_no_scan(digits_dataset: Dataset, tmp_path: Path) -> None:
    require_scanned(digits_dataset, told=False, home=Home(tmp_path))


def test_the_name_of_a_catalogues_data_set_is_no_pass(tmp_path: Path) -> None:
    named = replace(some_dataset(), name="mnist", source="mnist")
    with pytest.raises(DataError, match="was not scanned"):
        require_scanned(named, told=False, home=Home(tmp_path))


def test_a_record_of_other_data_is_refused(tmp_path: Path) -> None:
    dataset = some_dataset()
    path = RECORD.write(Home(tmp_path))
    path.rename(record_path(Home(tmp_path), dataset.digest))
    with pytest.raises(DataError, match="is of another data set"):
        require_scanned(dataset, told=False, home=Home(tmp_path))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"format": "other"}, "another format"),
        ({"more": 1}, "another format"),
        ({"images": "many"}, "no count"),
        ({"flagged": {"x": 1.5}}, "no count"),
        ({"flagged": []}, "no count"),
    ],
)
def test_a_damaged_record_is_told_with_its_file(
    change: dict[str, object], fault: str, tmp_path: Path
) -> None:
    path = RECORD.write(Home(tmp_path))
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DataError) as caught:
        read_record(Home(tmp_path), DIGEST)
    assert caught.value.path == str(path)
    assert fault in caught.value.fault


@FUZZ
@given(content=damaged(json.dumps({"format": "torchkeep scan record 1"}).encode()))
def test_any_bytes_are_a_record_or_a_data_error(content: bytes, tmp_path: Path) -> None:
    path = record_path(Home(tmp_path), DIGEST)
    path.parent.mkdir(exist_ok=True)
    refuses_or_reads(lambda: read_record(Home(tmp_path), DIGEST), path, content, CAPS)


def test_a_digest_names_no_other_file() -> None:
    with pytest.raises(ValueError, match="is no digest"):
        replace(RECORD, dataset_digest="../../etc/passwd")
