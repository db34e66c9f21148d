"""The real handler's bench, which tests of the gateway put behind it."""

from __future__ import annotations

from tests.handlers.conftest import bench, images, make_bench

__all__ = ["bench", "images", "make_bench"]
