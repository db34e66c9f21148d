"""The data plane: requests in, answers out, one record an item in between. Knows no protocol.

    open → decode → describe → screen and predict → judge → explain → record → write → answer

Items of all requests of a call share forward passes of up to `max_forward_batch` images. What goes
wrong for one item stays with that item, and no answer leaves before its record is written.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from operator import attrgetter

from handlers.answers import AnswerBuilder
from handlers.call import Call, CallOpener, is_logged
from handlers.config import LimitsConfig, ScreeningConfig, ServingConfig
from handlers.cuda_faults import end_worker_if_fatal
from handlers.describe import describe
from handlers.explain import explain
from handlers.forward import Forward
from handlers.item import Item
from handlers.judge import judge
from handlers.pixels import Expected, Images, stack, to_unit_floats
from handlers.records import RecordBuilder
from handlers.request import Request, Response
from handlers.served_model import ServedModel
from handlers.stopwatch import Stopwatch
from handlers.telling import Telling
from monitoring.request_log import LogFullError, RequestLog, RequestLogConfig
from robustness.screened_model import ScreenedModel
from torchkeep.errors import ItemError
from torchkeep.schema import InferenceRecord, ItemStatus, Operation

logger = logging.getLogger(__name__)

EXPIRED = "the deadline of the item had passed before it was served"
FAILED = "the server failed on the batch of this item"
EXPLANATION_FAILED = "the explanation of this item failed"
UNLOGGED = "the request cannot be logged, and nothing is answered without a record"

PLAIN = ServingConfig()


class Service:
    """Answers requests for one model."""

    def __init__(
        self,
        model: ScreenedModel,
        about: ServedModel,
        log: RequestLog,
        *,
        limits: LimitsConfig,
        screening: ScreeningConfig,
        log_config: RequestLogConfig,
        serving: ServingConfig = PLAIN,
        envelope_key: bytes | None = None,
    ) -> None:
        """Make ready to serve; raises `SettingsError` if `serving` does not fit the model."""
        self._model = model
        self._forward = Forward(model, serving, most=limits.max_forward_batch)
        self._log = log
        self._limits = limits
        self._policy = screening.policy
        self._opener = CallOpener(
            expected=Expected(model.input_shape, limits),
            segment_attributes=frozenset(log_config.segment_attributes),
            envelope_key=envelope_key,
        )
        self._records = RecordBuilder(
            model=about, policy=screening.policy, sample_inputs=log_config.sample_inputs
        )
        self._answers = AnswerBuilder(
            model=about, telling=Telling.to_callers(screening), envelope_key=envelope_key
        )

    def warm_up(self) -> None:
        """Run forward passes, so that no request pays for the first; logs nothing."""
        self._forward.warm_up()

    def answer(self, requests: Sequence[Request]) -> list[Response]:
        """Answer each request; when this returns, every answered item is in the log."""
        watch = Stopwatch()
        with watch.measure("decode"):
            calls = [self._opener.open(request) for request in requests]
        records = [
            self._records.of_refusal(call, call.fault, watch.runtime)
            for call in calls
            if call.fault is not None and is_logged(call.request_type)
        ]
        items = [item for call in calls for item in call.items]
        size = self._limits.max_forward_batch
        for start in range(0, len(items), size):
            chunk = items[start : start + size]
            self._serve(chunk, watch)
            logged = [item for item in chunk if is_logged(item.request_type)]
            records += self._records.of_items(logged, watch.runtime)
            _drop_images(chunk)
        watch.stop()
        if not self._write(records):
            calls = [_withdraw(call) if is_logged(call.request_type) else call for call in calls]
        return [self._answers.answer(call) for call in calls]

    def _serve(self, items: Sequence[Item], watch: Stopwatch) -> None:
        """Take one chunk of items from bytes to judgements; raises nothing."""
        try:
            self._take_through(items, watch)
        except Exception as error:
            end_worker_if_fatal(error)
            logger.exception("a batch of %d items failed", len(items))
            _fail([item for item in items if item.status is ItemStatus.OK], FAILED)

    def _take_through(self, items: Sequence[Item], watch: Stopwatch) -> None:
        with watch.measure("decode"):
            ready = _decode(items)
        if not ready:
            return
        images = stack([item.image for item in ready if item.image is not None])
        describe(ready, images)
        with watch.measure("screen_predict"):
            parts = self._forward.screen(images)
        start = 0
        for part in parts:
            group = ready[start : start + part.items]
            if part.batch is None:
                _fail(group, part.fault)
            else:
                judge(group, part.batch, self._model.classes, self._policy)
            start += part.items
        self._explain(ready, images)

    def _explain(self, items: Sequence[Item], images: Images) -> None:
        places = [place for place, item in enumerate(items) if _wants_explanation(item)]
        if not places:
            return
        asked = [items[place] for place in places]
        try:
            attributions = explain(
                self._model.classifier,
                to_unit_floats(images[places]),
                [item.judgement.class_index for item in asked if item.judgement],
                device=self._model.device,
                steps=self._limits.explain_steps,
            )
        except Exception as error:
            end_worker_if_fatal(error)
            logger.exception("the explanation of %d items failed", len(asked))
            _fail(asked, EXPLANATION_FAILED)
            return
        for item, attribution in zip(asked, attributions, strict=True):
            item.attribution = attribution

    def _write(self, records: Sequence[InferenceRecord]) -> bool:
        try:
            self._log.write(records)
        except LogFullError:
            return False  # the log has said so, and not once for each request
        except Exception:
            logger.exception("%d records could not be written", len(records))
            return False
        return True


def _decode(items: Sequence[Item]) -> list[Item]:
    """Give items their images; return those that have one, and fail the others."""
    now = time.monotonic_ns()
    timely = []
    for item in items:
        if 0 < item.origin.deadline_ns <= now:
            item.fail(ItemStatus.EXPIRED, EXPIRED)
        else:
            timely.append(item)
    for body, members in groupby(timely, key=attrgetter("body")):
        group = list(members)
        images = body.decode([item.position for item in group])
        for item, image in zip(group, images, strict=True):
            if isinstance(image, ItemError):
                item.fail(image.status, image.message)
            else:
                item.image = image
    return [item for item in timely if item.image is not None]


def _wants_explanation(item: Item) -> bool:
    asked = item.request_type["operation"] == Operation.EXPLAIN
    return asked and item.status is ItemStatus.OK


def _fail(items: Sequence[Item], message: str) -> None:
    for item in items:
        item.fail(ItemStatus.ERROR, message)


def _drop_images(items: Sequence[Item]) -> None:
    """Let go of pixels: a call may have many more items than fit in memory decoded."""
    for item in items:
        item.image = None


def _withdraw(call: Call) -> Call:
    """Take back everything that was to be answered."""
    for item in call.items:
        item.fail(ItemStatus.ERROR, UNLOGGED)
        item.judgement = item.attribution = None
    fault = call.fault and ItemError(ItemStatus.ERROR, UNLOGGED)
    return replace(call, fault=fault)
