"""What is monitored: the artifact, its log, and everything that the settings say of how to look."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from monitoring.config import MonitoringConfig
from monitoring.examination import Keeping, Methods, Source, Subject, examine
from monitoring.health import Health, Missing, Span
from monitoring.quarantine_history import QuarantineHistory
from monitoring.scope import Scope, narrow
from monitoring.store import LogStore
from torchkeep.artifact import MANIFEST, ModelArtifact
from torchkeep.cli.preparation import artifact_path
from torchkeep.command_line import complain
from torchkeep.errors import ArtifactError, UserError
from torchkeep.paths import Home
from torchkeep.settings import Settings

if TYPE_CHECKING:
    from monitoring.labels import LabelStore
    from monitoring.reference import Reference
    from release.status import ServerStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a model's log and labels lie, and how to look at them."""

    home: Home
    artifact: ModelArtifact
    reference: Reference | Missing
    config: MonitoringConfig
    methods: Methods
    log_directory: Path | None = None
    """In place of that of the settings."""

    @classmethod
    def find(cls, folder: Path | None, version: str | None, home: Home | None = None) -> Place:
        """Return the place of an artifact, by default of what runs here.

        Raises `ArtifactError` if there is none, `SettingsError` for settings that make no sense.
        """
        home = home or Home.default()
        settings = Settings.load()
        with _artifact_of(folder, home, version) as artifact:
            reference = _reference(artifact.path)
        if version and artifact.manifest.version != version:
            raise ArtifactError(
                f"{artifact.path} is version {artifact.manifest.version}, not {version}",
                remedy="Name the folder of that version with --artifact.",
            )
        config = settings.section("monitoring", MonitoringConfig)
        return cls(
            home=home,
            artifact=artifact,
            reference=reference,
            config=config,
            methods=_methods(settings, config),
        )

    @property
    def store(self) -> LogStore:
        """The log store, live segments read along."""
        return LogStore.from_settings(self.home, log_directory=self.log_directory)

    @property
    def state(self) -> Path:
        """The folder of what goes on from one look to the next; made if need be."""
        folder = self.config.state(self.home)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder

    @property
    def subject(self) -> Subject:
        """The model, as monitoring looks at it."""
        manifest = self.artifact.manifest
        return Subject(
            model=manifest.name,
            version=manifest.version,
            artifact_digest=self.artifact.digest,
            classes=manifest.classes,
            feature_names=_feature_names(self.reference, manifest.input.chw[0]),
            reference=self.reference,
            train_records=tuple(_train_records(self.home, self.artifact)),
            calibration=(manifest.screening or {}).get("calibration"),
        )

    def look(self, span: Span, keeping: Keeping) -> Health:
        """Look once, at the log as it is now."""
        now_ns = time.time_ns()
        ours = (*own_clients(self.home), *self.config.own_clients)
        scope = Scope(correlation_id=span.correlation_id or None, own_clients=ours)
        store = self.store
        totals = _quarantined(store)
        history = QuarantineHistory(self.config.state(self.home) / "quarantined.json")
        try:
            quarantined = history.since(span.start_ns, totals)
            if keeping.state is not None:
                history.keep(totals, now_ns=now_ns)
        except (UserError, OSError) as error:
            complain(f"{error} Until then all lines set aside count, whenever that was.")
            quarantined = dict(totals)
        with store.connect() as connection:
            outside = narrow(connection, scope)
            source = Source(
                connection=connection,
                labels=_labels(self.home),
                own_traffic=0 if span.correlation_id else outside,
                quarantined=quarantined,
            )
            return examine(source, self.subject, span, self.methods, keeping, now_ns=now_ns)


def own_clients(home: Home) -> tuple[str, ...]:
    """Return the pseudonym of this machine's own key, if it has one and the means to know it."""
    from gateway.identity.local_key import local_key
    from torchkeep.keys import KeyFileError, client_pseudonym, pseudonym_key_file, read_key

    try:
        text = local_key(home)
        return (client_pseudonym(read_key(pseudonym_key_file(home)), text.split("_")[1]),)
    except (KeyFileError, UserError):
        return ()


def take_closed_segments(place: Place) -> None:
    """Compact the log; one that another process compacts right now is read as it is."""
    try:
        place.store.compact(keep_segments=place.config.keep_segments)
    except (UserError, OSError) as error:  # a disk that is full, a store that may only be read
        Console(stderr=True).print(f"not compacted: {error}", markup=False, soft_wrap=True)


def require_items(health: Health) -> None:
    """Raise `UserError` if there was nothing to look at."""
    from monitoring.traffic import TrafficReport

    requests = health.traffic.requests if isinstance(health.traffic, TrafficReport) else 0
    if not health.log.items and not requests:
        own = (
            f"; {health.log.own_traffic} of our own are left out" if health.log.own_traffic else ""
        )
        raise UserError(
            f"no records of {health.model} in that span{own}",
            remedy="Ask for a longer one with --since, or see `torchkeep log`.",
        )


@contextmanager
def _artifact_of(folder: Path | None, home: Home, version: str | None) -> Iterator[ModelArtifact]:
    """Yield the artifact in a folder, else what runs here, else what ran, else the only one."""
    from release.status import status

    server = status(home)
    if folder is not None:
        yield ModelArtifact.load(folder)
    elif server.running and version in (None, server.version):
        with _served(home, server) as artifact:
            yield artifact
    elif server.model:
        yield ModelArtifact.load(artifact_path(server.model, version or server.version))
    else:
        yield ModelArtifact.load(_only_folder(home, version))


@contextmanager
def _served(home: Home, server: ServerStatus) -> Iterator[ModelArtifact]:
    """Yield what is served: its folder if it is among the home's, else what is in its archive."""
    from release.run_folder import RunFolder
    from release.vet import opened

    folder = artifact_path(server.model, server.version)
    if folder.is_dir():
        artifact = ModelArtifact.load(folder)
        if artifact.digest == server.artifact_digest:
            yield artifact
            return
    with opened(RunFolder(home.run).store / f"{server.model}.mar") as archive:
        yield ModelArtifact.load(archive.members[MANIFEST].parent)


def _only_folder(home: Home, version: str | None) -> Path:
    folders = sorted(path.parent for path in home.artifacts.glob("*/artifact.json"))
    fitting = [path for path in folders if version is None or path.name.endswith(f"-{version}")]
    if len(fitting) == 1:
        return fitting[0]
    what = f"{len(fitting)} artifacts" if fitting else "no artifact"
    raise ArtifactError(
        f"nothing runs here, and {home.artifacts} holds {what}",
        remedy="Name a folder with --artifact, or run `torchkeep up`.",
    )


def _reference(folder: Path) -> Reference | Missing:
    from monitoring.reference_file import NoReferenceError, load_reference

    try:
        return load_reference(folder)
    except NoReferenceError as error:
        return Missing(str(error))


def _feature_names(reference: Reference | Missing, channels: int) -> tuple[str, ...]:
    from monitoring.features import feature_names

    if isinstance(reference, Missing):
        return feature_names(channels)
    return reference.feature_names


def _methods(settings: Settings, config: MonitoringConfig) -> Methods:
    from monitoring.alerts.config import AlertsConfig
    from monitoring.drift_analysis import DriftConfig
    from monitoring.novelty import NoveltyConfig
    from monitoring.sequential import SequentialConfig
    from monitoring.slo import SloConfig

    return Methods(
        drift=DriftConfig(false_alarm_rate=config.false_alarm_rate),
        sequential=SequentialConfig(average_run_length=config.average_run_length),
        novelty=NoveltyConfig(level=config.novelty_level),
        slo=settings.section("slo", SloConfig),
        alerts=settings.section("alerts", AlertsConfig),
        most_items=config.most_items,
    )


def _quarantined(store: LogStore) -> Mapping[str, int]:
    """Lines that are no records: of what was compacted, and of what is live."""
    counts = Counter(store.summary().quarantined)
    counts.update({str(fault): count for fault, count in store.live().quarantined.items()})
    return dict(counts)


def _labels(home: Home) -> LabelStore | None:
    from monitoring.labels import LabelStore

    table = LabelStore.default(home)
    return table if table.location.is_dir() else None


def _train_records(home: Home, artifact: ModelArtifact) -> list[Mapping[str, Any]]:
    """The train records of the artifact and of the one it came of, oldest first."""
    record = artifact.manifest.train_record
    parent = record.get("parent_version")
    records = [record] if record else []
    if parent:
        try:
            before = ModelArtifact.load(home.artifacts / f"{artifact.manifest.name}-{parent}")
        except ArtifactError:
            return records
        records.insert(0, before.manifest.train_record)
    return records
