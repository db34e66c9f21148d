"""Run the gateway: `python -m gateway DESCRIPTION [--http-port N --grpc-port N --observe-port N]`.

DESCRIPTION is the file that says what stands behind it (`gateway/upstream.py`). When it listens it
prints `ready HTTP_PORT GRPC_PORT OBSERVE_PORT`.
"""

from __future__ import annotations

import argparse
import resource
import sys
from dataclasses import replace
from pathlib import Path

import uvloop

from gateway.config import GatewayConfig
from gateway.server import serve
from gateway.telemetry import process_log
from torchkeep.errors import SettingsError, TorchkeepError
from torchkeep.settings import Settings

PORTS = ("http_port", "grpc_port", "observe_port")
FRONTS = 2  # HTTP and gRPC; each has `max_connections`
OTHER_DESCRIPTORS = 256  # listening sockets, the observe port, logs, keys, the call to TorchServe


def main(arguments: list[str]) -> int:
    """Serve until a signal; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m gateway", description=__doc__)
    parser.add_argument("description", type=Path, help="what stands behind the gateway")
    for port in PORTS:
        parser.add_argument(f"--{port.replace('_', '-')}", type=int, help="instead of the setting")
    given = vars(parser.parse_args(arguments))
    process_log.set_up()
    try:
        settings = Settings.load()
        ports = {name: given[name] for name in PORTS if given[name] is not None}
        config = replace(settings.section("gateway", GatewayConfig), **ports)
        make_room(config)
        uvloop.run(serve(given["description"], settings, config))
    except TorchkeepError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


def make_room(config: GatewayConfig) -> None:
    """Allow this process the descriptors that its connections need, and as many more as it may.

    Raises `SettingsError` if they are more than the hard limit: with none left the gateway could
    not even read that a key was revoked.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = FRONTS * config.max_connections + OTHER_DESCRIPTORS
    if hard == resource.RLIM_INFINITY:  # some systems refuse it as the soft one
        if soft != resource.RLIM_INFINITY:
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
        return
    if needed > hard:
        most = max(0, (hard - OTHER_DESCRIPTORS) // FRONTS)
        raise SettingsError(
            f"[gateway] max_connections is {config.max_connections}, but this process may open "
            f"{hard} files and sockets, enough for {most} connections",
            remedy="Give less, or raise the hard limit (ulimit -Hn, systemd's LimitNOFILE).",
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
