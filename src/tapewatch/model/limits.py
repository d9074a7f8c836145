"""Every static limit in one place. Hitting one is a counter and a `Fault`, never silence."""

from typing import Final

INBOX_INPUTS: Final = 65_536  # inputs waiting for the engine
BATCH_INPUTS: Final = 256  # inputs stepped per turn of the event loop (about 1 ms of work)
KEYS_PER_DETECTOR: Final = 10_000  # live states; the idlest is evicted and counted
FRAME_BYTES: Final = 1 << 20  # one wire frame or HTTP body
BOOK_DEPTH: Final = 1_000  # price levels a side
SINK_QUEUE: Final = 10_000  # outputs waiting for one sink
TRADE_ID_RING: Final = 4_096  # recent trade keys kept for de-duplication
GAP_RANGES: Final = 64  # open holes in a trade id sequence, per instrument
TIMER_S: Final = 1.0  # cadence of the engine's Timer input
COMMIT_S: Final = 0.05  # tape group commit: the most a crash may lose of raw frames
FRAME_S: Final = 1.0  # a tape frame is closed at least this often
FRAME_RECORDS: Final = 1_000  # ... or after so many records
SEGMENT_BYTES: Final = 256 << 20  # a tape segment is rotated beyond this size
RESERVE_BYTES: Final = 16 << 20  # disk space held back for alerts when the disk fills up
TEXT_CHARS: Final = 200  # venue text shown in one field

assert BATCH_INPUTS < INBOX_INPUTS
assert COMMIT_S < FRAME_S <= TIMER_S
assert RESERVE_BYTES < SEGMENT_BYTES
