"""Every error tapewatch raises on purpose, split by who must act.

TapewatchError
├── ConfigError        fix the command or the file (carries a path such as $.detector[2].alpha)
├── SourceError
│   ├── Retryable      reconnect with backoff: closed, timeout, 429, 5xx
│   └── Refused        stop this source and say so: bad symbol, protocol change
├── DecodeError        a frame we cannot read: counted, kept on the tape, becomes a Fault
├── TapeError          a damaged or foreign tape (carries file and offset)
│   └── RecordingError the disk takes nothing more; what was recorded is safe
├── StoreError         the alert store cannot be read or written
├── DeliveryError      a sink could not deliver; retryable or not
├── SessionBusy        another process owns the session directory
└── ReplayMismatch     a replay differs from the record: first differing sequence number
"""


class TapewatchError(Exception):
    """Root of all expected errors; its text is shown to the user as it is."""

    exit_code = 1


class ConfigError(TapewatchError):
    """The user's input is wrong. `path` is where (a TOML path or an option name)."""

    exit_code = 2

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.path = path


class SourceError(TapewatchError):
    """Trouble with a venue."""

    exit_code = 69


class Retryable(SourceError):
    """Transient: try again after `retry_after_s` (None: the caller's own backoff)."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Refused(SourceError):
    """The venue says no, and will say no again."""

    exit_code = 2


class DecodeError(TapewatchError):
    """A frame that is not what the venue's protocol promises."""


class TapeError(TapewatchError):
    """A tape that cannot be read or written. `path` and `offset` say where."""

    exit_code = 5

    def __init__(self, message: str, path: str = "", offset: int | None = None) -> None:
        where = f"{path}" if offset is None else f"{path} at byte {offset:,}"
        super().__init__(f"{where}: {message}" if where else message)
        self.path, self.offset = path, offset


class RecordingError(TapeError):
    """The tape cannot be written any more; what is on it is safe."""

    exit_code = 1


class StoreError(TapewatchError):
    """The alert store is damaged, foreign, locked or full."""


class DeliveryError(TapewatchError):
    """A sink failed. `retryable` says whether trying again can help; `held` that the receiver is
    there and takes nothing at the moment, so that an alert is owed for as long as that lasts."""

    def __init__(
        self,
        message: str,
        *,
        retryable: bool,
        retry_after_s: float | None = None,
        held: bool = False,
    ) -> None:
        super().__init__(message)
        self.retryable, self.retry_after_s, self.held = retryable, retry_after_s, held


class SessionBusy(TapewatchError):
    """The session directory belongs to another running process."""


class ReplayMismatch(TapewatchError):
    """Replaying a tape did not reproduce what was recorded on it."""

    exit_code = 5
