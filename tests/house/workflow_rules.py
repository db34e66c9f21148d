"""What a GitHub workflow of this project has to be."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

PINNED_ACTION = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}")
PINNED_RUNNER = re.compile(r"[a-z]+-\d+(\.\d+)?")


def faults(workflow: Mapping[Any, Any]) -> list[str]:
    """Return one line for each rule that a parsed workflow breaks."""
    found = list(_workflow_faults(workflow))
    for name, job in workflow["jobs"].items():
        found += _job_faults(name, job)
        found += (f"{name}: {fault}" for step in job["steps"] for fault in _step_faults(step))
    return found


def _workflow_faults(workflow: Mapping[Any, Any]) -> Iterator[str]:
    triggers = workflow.get(True, {})  # YAML 1.1 reads the key `on` as true
    if not {"push", "pull_request"} <= set(triggers):
        yield "does not run on every push and pull request"
    if "pull_request_target" in triggers:
        yield "pull_request_target gives strangers' code our token"
    if workflow.get("permissions") != {"contents": "read"}:
        yield "the token may do more than read"
    if not _runs_all_checks(workflow):
        yield "no job runs .ci/run under Python 3.11"


def _runs_all_checks(workflow: Mapping[Any, Any]) -> bool:
    return any(
        any(step.get("run") == ".ci/run" for step in job["steps"])
        and any(step.get("with", {}).get("python-version") == "3.11" for step in job["steps"])
        and not job.get("continue-on-error")
        and "if" not in job
        for job in workflow["jobs"].values()
    )


def _job_faults(name: str, job: Mapping[str, Any]) -> Iterator[str]:
    if not PINNED_RUNNER.fullmatch(job["runs-on"]):
        yield f"{name}: the runner is not pinned"
    if "timeout-minutes" not in job:
        yield f"{name}: no time limit"
    if "permissions" in job:
        yield f"{name}: has permissions of its own"


def _step_faults(step: Mapping[str, Any]) -> Iterator[str]:
    action, settings = step.get("uses", ""), step.get("with", {})
    if action and not PINNED_ACTION.fullmatch(action):
        yield f"{action} is not pinned to a commit"
    if "/checkout@" in action and settings.get("persist-credentials") is not False:
        yield "the checkout keeps the token"
    if step.get("continue-on-error"):
        yield "a step may fail"
    if "${{" in step.get("run", ""):
        yield "an expression inside a script can inject commands"
    if "secrets." in str(step):
        yield "uses a secret"
