"""Every static limit in one place. Hitting one is a counter and a `Fault`, never silence."""

from typing import Final

INBOX_INPUTS: Final = 65_536  # inputs waiting for the engine
BATCH_INPUTS: Final = 256  # inputs stepped per turn of the event loop
KEYS_PER_DETECTOR: Final = 100_000  # live states; the idlest is evicted and counted
FRAME_BYTES: Final = 1 << 20  # one wire frame or HTTP body
BOOK_DEPTH: Final = 1_000  # price levels a side
OUTPUTS_WAITING: Final = 65_536  # outputs kept while the disk refuses their evidence
SINK_QUEUE: Final = 10_000  # outputs waiting for one sink
TRADE_ID_RING: Final = 4_096  # recent trade keys kept for de-duplication
GAP_RANGES: Final = 64  # open holes in a trade id sequence, per instrument
WINDOW_SAMPLES: Final = 100_000  # samples (or seconds) in one rolling window
SOCKET_FRAMES: Final = 16  # frames buffered inside one websocket before TCP is paused
SOCKET_SENDS: Final = 1_000  # messages waiting to be sent over one websocket
FETCHES: Final = 256  # HTTP requests waiting to answer the engine
HTTP_HOSTS: Final = 64  # hosts whose request pace is remembered
CONTROL_BYTES: Final = 4_096  # size of the kill switch file
SINK_BATCH: Final = 100  # outputs given to a sink at once
NARRATION_LINES: Final = 1_000  # lines for people that wait for a terminal
LOST_SPANS: Final = 1_000  # times without complete data that a session's account tells apart
OUTBOX_SAMPLED: Final = 10_000  # sampled normal reports that wait for one bus
BUS_BATCH: Final = 500  # messages published at once
SINK_ATTEMPTS: Final = 10  # deliveries tried before a dead letter
TIMER_S: Final = 1.0  # cadence of the engine's Timer input
SAMPLE_S: Final = 5.0  # length of a sample: 1-s ones are mostly empty or one trade
COMMIT_S: Final = 0.05  # tape group commit: the most a crash may lose of raw frames
FRAME_S: Final = 1.0  # a tape frame is closed at least this often
FRAME_RECORDS: Final = 1_000  # ... or after so many records
TAPE_FRAME_BYTES: Final = 4 << 20  # ... or after so many bytes of records
UNPACKED_BYTES: Final = 64 << 20  # a tape frame that unpacks to more, or such a record, is refused
PENDING_RECORDS: Final = 65_536  # records in memory that are not yet on the disk
PENDING_BYTES: Final = 64 << 20  # ... and their size
TAPE_PROBLEMS: Final = 100  # problems of one tape that are told one by one
SEGMENT_BYTES: Final = 256 << 20  # a tape segment is rotated beyond this size
FILE_BUFFER_BYTES: Final = 64 << 10  # raw rows waiting to be written to the session's file
IMPORT_PROBLEMS: Final = 20  # bad rows of an import that are told one by one
QUIET_TIMERS: Final = 700_000  # timers put into one quiet stretch of an import: 8 days of seconds
ROW_BYTES: Final = 1 << 20  # one line of an imported file
RESERVE_BYTES: Final = 16 << 20  # disk space held back for alerts when the disk fills up
TEXT_CHARS: Final = 200  # venue text shown in one field
LINE_BYTES: Final = 1 << 20  # one line of `scan`; a longer one is reported and skipped
JSON_BYTES: Final = 256 << 20  # a JSON document of `scan`, which is read as a whole
SCAN_PROBLEMS: Final = 100  # malformed lines of one `scan` that are told one by one
LINE_FORMS: Final = 1_024  # forms of lines (all but their digits) remembered for their entropy
LINE_FORM_BYTES: Final = 512  # ... of lines up to this size
PRICE_TEXTS: Final = 16_384  # texts of prices whose value is remembered
POLYMARKET_MARKETS: Final = 10_000  # markets of one session, those that are found later included
MARKET_CACHE_WORDS: Final = 1_000  # words whose markets are remembered between sessions
MARKET_CACHE_BYTES: Final = 64 << 20  # a larger file of them is not read
APPROVALS_BYTES: Final = 4 << 20  # of the record of approvals
BASELINE_BYTES: Final = 4 << 20  # one packed baseline that comes back from elsewhere
BASELINES: Final = 10_000  # baselines that come back in one start
BASELINES_BYTES: Final = 64 << 20  # ... and their size
GATE_MARKETS: Final = 100_000  # markets that the gate for strategies remembers
GATE_INSTRUMENTS: Final = 8  # instruments that may share one of them: outcomes, and the chain
ADVICE_BYTES: Final = 16_384  # one answer of the gate over HTTP
SHADOW_LOG_BYTES: Final = 64 << 20  # a shadow log is rotated beyond this size; one old one is kept
SHADOW_MARKETS: Final = 10_000  # markets whose last line in a shadow log is remembered
GATE_MESSAGES: Final = 10_000  # messages of a bus that wait for the gate
HTTP_REQUESTS: Final = 32  # requests that the HTTP interface answers at once
HTTP_CONNECTIONS: Final = 128  # ... over so many connections
HTTP_BODY_BYTES: Final = 4_096  # of one of its requests
HTTP_HEADER_BYTES: Final = 4_096  # of one line or field of one of its requests

assert BATCH_INPUTS < INBOX_INPUTS
assert COMMIT_S < FRAME_S <= TIMER_S
assert TAPE_FRAME_BYTES < RESERVE_BYTES < SEGMENT_BYTES  # what is pending fits into the reserve
assert FRAME_BYTES < TAPE_FRAME_BYTES < UNPACKED_BYTES
