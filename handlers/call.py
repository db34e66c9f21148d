"""One request taken apart: its items with their origins, or the fault that it has none."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np

from handlers.bodies import Body, EncodedBody, TensorBody
from handlers.decode import check_size, open_body
from handlers.formats import Buffer, Format, is_envelope
from handlers.item import Item
from handlers.pixels import Expected, sides
from handlers.request import Request, allowed_segments, origin_of
from torchkeep.envelope import EnvelopeError, Origin, RequestEnvelope, decode_request
from torchkeep.errors import ItemError
from torchkeep.ids import new_id, valid_id
from torchkeep.schema import ItemStatus, Operation, RequestType

logger = logging.getLogger(__name__)

MAX_LOGGED_TYPE = 128
NOT_OPENED = "the request could not be opened"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """`origin` is who the answer goes to; with an envelope, items have origins of their own."""

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
        types = _types_of(request, body)
        items = [Item(origin, place, body, place, types[place]) for place in range(len(body))]
        return Call(origin=origin, request_type=_type_of(request), items=items)

    def _open_envelope(self, request: Request, data: Buffer) -> Call:
        limit = self.expected.limits.max_items
        try:
            envelope = decode_request(data, self.envelope_key, max_items=limit)
        except EnvelopeError as error:
            raise ItemError(ItemStatus.BAD_INPUT, str(error)) from error
        body = self._open_payload(envelope)
        self._check_operation(envelope.operation, body)
        origins = [self._believe(origin, envelope.authentic) for origin in envelope.origins]
        request = replace(request, operation=envelope.operation)
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
            origin=origin_of(request, {}, len(items), self.segment_attributes),
            request_type=_type_of(request, gateway=envelope.authentic),
            items=items,
            envelope=envelope,
        )

    def _open_payload(self, envelope: RequestEnvelope) -> Body:
        payload = envelope.payload
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
        segments = allowed_segments(origin.segments, self.segment_attributes)
        known = origin if authentic else origin.as_stranger()
        return replace(known, segments=segments)

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


def _types_of(request: Request, body: Body, *, gateway: bool = False) -> list[RequestType]:
    """Return the request type of each item; items of one format share theirs."""
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
