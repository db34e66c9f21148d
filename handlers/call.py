"""One request taken apart: its items with their origins, or the fault that it has none."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers.bodies import Body, EncodedBody, TensorBody
from handlers.decode import check_size, open_body
from handlers.formats import Buffer, Format, is_envelope
from handlers.item import Item
from handlers.pixels import Expected, sides
from handlers.request import Request, allowed_segments, completed, origin_of
from torchkeep.envelope import (
    BodyPayload,
    EnvelopeError,
    Origin,
    RequestEnvelope,
    decode_request,
)
from torchkeep.errors import ItemError
from torchkeep.ids import new_id, valid_id
from torchkeep.schema import ItemStatus, Operation, RequestType

logger = logging.getLogger(__name__)

MAX_LOGGED_TYPE = 128
NOT_OPENED = "the request could not be opened"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """`origin` is who asks; with an envelope, items have origins of their own, and it is the first.

    With an envelope and a fault, the envelope holds a body that could not be opened.
    """

    origin: Origin
    request_type: RequestType
    items: list[Item]
    fault: ItemError | None = None
    envelope: RequestEnvelope | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOpener:
    """Turns requests into calls; decodes nothing yet."""

    expected: Expected
    segment_attributes: Collection[str] = ()
    envelope_key: bytes | None = None

    def open(self, request: Request) -> Call:
        """Take a request apart; raises nothing: what fails becomes the call's fault."""
        try:
            if request.body is None:
                raise ItemError(
                    ItemStatus.BAD_INPUT,
                    "no input found: send the bytes as the body itself (curl -T FILE), as the "
                    "form part `data`, or as the gRPC input `data`",
                )
            check_size(request.body, self.expected)
            if is_envelope(request.body):
                return self._open_envelope(request, request.body)
            return self._open_plain(request, request.body)
        except ItemError as fault:
            origin = origin_of(request, {}, 0, self.segment_attributes)
            return Call(origin=origin, request_type=_type_of(request), items=[], fault=fault)
        except Exception:
            logger.exception("a request could not be opened")
            # nothing but the id is looked at again: what failed once might fail once more
            origin = Origin(request_id=valid_id(request.request_id) or new_id(), items=0)
            return Call(
                origin=origin,
                request_type=_type_of(request),
                items=[],
                fault=ItemError(ItemStatus.ERROR, NOT_OPENED),
            )

    def _open_plain(self, request: Request, data: Buffer) -> Call:
        body, about = open_body(data, request.content_type, self.expected)
        self._check_operation(request.operation, body)
        origin = origin_of(request, about, len(body), self.segment_attributes)
        return Call(
            origin=origin, request_type=_type_of(request), items=_items(origin, body, request)
        )

    def _open_envelope(self, request: Request, data: Buffer) -> Call:
        limit = self.expected.limits.max_items
        try:
            envelope = decode_request(data, self.envelope_key, max_items=limit)
        except EnvelopeError as error:
            raise ItemError(ItemStatus.BAD_INPUT, str(error)) from error
        if envelope.operation is Operation.PROBE and not envelope.authentic:
            raise ItemError(ItemStatus.BAD_INPUT, "only a gateway may probe")
        request = replace(request, operation=envelope.operation)
        if isinstance(envelope.payload, BodyPayload):
            return self._open_enclosed(request, envelope, envelope.payload)
        body = self._open_payload(envelope.payload)
        self._check_operation(envelope.operation, body)
        origins = [self._believe(origin, envelope.authentic) for origin in envelope.origins]
        columns = zip(
            envelope.origin_index.tolist(),
            envelope.item_index.tolist(),
            _types_of(request, body, gateway=envelope.authentic),
            strict=True,
        )
        items = [
            Item(origins[origin], index, body, position, request_type)
            for position, (origin, index, request_type) in enumerate(columns)
        ]
        return Call(
            origin=origins[0],
            request_type=_type_of(request, gateway=envelope.authentic),
            items=items,
            envelope=envelope,
        )

    def _open_enclosed(
        self, request: Request, envelope: RequestEnvelope, payload: BodyPayload
    ) -> Call:
        """Open a body as if it had come directly; what it says of itself fills what is not said."""
        request = replace(request, content_type=payload.content_type)
        origin = self._believe(envelope.origins[0], envelope.authentic)
        items, fault = [], None
        try:
            body, about = open_body(payload.data, payload.content_type, self.expected)
            self._check_operation(request.operation, body)
        except ItemError as error:
            origin, fault = replace(origin, items=0), error
        else:
            origin = completed(origin, about, len(body), self.segment_attributes)
            items = _items(origin, body, request, gateway=envelope.authentic)
        return Call(
            origin=origin,
            request_type=_type_of(request, gateway=envelope.authentic),
            items=items,
            fault=fault,
            envelope=envelope,
        )

    def _open_payload(self, payload: NDArray[Any] | Sequence[Buffer]) -> Body:
        if not isinstance(payload, np.ndarray):
            return EncodedBody(payload, self.expected)
        if payload.shape[1:] != self.expected.shape:
            raise ItemError(
                ItemStatus.BAD_INPUT,
                f"the envelope's tensor has images of shape {sides(payload.shape[1:])}; "
                f"expected {sides(self.expected.shape)}",
            )
        return TensorBody(payload, Format.RAW)

    def _believe(self, origin: Origin, authentic: bool) -> Origin:
        known = origin if authentic else origin.as_stranger()
        if not known.segments:
            return known
        return replace(known, segments=allowed_segments(known.segments, self.segment_attributes))

    def _check_operation(self, operation: Operation, body: Body) -> None:
        limit = self.expected.limits.max_explain_items
        if operation is not Operation.EXPLAIN or len(body) <= limit:
            return
        if limit == 0:
            raise ItemError(ItemStatus.UNSUPPORTED, "explanations are switched off")
        raise ItemError(
            ItemStatus.TOO_LARGE,
            f"{len(body)} items to explain; at most {limit} are taken in one request",
        )


def is_logged(request_type: RequestType) -> bool:
    """Tell whether what was asked leaves a record."""
    return request_type["operation"] != Operation.PROBE


def _items(origin: Origin, body: Body, request: Request, *, gateway: bool = False) -> list[Item]:
    """Return the items of a body that is one request's alone."""
    types = _types_of(request, body, gateway=gateway)
    return [Item(origin, place, body, place, kind) for place, kind in enumerate(types)]


def _types_of(request: Request, body: Body, *, gateway: bool = False) -> list[RequestType]:
    """Return the request type of each item; items of one format share theirs."""
    if isinstance(body, TensorBody):
        return [_type_of(request, body.format, gateway=gateway)] * len(body)
    formats = [body.format_of(position) for position in range(len(body))]
    shared = {kind: _type_of(request, kind, gateway=gateway) for kind in set(formats)}
    return [shared[kind] for kind in formats]


def _type_of(request: Request, kind: Format | None = None, *, gateway: bool = False) -> RequestType:
    return {
        "protocol": "gateway" if gateway else request.protocol,
        "content_type": request.content_type[:MAX_LOGGED_TYPE],
        "format": kind or "",
        "operation": request.operation,
    }
