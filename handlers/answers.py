"""The response to a call: JSON over REST and gRPC alike, or columns for a gateway."""

from __future__ import annotations

from dataclasses import dataclass

from handlers.call import Call
from handlers.gateway_answer import gateway_answer, gateway_refusal
from handlers.json_answer import json_answer
from handlers.request import Response
from handlers.served_model import ServedModel
from handlers.telling import Telling
from torchkeep import envelope
from torchkeep.schema import HTTP_STATUS, Disclose, ItemStatus

JSON_TYPE = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerBuilder:
    """Answers calls whose items are through."""

    model: ServedModel
    telling: Telling
    envelope_key: bytes | None = None

    def answer(self, call: Call) -> Response:
        """Return the response; the HTTP status of several items is 200, failed or not."""
        if call.envelope is not None:
            return self._to_gateway(call, authentic=call.envelope.authentic)
        status = ItemStatus.OK
        if call.fault is not None:
            status = call.fault.status
        elif len(call.items) == 1:
            status = call.items[0].status
        return _response(call, json_answer(call, self.model, self.telling), JSON_TYPE, status)

    def _to_gateway(self, call: Call, *, authentic: bool) -> Response:
        """Tell an authentic gateway all: it passes on what `disclose` allows."""
        disclose = self.telling.disclose
        if call.fault is not None:
            columns = gateway_refusal(call.fault, self.model, disclose=disclose)
        else:
            telling = Telling(disclose=Disclose.FULL) if authentic else self.telling
            columns = gateway_answer(call.items, self.model, telling, disclose=disclose)
        body = envelope.encode_response(columns, self.envelope_key)
        return _response(call, body, envelope.CONTENT_TYPE, ItemStatus.OK)


def _response(call: Call, body: bytes, content_type: str, status: ItemStatus) -> Response:
    return Response(
        body=body,
        content_type=content_type,
        http_status=HTTP_STATUS[status],
        request_id=call.origin.request_id,
    )
