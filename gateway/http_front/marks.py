"""What a connection and the application tell each other of a request, in its `scope["state"]`."""

from __future__ import annotations

from typing import Final

GONE: Final = "gone"  # the caller went away
LATE: Final = "late"  # the body was not there in time
BROKEN: Final = "broken"  # the rest of the body cannot be parsed
INFERRING: Final = "inferring"  # the task to cancel if the caller goes away
CYCLE: Final = "cycle"  # uvicorn's hold on this request, through which it is answered
