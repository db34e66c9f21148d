"""The client of a served model, the same over REST and gRPC.

from torchkeep.client import Client

with Client("http://127.0.0.1:8000", token=token) as client:
    print(client.predict(image).items[0].label)
"""

from torchkeep.client.client import Client, Token
from torchkeep.client.question import Input
from torchkeep.client.results import (
    Attribution,
    ExplainedItem,
    ExplainResult,
    Health,
    Item,
    PredictResult,
    Screening,
)
from torchkeep.errors import RequestError, ServerError

__all__ = [
    "Attribution",
    "Client",
    "ExplainResult",
    "ExplainedItem",
    "Health",
    "Input",
    "Item",
    "PredictResult",
    "RequestError",
    "Screening",
    "ServerError",
    "Token",
]
