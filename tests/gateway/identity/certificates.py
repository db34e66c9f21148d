"""A small certificate authority, by the openssl command."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
RSA = ("-newkey", "rsa:2048")


@dataclass(frozen=True)
class Certificate:
    """PEM files: a certificate with its chain, and its key (0600)."""

    chain: Path
    key: Path


@dataclass(frozen=True)
class Authority:
    """Signs certificates into its folder."""

    folder: Path

    @classmethod
    def make(cls, folder: Path, *, days: int = 1) -> Authority:
        made = cls(folder)
        made.request("ca", EC)
        usage = "basicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign,cRLSign\n"
        made.sign("ca", usage, days, "-signkey", str(folder / "ca.key"))
        return made

    @property
    def certificate(self) -> Path:
        return self.folder / "ca.pem"

    def issue(
        self, name: str, *, days: int = 1, usage: str = "serverAuth", kind: tuple[str, ...] = EC
    ) -> Certificate:
        """Sign a certificate for the loopback; one of a negative number of days has expired."""
        self.request(name, kind)
        names = "subjectAltName=IP:127.0.0.1,DNS:localhost\n"
        ca = (
            "-CA",
            str(self.certificate),
            "-CAkey",
            str(self.folder / "ca.key"),
            "-CAcreateserial",
        )
        self.sign(name, f"{names}extendedKeyUsage={usage}\n", days, *ca)
        return Certificate(self.folder / f"{name}.pem", self.folder / f"{name}.key")

    def request(self, name: str, kind: tuple[str, ...]) -> None:
        key, asked = self.folder / f"{name}.key", self.folder / f"{name}.csr"
        subject = ("-subj", f"/CN={name}")
        openssl("req", *kind, "-nodes", *subject, "-keyout", str(key), "-out", str(asked))
        key.chmod(0o600)

    def sign(self, name: str, extensions: str, days: int, *by: str) -> None:
        told = self.folder / f"{name}.ext"
        told.write_text(extensions)
        files = ("-in", str(self.folder / f"{name}.csr"), "-out", str(self.folder / f"{name}.pem"))
        openssl("x509", "-req", *files, "-days", str(days), "-extfile", str(told), *by)


def openssl(*words: str) -> None:
    subprocess.run(("openssl", *words), check=True, capture_output=True)
