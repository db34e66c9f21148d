"""Metadata say what is served, and nothing that is not."""

from __future__ import annotations

import orjson

from gateway.openinference.metadata import (
    model_config,
    model_metadata,
    model_statistics,
    repository_index,
    server_metadata,
)
from gateway.openinference.outputs import OUTPUTS, outputs_of
from gateway.plane.statistics import Statistics
from tests.gateway.openinference.samples import outcome, served_version
from torchkeep import __version__


def test_the_server_claims_only_extensions_that_it_has() -> None:
    metadata = server_metadata()
    assert metadata["name"] == "torchkeep"
    assert metadata["version"] == __version__
    assert "classification" not in metadata["extensions"]
    assert "binary_tensor_data" in metadata["extensions"]


def test_metadata_name_the_tensors_that_answers_hold() -> None:
    served = served_version()
    metadata = model_metadata(served, [served, served_version(version="0.9")])
    assert metadata["versions"] == ["1.0", "0.9"]
    assert metadata["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, 2, 3, 4]}]
    declared = {output["name"]: output for output in metadata["outputs"]}
    assert declared.keys() == OUTPUTS.keys()
    for tensor in outputs_of(outcome(), None):
        assert declared[tensor.name]["datatype"] == tensor.datatype
        assert declared[tensor.name]["shape"] == [-1, *tensor.shape[1:]]


def test_what_a_version_never_gives_is_not_declared() -> None:
    many = tuple(f"c{number}" for number in range(101))
    plain = served_version(screened=False, max_explain_items=0, classes=many)
    names = {output["name"] for output in model_metadata(plain, [plain])["outputs"]}
    assert names == {"item_status", "label", "class_index", "probability", "message"}


def test_the_configuration_leaves_the_items_out_of_its_dims() -> None:
    config = model_config(served_version(version="3", device="cuda"))
    assert config["max_batch_size"] == 50
    assert config["input"] == [{"name": "image", "data_type": "TYPE_UINT8", "dims": [2, 3, 4]}]
    assert config["version_policy"] == {"specific": {"versions": [3]}}
    assert config["instance_group"][0]["kind"] == "KIND_GPU"
    assert model_config(served_version())["version_policy"] == {"specific": {"versions": []}}
    assert orjson.loads(orjson.dumps(config)) == config


def test_statistics_add_up() -> None:
    totals = Statistics(success_count=3, item_count=9, fail_count=1, queue_ns=5, compute_ns=7)
    totals.execute(4)
    totals.execute(4)
    told = model_statistics(served_version(), totals)
    assert told["inference_count"] == 9
    assert told["execution_count"] == 2
    assert told["inference_stats"]["queue"] == {"count": 3, "ns": 5}
    assert told["inference_stats"]["fail"]["count"] == 1
    assert [row["batch_size"] for row in told["batch_stats"]] == [4]


def test_the_index_can_be_narrowed_to_what_is_ready() -> None:
    models = [served_version(), served_version(version="2.0")]

    def is_ready(served: object) -> bool:
        return served is models[0]

    index = repository_index(models, is_ready, only_ready=False)
    assert [row["state"] for row in index] == ["READY", "UNAVAILABLE"]
    assert [row["version"] for row in repository_index(models, is_ready, only_ready=True)] == [
        "1.0"
    ]
