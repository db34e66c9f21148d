"""Labs on a small artifact, a server of it, a page that listens, and a headless browser."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

    from robustness.playground.lab import Lab
    from tests.robustness.playground.served import Running
    from torchkeep.artifact import ModelArtifact
    from torchkeep.cli.playground import RunningServer
    from torchkeep.data import Splits


@pytest.fixture(scope="session")
def lab(digits_artifact: ModelArtifact, digits: Splits) -> Lab:
    """A lab without a server."""
    import torch

    from robustness.playground.lab import Lab

    return Lab(digits_artifact, digits.test, torch.device("cpu"), wait=0.2)


@pytest.fixture(scope="session")
def running(
    digits_artifact: ModelArtifact, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    """A server of the same artifact."""
    from tests.robustness.playground.served import serving

    with serving(digits_artifact, tmp_path_factory.mktemp("log")) as found:
        yield found


@pytest.fixture(scope="session")
def endpoint(running: Running) -> Iterator[RunningServer]:
    with asked_at(running.url) as found:
        yield found


@pytest.fixture(scope="session")
def lab_with_server(digits_artifact: ModelArtifact, digits: Splits, endpoint: RunningServer) -> Lab:
    import torch

    from robustness.playground.lab import Lab

    return Lab(digits_artifact, digits.test, torch.device("cpu"), endpoint)


@pytest.fixture(scope="session")
def address(lab: Lab) -> Iterator[str]:
    """The address of a playground without a server."""
    with listening_page(lab) as found:
        yield found


@pytest.fixture(scope="session")
def address_with_server(lab_with_server: Lab) -> Iterator[str]:
    with listening_page(lab_with_server) as found:
        yield found


@contextmanager
def asked_at(url: str, *, same: bool | None = True) -> Iterator[RunningServer]:
    """Yield what the command makes of a server's address."""
    from torchkeep.cli.playground import RunningServer
    from torchkeep.client import Client

    with Client(url, model="digits", timeout=10) as client:
        yield RunningServer(url=url, same=same, client=client)


@contextmanager
def listening_page(lab: Lab) -> Iterator[str]:
    """Serve the page of a lab as the command does; yield its address."""
    import uvicorn

    from robustness.playground.application import application
    from torchkeep.cli.playground import listening

    with listening("127.0.0.1", 0) as listener:
        server = uvicorn.Server(uvicorn.Config(application(lab), log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            end = time.monotonic() + 20
            while not server.started and time.monotonic() < end:
                time.sleep(0.01)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        finally:
            server.should_exit = True
            thread.join(20)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """A headless Chromium with a fresh profile; its driver is Debian's, never a download."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no chromium; run scripts/install-debian-packages")
    from selenium.webdriver import Chrome, ChromeOptions, ChromeService

    options = ChromeOptions()
    options.binary_location = chromium
    profile = tmp_path_factory.mktemp("profile")
    for flag in ("--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"):
        options.add_argument(flag)
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")
    options.add_argument(f"--user-data-dir={profile}")
    options.add_argument("--disable-background-networking")
    options.add_argument("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = Chrome(options=options, service=ChromeService(executable_path=driver))
    try:
        yield chrome
    finally:
        chrome.quit()
