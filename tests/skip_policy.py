"""A pytest plugin: in continuous integration a test may only be skipped for want of hardware.

With `CI=true` in the environment, a skip whose reason does not begin with one of `ALLOWED` is
reported as a failure; so a missing tool or package cannot quietly empty the test suite. Without
`CI` a skip is a skip. Every skip and its reason are listed at the end of the run either way.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import TypeVar

import pytest

NEEDS_CUDA = "needs CUDA"
NEEDS_CONTAINER_ENGINE = "needs a container engine"
ALLOWED = (NEEDS_CUDA, NEEDS_CONTAINER_ENGINE)

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return judge((yield))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return judge((yield))


def judge(report: Report) -> Report:
    """Turn a skip that may not be into a failure; expected failures are none of our business."""
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("CI") == "true":
        reason = reason_of(report)
        if not reason.startswith(ALLOWED):
            report.outcome = "failed"
            report.longrepr = f"skipped in CI: {reason} (allowed: {', '.join(ALLOWED)})"
    return report


def reason_of(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Return why a test was skipped, without pytest's prefix."""
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")
