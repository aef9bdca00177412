"""Every error the library raises, on one screen.

    BcdaError
    ├─ ActionNeededError            a person must do something before the same call can work
    │    ├─ InvalidRequestError       refused here or by BCDA as malformed; also a ValueError
    │    ├─ UnknownConnectionError    there is no connection of that id
    │    ├─ CredentialsError          client id, secret or entitlement refused
    │    ├─ NotAllowListedError       nothing has ever answered: address not on the allow list, or network
    │    ├─ ProxyRefusedError         a proxy refuses its credentials, or the way to BCDA; .status
    │    ├─ UntrustedServerError      the server's certificate is not trusted
    │    ├─ AttributionMissingError   BCDA has no attribution list that this export could use
    │    ├─ WarehouseLockedError      another process holds the working database
    │    ├─ UnlikelyExportError       an export with hardly any readable line, person or claim; a person decides
    │    ├─ StorageError              a folder is read-only, the disk is full, or the object store refuses
    │    │    └─ EngineMemoryError      the landing engine has neither memory nor disk space for a table
    │    └─ EncryptionError           the key is missing or another one, or this machine cannot encrypt
    ├─ TransientError               the same call may succeed later; .retry_after_seconds
    │    ├─ RateLimitedError          429: too many requests, or an overlapping job
    │    │    └─ TokenLimitError        429 of the token endpoint
    │    ├─ ServerError               5xx, broken connection, timeout
    │    │    └─ OversizedAnswerError   an answer that is no file is larger than its budget
    │    ├─ StoreUnavailableError     the object store does not answer
    │    └─ IncompleteFileError       a file ended early or is damaged; .file_name .bytes_received
    └─ TerminalError                this run is over; a new one may be asked for
         ├─ ExportFailedError         the job failed, was canceled, or passed its deadline; .job_id
         ├─ ExportExpiredError        the job's files are gone; .job_id
         ├─ ManifestError             the manifest, or an address in it, cannot be trusted
         ├─ OversizedFileError        a file, or what it unpacks to, is larger than an export's; .file_name
         ├─ FileFormatError           a file is not NDJSON in UTF-8; .file_name
         ├─ CountMismatchError        lines read differ from rows landed plus lines quarantined
         ├─ LandingError              the engine could not fill a table; .table
         ├─ WarehouseError            the engine refused a statement
         └─ DataQualityError          what was loaded failed a check; .check_ids

    KeyboardInterrupt
    └─ ExportInterrupted              an export by hand was interrupted; the message says what remains at BCDA

A message says what was wrong, with what, and what to do next. It never holds a person's data, a token or a secret.
"""

from enum import StrEnum

from bcda.bounds import LONGEST_MESSAGE, shortened


class BcdaError(Exception):
    """Base of all errors of this library.

    A message can quote a server, which may say megabytes; what is longer than `LONGEST_MESSAGE` is cut.
    """

    def __init__(self, *args: object) -> None:
        super().__init__(*(shortened(arg, LONGEST_MESSAGE) if isinstance(arg, str) else arg for arg in args))


class ActionNeededError(BcdaError):
    """A person must do something before the same call can work."""


class InvalidRequestError(ActionNeededError, ValueError):
    """The request or a setting is malformed, or BCDA refused it as such (400)."""


class UnknownConnectionError(ActionNeededError):
    """There is no connection of that id."""


class CredentialsError(ActionNeededError):
    """Client id, secret or entitlement was refused (401 at the token endpoint, 401 twice elsewhere, 403).

    Attributes:
        status: HTTP status, or None when it was not BCDA that refused.
        reason: the server's own text, empty when it gave none.
    """

    def __init__(self, message: str, *, status: int | None = None, reason: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class NotAllowListedError(ActionNeededError):
    """Nothing has ever answered; in production connections of an address that is not on the allow list time out."""


class ProxyRefusedError(ActionNeededError):
    """A proxy of the environment refuses its credentials (407) or the way to BCDA (403 and the like).

    Attributes:
        status: HTTP status of the proxy's answer.
    """

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class UntrustedServerError(ActionNeededError):
    """The server's certificate is not trusted: a proxy opens TLS, the certificate has expired, or this is not BCDA."""


class MissingList(StrEnum):
    """Why BCDA has no attribution list for an export (docs/bcda.md#kick-off-refusals)."""

    NO_LIST = "no list from the last weeks"
    RUNOUT_GONE = "runout data is gone"
    WRONG_YEAR = "the newest list is of another year"
    NO_OLDER_LIST = "no list from before the start of the interval"
    UNKNOWN = "not found"


class AttributionMissingError(ActionNeededError):
    """BCDA has no attribution list that the export could use (404 at kick-off).

    Attributes:
        reason: the server's own text.
        case: which of the cases it is.
    """

    def __init__(self, message: str, *, reason: str = "", case: MissingList = MissingList.UNKNOWN) -> None:
        super().__init__(message)
        self.reason = reason
        self.case = case


class WarehouseLockedError(ActionNeededError):
    """Another process holds the working database longer than we were told to wait.

    Attributes:
        holder: that process, such as `process 4711`.
    """

    def __init__(self, message: str, *, holder: str = "another process") -> None:
        super().__init__(message)
        self.holder = holder


class UnlikelyExportError(ActionNeededError):
    """Every file is whole, but what they hold cannot be right: hardly a readable line, nobody, no claim, or half the people."""


class StorageError(ActionNeededError):
    """A place of ours cannot be read or written: read-only, missing, out of space, or refused by the object store."""


class EngineMemoryError(StorageError):
    """The landing engine has no memory for what it was given at a time, and no disk space to spill to."""


class EncryptionError(ActionNeededError):
    """A store is encrypted and the key is missing or wrong, or a key is set and the store is not encrypted. No changes were made."""


class ExportInterrupted(KeyboardInterrupt):
    """An export by hand was interrupted (Ctrl-C); nothing was canceled, and the message says what remains at BCDA."""


class TransientError(BcdaError):
    """The same call may succeed later.

    Attributes:
        retry_after_seconds: how long the server asked us to wait, or None when it did not say.
    """

    def __init__(self, message: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class RateLimitedError(TransientError):
    """429: too many requests, or an overlapping job of the same entity is running."""


class TokenLimitError(RateLimitedError):
    """429 of the token endpoint: the organization has asked for too many tokens; no job is in the way.

    Source: docs/bcda.md#token.
    """


class ServerError(TransientError):
    """5xx, a broken connection or a timeout.

    Attributes:
        status: HTTP status, or None when no answer came.
    """

    def __init__(self, message: str, *, retry_after_seconds: float | None = None, status: int | None = None) -> None:
        super().__init__(message, retry_after_seconds=retry_after_seconds)
        self.status = status


class JobNotCompleteError(ServerError):
    """A job that was complete is running again, or is not complete yet; wait for it."""


class OversizedAnswerError(ServerError):
    """An answer that is no file is larger than its budget (`bcda.budgets`); it was not read to its end."""


class StoreUnavailableError(TransientError):
    """The object store does not answer, breaks off, or is overloaded."""


class IncompleteFileError(TransientError):
    """A download ended early, or its gzip stream is damaged.

    Attributes:
        file_name: our name of the file.
        bytes_received: how many wire bytes are on disk.
    """

    def __init__(
        self, message: str, *, file_name: str, bytes_received: int, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(message, retry_after_seconds=retry_after_seconds)
        self.file_name = file_name
        self.bytes_received = bytes_received


class TerminalError(BcdaError):
    """This run is over; a new one may be asked for."""


class ExportFailedError(TerminalError):
    """The job failed, was canceled, or passed its deadline.

    Attributes:
        job_id: BCDA's number of the job, as text.
        may_work_anew: BCDA's trouble ended the job, so another one may work without a person.
    """

    def __init__(self, message: str, *, job_id: str, may_work_anew: bool = False) -> None:
        super().__init__(message)
        self.job_id = job_id
        self.may_work_anew = may_work_anew


class ExportExpiredError(TerminalError):
    """The job's files are gone; only a new job can bring them back.

    Attributes:
        job_id: BCDA's number of the job, as text.
    """

    def __init__(self, message: str, *, job_id: str) -> None:
        super().__init__(message)
        self.job_id = job_id


class ManifestError(TerminalError):
    """The manifest, or an address in it, cannot be trusted."""


class OversizedFileError(TerminalError):
    """A file, or what it unpacks to, is larger than an export's file can be; it was not read to its end, and not kept.

    Attributes:
        file_name: our name of the file.
    """

    def __init__(self, message: str, *, file_name: str) -> None:
        super().__init__(message)
        self.file_name = file_name


class FileFormatError(TerminalError):
    """A file is whole, but it is not NDJSON in UTF-8.

    Attributes:
        file_name: of the raw file.
    """

    def __init__(self, message: str, *, file_name: str) -> None:
        super().__init__(message)
        self.file_name = file_name


class CountMismatchError(TerminalError):
    """Lines read differ from rows landed plus lines quarantined; nothing was put into place.

    Attributes:
        lines_read: lines in the file.
        rows_landed: resources written.
        lines_quarantined: lines quarantined.
    """

    def __init__(self, message: str, *, lines_read: int, rows_landed: int, lines_quarantined: int) -> None:
        super().__init__(message)
        self.lines_read = lines_read
        self.rows_landed = rows_landed
        self.lines_quarantined = lines_quarantined


class LandingError(TerminalError):
    """The landing engine could not fill a table. The engine's own text is left out: it can quote a resource.

    Attributes:
        table: name of the table.
    """

    def __init__(self, message: str, *, table: str) -> None:
        super().__init__(message)
        self.table = table


class WarehouseError(TerminalError):
    """The engine refused a statement on the warehouse. Its own text is left out: it can quote a row."""


class DataQualityError(TerminalError):
    """What was loaded failed a check of level error; the published database is as it was.

    Attributes:
        check_ids: the checks that failed, each once.
    """

    def __init__(self, message: str, *, check_ids: tuple[str, ...]) -> None:
        super().__init__(message)
        self.check_ids = check_ids
