"""What TorchServe is told: `config.properties` and `log4j2.xml`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from release.ports import LOOPBACK, Ports
from release.server_config import ServerConfig
from torchkeep.errors import ServerError

LOG4J2 = """\
<?xml version="1.0" encoding="UTF-8"?>
<Configuration status="error">
  <Appenders>
    <RollingFile name="log" fileName="server.log" filePattern="server.%i.log">
      <PatternLayout pattern="%d{ISO8601}{UTC} %-5p %c{1} - %m%n" charset="UTF-8"/>
      <SizeBasedTriggeringPolicy size="10 MB"/>
      <DefaultRolloverStrategy max="3"/>
    </RollingFile>
  </Appenders>
  <Loggers>
    <Logger name="MODEL_LOG" level="info">
      <RegexFilter regex="Backend received inference at.*" onMatch="DENY" onMismatch="NEUTRAL"/>
    </Logger>
    <Logger name="ACCESS_LOG" level="off"/>
    <Logger name="TS_METRICS" level="off"/>
    <Logger name="MODEL_METRICS" level="off"/>
    <Root level="warn">
      <AppenderRef ref="log"/>
    </Root>
  </Loggers>
</Configuration>
"""
"""`log4j2.xml`: warnings and what workers print, in one file of bounded size.

TorchServe's own configuration writes 9 to 18 lines a request; this one writes none.
"""

_REGEX_SPECIAL = re.compile(r"[^A-Za-z0-9/_]")


def render_properties(config: ServerConfig, ports: Ports, store: Path, archive: str) -> str:
    """Return `config.properties` for serving `archive` (a file name) from folder `store`.

    Models can be neither registered nor unregistered while it runs, and only files of `store`
    could be. Raises `ServerError` if the folder's name cannot be written in this format.
    """
    return _properties(
        {
            "inference_address": f"http://{LOOPBACK}:{ports.rest_port}",
            "management_address": f"http://{LOOPBACK}:{ports.management_port}",
            "metrics_address": f"http://{LOOPBACK}:{ports.metrics_port}",
            "grpc_inference_address": LOOPBACK,
            "grpc_inference_port": ports.grpc_port,
            "grpc_management_address": LOOPBACK,
            "grpc_management_port": ports.grpc_management_port,
            "model_store": store,
            "load_models": archive,
            "allowed_urls": f"file://{_regex_literal(str(store))}/.*",
            "enable_model_api": False,
            "install_py_dep_per_model": False,
            "disable_token_authorization": False,
            "token_expiration_min": config.token_minutes,
            "default_workers_per_model": config.workers,
            "default_response_timeout": config.response_timeout_s,
            "default_startup_timeout": config.startup_timeout_s,
            "job_queue_size": config.job_queue_size,
            "max_request_size": config.max_request_bytes,
            "max_response_size": config.max_response_bytes,
            # Bodies reach the handler as they came; the environment variable of this name is
            # overruled by this property.
            "decode_input_request": False,
            "metrics_mode": "prometheus",
            "disable_system_metrics": True,
            "enable_envvars_config": False,
        }
    )


def _properties(values: Mapping[str, object]) -> str:
    lines = [f"{key}={_property(value)}\n" for key, value in values.items()]
    return "".join(lines)


def _property(value: object) -> str:
    """Return a value as java.util.Properties reads it back: Latin-1 with escapes."""
    text = json.dumps(value) if isinstance(value, bool) else str(value)
    if "$$" in text:
        raise ServerError(
            f"{text} holds $$, which TorchServe would replace by an environment variable",
            remedy="Choose another folder.",
        )
    escaped = text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    escaped = escaped.replace("\t", "\\t").replace("\f", "\\f")
    if escaped.startswith(" "):
        escaped = "\\" + escaped
    return "".join(char if " " <= char <= "~" else _utf16_escapes(char) for char in escaped)


def _utf16_escapes(char: str) -> str:
    units = char.encode("utf-16-be", errors="surrogatepass")
    return "".join(f"\\u{units[i] << 8 | units[i + 1]:04x}" for i in range(0, len(units), 2))


def _regex_literal(text: str) -> str:
    """Return a Java regular expression for `text`; it holds no comma, which would split it."""
    return _REGEX_SPECIAL.sub(lambda match: f"\\x{{{ord(match[0]):x}}}", text)
