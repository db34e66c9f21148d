"""The one module of an archive: hands TorchServe's calls to the installed handler.

TorchServe hides an ImportError at the top of this module behind one of its own, so nothing is
imported before the first call.
"""

from __future__ import annotations

from typing import Any


def handle(data: list[dict[str, Any]] | None, context: Any) -> Any:
    """Answer one batch; `data` is None in the first call, which loads the model."""
    from handlers.torchserve import handle as answer

    return answer(data, context)
