"""The one schema: every logged and every answered field, with its type, unit and meaning.

Records are plain dicts on the hot path, so the schema is `TypedDict`: free at run time, checked by
mypy, and readable by programs through `fields_of` (documentation, Parquet and validation follow
from it). Arrays may be numpy arrays when a record is written; they are lists when it is read back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    Required,
    TypedDict,
    get_args,
    get_origin,
    get_type_hints,
)

import numpy as np
from numpy.typing import NDArray

SCHEMA_VERSION = 1

MAX_LOGGED_CLASSES = 100
"""Up to this many classes, all probabilities are logged; beyond, the `TOP_K` largest."""
TOP_K = 10
HISTOGRAM_BINS = 16
EMBEDDING_DIMS = 32


class ItemStatus(StrEnum):
    """What became of one item."""

    OK = "ok"
    REJECTED = "rejected"  # screened out under the policy `reject`
    BAD_INPUT = "bad_input"  # cannot be decoded, wrong shape, not finite
    UNSUPPORTED = "unsupported_media_type"
    TOO_LARGE = "too_large"  # over a limit on bytes, pixels or items
    EXPIRED = "expired"  # its deadline had passed before it was served
    ERROR = "error"  # a fault of the server


HTTP_STATUS: dict[ItemStatus, int] = {
    ItemStatus.OK: 200,
    ItemStatus.REJECTED: 422,
    ItemStatus.BAD_INPUT: 400,
    ItemStatus.UNSUPPORTED: 415,
    ItemStatus.TOO_LARGE: 413,
    ItemStatus.EXPIRED: 504,
    ItemStatus.ERROR: 500,
}
"""The HTTP status of a request with a single item (DESIGN: per item, never per batch)."""


class Verdict(StrEnum):
    """What screening found."""

    CLEAN = "clean"
    SUSPICIOUS = "suspicious"
    FAILED = "failed"  # a detector could not judge this item: treated as suspicious


class Policy(StrEnum):
    """What is done with a suspicious item."""

    OBSERVE = "observe"  # log only
    FLAG = "flag"  # the answer carries the verdict
    REJECT = "reject"  # the item is not answered


class Disclose(StrEnum):
    """How much of the screening the answer tells; a score is an oracle for an attacker."""

    NONE = "none"
    VERDICT = "verdict"
    FULL = "full"


class Role(StrEnum):
    """The part a model version played when it answered."""

    DEFAULT = "default"
    CANARY = "canary"
    SHADOW = "shadow"


class Operation(StrEnum):
    """What was asked of the model."""

    PREDICT = "predict"
    EXPLAIN = "explain"
    PROBE = "probe"  # a gateway asks whether the model answers; served in full, never logged


@dataclass(frozen=True, slots=True)
class Doc:
    """What a field means, in one line, units included."""

    text: str


FloatList = Sequence[float] | NDArray[np.float32] | NDArray[np.float64]
IntList = Sequence[int] | NDArray[np.int64]


class RequestType(TypedDict):
    protocol: Annotated[Literal["rest", "grpc", "gateway"], Doc("how the request came in")]
    content_type: Annotated[str, Doc("media type as declared by the caller, or '' if none")]
    format: Annotated[str, Doc("what the bytes were: png, jpeg, webp, raw, npy, json")]
    operation: Annotated[str, Doc("predict or explain")]


class RuntimeMs(TypedDict):
    decode: Annotated[float, Doc("ms to decode and validate the items of this call")]
    screen_predict: Annotated[float, Doc("ms of the forward pass, model and detectors together")]
    total: Annotated[float, Doc("ms from the call's arrival in the handler to the log's write")]


class InputDataSummary(TypedDict):
    shape: Annotated[Sequence[int], Doc("channels, height, width")]
    dtype: Annotated[str, Doc("uint8 (0 to 255) or float32 (0 to 1), as received")]
    bytes: Annotated[int, Doc("size of the item as received, in bytes")]
    mean: Annotated[FloatList, Doc("mean of each channel, scaled to 0..1")]
    std: Annotated[FloatList, Doc("population standard deviation of each channel, 0..1 scale")]
    min: Annotated[FloatList, Doc("minimum of each channel, 0..1 scale")]
    max: Annotated[FloatList, Doc("maximum of each channel, 0..1 scale")]
    histogram: Annotated[IntList, Doc("pixel counts in 16 equal bins of 0..1, all channels")]
    sharpness: Annotated[float, Doc("variance of the 4-neighbour Laplacian of the channel mean")]


class Screening(TypedDict):
    verdict: Annotated[str, Doc("clean, suspicious, or failed (a detector could not judge)")]
    score: Annotated[
        float | None, Doc("-ln of the smallest head p-value, or more; higher is worse")
    ]
    p_value: Annotated[float | None, Doc("conformal p-value of the score, on calibration split B")]
    threshold: Annotated[float, Doc("score above which an item is suspicious")]
    calibration_id: Annotated[str, Doc("which calibration the threshold comes from")]
    policy: Annotated[str, Doc("observe, flag or reject, as in force")]
    heads: Annotated[dict[str, float | None], Doc("conformal p-value of each detector head")]


class ErrorInfo(TypedDict):
    status: Annotated[str, Doc("item status")]
    message: Annotated[str, Doc("one line for the caller; never a stack trace")]


class LoggedInput(TypedDict):
    shape: Annotated[Sequence[int], Doc("channels, height, width")]
    dtype: Annotated[str, Doc("uint8 or float32")]
    data: Annotated[str, Doc("base64 of the decoded pixels, C order, little endian")]


class InferenceRecord(TypedDict, total=False):
    """One item of one request, written by the handler before the answer leaves it."""

    schema: Required[Annotated[int, Doc("version of this schema")]]
    kind: Required[Annotated[Literal["inference"], Doc("kind of record")]]
    timestamp_ns: Required[Annotated[int, Doc("UTC, ns since 1970, when the item was logged")]]
    request_id: Required[Annotated[str, Doc("the caller's id of the request if valid, else ours")]]
    correlation_id: Required[Annotated[str | None, Doc("the caller's id across requests")]]
    model: Required[Annotated[str, Doc("model name")]]
    model_version: Required[Annotated[str, Doc("model version")]]
    role: Required[Annotated[str, Doc("default, canary or shadow")]]
    attempt: Required[Annotated[int, Doc("1 for the first try of this item, 2 after a retry")]]
    item: Required[Annotated[int, Doc("position in the request, from 0")]]
    items: Required[Annotated[int, Doc("number of items in the request")]]
    status: Required[Annotated[str, Doc("item status")]]
    request_type: Required[Annotated[RequestType, Doc("protocol, content type, format, operation")]]
    runtime_ms: Required[Annotated[RuntimeMs, Doc("where the time of the call went")]]
    prediction: Required[Annotated[Sequence[str], Doc("labels, most probable first")]]
    probability: Required[Annotated[FloatList, Doc("probabilities, in that order")]]
    input_data_summary: Required[Annotated[InputDataSummary | None, Doc("None: not decoded")]]
    embedding: Required[Annotated[str | None, Doc("base64 of 32 float16, little endian")]]
    screening: Required[Annotated[Screening | None, Doc("None: it never reached the model")]]
    error: Required[Annotated[ErrorInfo | None, Doc("why there is no prediction")]]
    batch_size: Required[Annotated[int, Doc("items that shared the forward pass")]]
    device: Required[Annotated[str, Doc("device of the model, such as cpu or cuda:0")]]
    worker: Required[Annotated[int, Doc("process id of the worker")]]
    artifact_digest: Required[Annotated[str, Doc("SHA-256 of the artifact's manifest")]]
    code_version: Required[Annotated[str, Doc("version of torchkeep")]]
    client: Required[Annotated[str | None, Doc("keyed hash of the client; None if direct")]]
    session_id: NotRequired[Annotated[str, Doc("the caller's session id, if given")]]
    segments: NotRequired[Annotated[dict[str, str], Doc("allow-listed attributes, if given")]]
    trace_id: NotRequired[Annotated[str, Doc("trace of the request, 32 hex digits, if traced")]]
    input: NotRequired[Annotated[LoggedInput, Doc("the pixels: sampled, off by default")]]
    dropped_before: NotRequired[Annotated[int, Doc("records lost just before this one: disk full")]]


class AccessRecord(TypedDict):
    """One request, whatever became of it, written by the gateway before it is answered."""

    schema: Annotated[int, Doc("version of this schema")]
    kind: Annotated[Literal["access"], Doc("kind of record")]
    timestamp_ns: Annotated[int, Doc("UTC, ns since 1970, when the request was logged")]
    request_id: Annotated[str, Doc("the caller's id of the request if valid, else ours")]
    correlation_id: Annotated[str | None, Doc("the caller's id across requests")]
    trace_id: NotRequired[Annotated[str, Doc("trace of the request, 32 hex digits, if traced")]]
    protocol: Annotated[Literal["rest", "grpc"], Doc("how the request came in")]
    route: Annotated[str, Doc("template of the path, or name of the gRPC method")]
    operation: Annotated[str | None, Doc("predict or explain; None: another, or unknown")]
    model: Annotated[str, Doc("model name as asked, or '' if the request did not come so far")]
    model_version: Annotated[str, Doc("version that answered, else the one asked for, or ''")]
    client: Annotated[str | None, Doc("keyed hash of the client; None: no valid key")]
    code: Annotated[str, Doc("what became of it, as gRPC names it: OK, INVALID_ARGUMENT ...")]
    http_status: Annotated[int, Doc("HTTP status; over gRPC, the one that means the same")]
    message: Annotated[str, Doc("the line the caller got, or '' if all went well")]
    items: Annotated[int, Doc("number of items in the request, 0 if it was not read so far")]
    items_ok: Annotated[int, Doc("items that were answered with a prediction")]
    bytes_in: Annotated[int, Doc("size of the request's body, in bytes, as far as it was read")]
    verdict: Annotated[str, Doc("worst of its items: failed, suspicious, clean, or '' for none")]
    queue_ms: Annotated[float, Doc("ms that it waited for its call to TorchServe")]
    backend_ms: Annotated[float, Doc("ms of that call")]
    total_ms: Annotated[float, Doc("ms from its first byte to the log's write")]
    batch_size: Annotated[int, Doc("items of the largest call that held items of this request")]
    attempt: Annotated[int, Doc("1 if the first call answered, 2 after a retry")]
    gateway: Annotated[int, Doc("process id of the gateway")]
    code_version: Annotated[str, Doc("version of torchkeep")]
    withheld_before: NotRequired[
        Annotated[int, Doc("records of requests without a valid key withheld before it: too many")]
    ]
    dropped_before: NotRequired[Annotated[int, Doc("records lost just before this one: disk full")]]


LOGGED: dict[str, type] = {"inference": InferenceRecord, "access": AccessRecord}
"""The schema of each kind of record in the request log."""


class FeatureSummary(TypedDict):
    shape: Annotated[Sequence[int], Doc("channels, height, width")]
    dtype: Annotated[str, Doc("type of a pixel in the data")]
    mean: Annotated[FloatList, Doc("mean of each channel, scaled to 0..1")]
    std: Annotated[FloatList, Doc("population standard deviation of each channel, 0..1 scale")]
    histogram: Annotated[IntList, Doc("pixel counts in 16 equal bins of 0..1, all channels")]


class TrainRecord(TypedDict):
    """One training, kept in the artifact it made."""

    schema: Annotated[int, Doc("version of this schema")]
    kind: Annotated[Literal["training"], Doc("kind of record")]
    timestamp_ns: Annotated[int, Doc("UTC, ns since 1970, when the training ended")]
    model: Annotated[str, Doc("model name")]
    model_version: Annotated[str, Doc("version that this training made")]
    parent_version: Annotated[str | None, Doc("version it started from; None: from nothing")]
    recipe: Annotated[str, Doc("name of the recipe")]
    config: Annotated[dict[str, Any], Doc("every number of the recipe, the seed included")]
    dataset: Annotated[dict[str, Any], Doc("name, SHA-256 digest, source, splits, images left out")]
    rows: Annotated[int, Doc("images trained on")]
    features: Annotated[FeatureSummary, Doc("summary of those images")]
    targets: Annotated[dict[str, int], Doc("images of each class among them")]
    epochs: Annotated[list[dict[str, Any]], Doc("loss and probe of each epoch")]
    steps: Annotated[int, Doc("optimizer steps taken")]
    collapsed_in: Annotated[list[int], Doc("epochs of catastrophic overfitting")]
    world_size: Annotated[int, Doc("processes that trained together")]
    resumed: Annotated[int, Doc("how often it was broken off and gone on with")]
    metrics: Annotated[dict[str, Any], Doc("what the evaluation on test images gave")]
    runtime_s: Annotated[float, Doc("seconds of training, evaluation not included")]
    images_per_s: Annotated[float, Doc("images trained on a second, all processes together")]
    loading_share: Annotated[float, Doc("share of that time in which images were waited for")]
    device: Annotated[str, Doc("device, such as cpu or cuda:0")]
    torch_version: Annotated[str, Doc("version of torch")]
    code_version: Annotated[str, Doc("version of torchkeep")]


class AnsweredScreening(TypedDict, total=False):
    verdict: Required[Annotated[str, Doc("clean, suspicious or failed")]]
    score: Annotated[float | None, Doc("only with disclose = full")]
    p_value: Annotated[float | None, Doc("only with disclose = full")]
    threshold: Annotated[float, Doc("only with disclose = full")]


class Attribution(TypedDict):
    method: Annotated[str, Doc("name of the attribution method")]
    shape: Annotated[Sequence[int], Doc("channels, height, width")]
    dtype: Annotated[str, Doc("always float32")]
    data: Annotated[str, Doc("base64 of the attribution, C order, little endian")]


class AnsweredItem(TypedDict, total=False):
    """One item of an answer; `label` to `probabilities` are absent unless the status is `ok`."""

    item: Required[Annotated[int, Doc("position in the request, from 0")]]
    status: Required[Annotated[str, Doc("item status")]]
    label: Annotated[str, Doc("predicted class")]
    class_index: Annotated[int, Doc("index of the predicted class")]
    probability: Annotated[float, Doc("probability of the predicted class")]
    probabilities: Annotated[FloatList, Doc("in class order; absent beyond 100 classes")]
    screening: Annotated[AnsweredScreening, Doc("absent with disclose = none")]
    attribution: Annotated[Attribution, Doc("only for explain")]
    error: Annotated[str, Doc("one line; present unless the status is ok")]


class Answer(TypedDict):
    """Body of an answer, over REST and over gRPC alike."""

    schema: Annotated[int, Doc("version of this schema")]
    request_id: Annotated[str, Doc("as logged")]
    model: Annotated[str, Doc("model name")]
    model_version: Annotated[str, Doc("model version that answered")]
    predictions: Annotated[list[AnsweredItem], Doc("one per item, in the order of the request")]
    error: NotRequired[Annotated[ErrorInfo, Doc("why the whole request was refused")]]


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """One field of a record, as documentation and validation see it."""

    name: str
    type: Any
    doc: str
    required: bool


def fields_of(record: type) -> tuple[FieldSpec, ...]:
    """Return the fields of a schema `TypedDict` in the order they are declared."""
    hints = get_type_hints(record, include_extras=True)
    total: bool = record.__total__  # type: ignore[attr-defined]
    return tuple(_field(name, hint, total) for name, hint in hints.items())


def _field(name: str, hint: Any, required: bool) -> FieldSpec:
    # read from the hint: `__required_keys__` is wrong where annotations are postponed
    while get_origin(hint) in (Required, NotRequired):
        required = get_origin(hint) is Required
        hint = get_args(hint)[0]
    base, doc = get_args(hint)
    return FieldSpec(name, base, doc.text, required)
