"""What can go wrong, as one tree.

TorchkeepError            exit code 1: a fault of ours
├── UserError             exit code 2: something the user can mend; carries the remedy
│   ├── SettingsError     torchkeep.toml, a TORCHKEEP_* variable, or an option
│   ├── DataError         a data file: which, what is wrong, what was expected
│   ├── ArtifactError     a model artifact or archive that may not be used
│   │   └── NoReferenceError   one that monitoring cannot use (monitoring/reference_file.py)
│   ├── TrainingError     a training that must not go on: exit code 3 from every process
│   ├── TrainingPausedError   time is up, the training can go on: exit code 4
│   ├── EvaluationPausedError   time is up, the evaluation can go on: exit code 4
│   ├── RequirementError  a figure is not as good as was required: exit code 5
│   ├── ServerError       TorchServe could not be started, reached or stopped
│   ├── RequestError      the server answered a request with a refusal
│   └── KeyFileError      a file with a secret key (torchkeep/keys.py)
├── ItemError             one item of a request; its neighbours are still answered
├── EnvelopeError         bytes that are no envelope (torchkeep/envelope/)
├── FetchError            one way to get a data set failed; others follow (torchkeep/data/)
└── LogFullError          the request log cannot be written (monitoring/request_log.py)
"""

from __future__ import annotations

from torchkeep.schema import ItemStatus


class TorchkeepError(Exception):
    """Base of all errors raised on purpose; `exit_code` is what the command line returns."""

    exit_code = 1


class UserError(TorchkeepError):
    """An error the user can mend: one line of what happened, and a remedy.

    `str()` gives both on one line, so that a log or a terminal needs nothing more.
    """

    exit_code = 2

    def __init__(self, message: str, *, remedy: str = "") -> None:
        self.message = message
        self.remedy = remedy
        super().__init__(f"{message}. {remedy}" if remedy else message)


class SettingsError(UserError):
    """A setting that does not exist or does not fit."""


class DataError(UserError):
    """A data file that may not be used.

    `path` names the file, `fault` what is wrong with it, `expected` what it should have been.
    """

    def __init__(self, path: object, fault: str, expected: str, *, remedy: str = "") -> None:
        self.path = str(path)
        self.fault = fault
        self.expected = expected
        super().__init__(f"{path}: {fault}; expected {expected}", remedy=remedy)


class ArtifactError(UserError):
    """A model artifact or archive that may not be used."""


class TrainingError(UserError):
    """A training that must not go on: a loss that is not finite, or a process that died."""

    exit_code = 3


class TrainingPausedError(UserError):
    """A training that stopped at a checkpoint because its time was up; it can go on."""

    exit_code = 4


class EvaluationPausedError(UserError):
    """An evaluation whose time was up; what is finished is kept, and it can go on."""

    exit_code = 4


class RequirementError(UserError):
    """A figure that is not as good as was required of it."""

    exit_code = 5


class ServerError(UserError):
    """TorchServe could not be started, reached or stopped.

    `retry_after_s` is how long a busy server asks to be left alone, if it says so.
    """

    def __init__(
        self, message: str, *, remedy: str = "", retry_after_s: float | None = None
    ) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message, remedy=remedy)


class RequestError(UserError):
    """The server answered a whole request with a refusal; `code` is the HTTP or gRPC code.

    `retry_after_s` is how long it asks to be left alone, if it says so.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        request_id: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        self.code = code
        self.request_id = request_id
        self.retry_after_s = retry_after_s
        super().__init__(message)


class ItemError(TorchkeepError):
    """One item that cannot be answered, and the status its answer and record carry."""

    def __init__(self, status: ItemStatus, message: str) -> None:
        self.status = status
        self.message = message
        super().__init__(message)
