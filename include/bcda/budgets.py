"""How much memory, disk and time anything may take: every budget is here, the network's first, those of landing at the end.

Nothing that a server sends takes more than a budget, whatever it says of itself. A few budgets are defaults of settings
(`bcda.settings.Tuning`), which a user can raise. Bounds on texts for people are in `bcda.bounds`.
"""

MEGABYTE = 1_000_000

# The network: bytes

PIECE_BYTES = 1 << 16
"""Bytes of one piece of an answer as it is read; a budget of bytes is overrun by one piece at most."""

HEADER_BYTES = 100 << 10
"""Bytes of the header block of an answer; the HTTP library's own limit (`httpcore`), which a test shows to be in force."""

ANSWER_BYTES = 1 << 20
"""Bytes of an answer that is neither a file, a token, a list of jobs nor a manifest, on the wire and decoded alike.

Of an answer that is no success no more than this is read, and its status counts as if that were all of it.
"""

TOKEN_BYTES = 64 << 10
"""Bytes of the token endpoint's answer; a token has one or two kilobytes."""

JOB_LIST_BYTES = 16 << 20
"""Bytes of the list of jobs. BCDA lists all jobs since ever, with half a kilobyte each (docs/bcda.md#job-list): 30,000 jobs."""

MANIFEST_MEGABYTES = 32.0
"""Default of the setting for the answer to a status request. A file takes about 130 bytes of a manifest: 250,000 files, of
which each holds the claims of up to 50 people (docs/bcda.md#job-states)."""

MOST_JSON_VALUES = 1_000_000
"""Values in one answer of a server. A value of a few bytes takes a hundred in memory; a manifest has three for each file."""

# The network: time

CONNECT_SHARE = 0.5
"""Part of the time of a request (`request_timeout_seconds`) that making the connection may take."""

HELD_SECONDS = 60.0
"""Longest time that the tries of one request hold a process by waiting. After that, or before a longer Retry-After, the error is
raised: the scheduler waits without a worker."""

LONGEST_WAIT_SECONDS = 86_400.0
"""Longest wait that a server can ask for. Files live a day, so a server that asks for more is mistaken."""

LONGEST_WAITS_SECONDS = 86_400.0
"""Longest total wait of a task at the request of a server; a task that would wait longer fails."""

LIST_WAITS_SECONDS = 90 * 86_400.0
"""How long a run waits in all for an attribution list. The closure of January takes a month and a half (docs/bcda.md#calendar)."""

GIVE_UP_SECONDS = 1_800.0
"""How long a job is tried to be canceled after its deadline; BCDA's troubles are mostly shorter."""

UNCONFIRMED_SECONDS = 600.0
"""How long a deadline that only this machine's clock says has passed waits for BCDA's clock, while BCDA answers nothing."""

BURST_SHARE = 0.8
"""Part of the request budget of five minutes that may be used at once; the rest is spread, so that no process stands still."""

# Downloads

FILE_MEGABYTES = 4_096.0
"""Default of the setting for one file as it comes over the network. Fifty people with 2,000 claims each of 45 kB are 4.5 GB of
NDJSON, which is 0.1 to 0.45 GB compressed (docs/bcda.md#data-files)."""

UNPACKED_TIMES = 20
"""How many times the setting for one file its content may be."""

UNPACKS_TO_BYTES = 256 << 20
"""What any file may unpack to without its size being looked at."""

UNPACKS_TO_TIMES = 200
"""What a larger one may unpack to, in sizes of its own. NDJSON of BCDA shrinks to a tenth to a fortieth; gzip can shrink nonsense to
a thousandth, and a file that fills the disk when unpacked is no export."""

FREE_DISK_MEGABYTES = 500.0
"""Default of the setting for what a download leaves free on the file system of the raw folder."""

DISK_CHECK_BYTES = 8 << 20
"""After so many bytes of a file the free space is looked at again. Sixteen files at once overrun the reserve by 128 MB."""

FIRST_BYTES = 64
"""Bytes of the content of a file by which it is told from a page or another format, as soon as they are there."""

LEAST_BYTES_PER_SECOND = 1_024.0
"""Default of the setting for the least average speed of a download. BCDA ends a transfer after 15 minutes (docs/bcda.md#downloads)."""

SPEED_SECONDS = 60.0
"""Time over which the speed of a download is averaged."""

FILE_SECONDS = 14_400.0
"""Time of one file in one try of a task, all its transfers together; what came by then is kept for the next try."""

# Landing, as `benchmarks/landing_budgets.py` measures it with ten times as much

LANDING_BYTES = 1 << 30
"""Memory of a process that lands a batch of any content, all in all. Ordinary content takes less than 600 MiB."""

LANDING_ENGINE_BYTES = 384 << 20
"""Memory of the parsing engine that DuckDB counts, before it spills to disk."""

SLICE_BYTES = 32 << 20
"""Text that the reader holds. Each slice is planned once, which costs as much as parsing 2 MB."""

SLICE_LINES = 65_536
"""Lines that the reader holds; ordinary ones have more than 500 bytes, so the bytes are what fills a slice."""

LINE_BYTES = 20 << 20
"""Longest line that is read. The longest claim that BCDA's makers know of has less than 1 MiB."""

LINE_ELEMENTS = 250_000
"""Objects, lists and elements of lists in one line. An element without content takes 3 bytes of text and 320 in the engine."""

LINE_SIDE_LIST = 1_000
"""Elements of a list beside the claim's items, such as its diagnoses: each item looks through all of them."""

LINE_REPEATED_BYTES = 128 << 20
"""Items of a claim times its longest text: a text of the claim can be repeated for each of them."""

ORDINARY_COMMAS = 2_000
"""Commas in a line that needs no closer look. Simulated claims have up to 1,952, and 590 as a rule."""

ORDINARY_LINE_BYTES = 1 << 20
"""Length of a line that needs no closer look, and of one that Python parses."""

ORDINARY_ELEMENTS = 500_000
"""Elements in 2,048 lines, at which the engine works at a time, that need no closer look. Simulated claims have 380,000."""

PORTION_ELEMENTS = 250_000
"""Elements, as of `LINE_ELEMENTS`, of lines that are parsed and gathered together once a slice needs a closer look."""

GATHER_BYTES = 288 << 20
"""Text that is parsed before the tables are filled: enough to make planning fifteen queries cheap."""

GROUP_ROWS = 122_880
"""Rows of a table that are held before they are written as one row group."""

GROUP_BYTES = 64 << 20
"""Bytes of such rows."""

UNKNOWN_NAMES = 1_000
"""Names and elements never seen before that are noted of one group of rows, or of one slice; more are another format."""

QUARANTINE_LISTED = 1_000
"""Quarantined lines of one file and one reason that are listed one by one; the others are counted."""

QUARANTINE_TEXT_BYTES = 16 << 10
"""Text that is kept of a quarantined line; the raw file has all of it."""

# DuckDB, in every stage

ENGINE_MEMORY = "1GB"
"""Memory of a connection that merges, publishes, compacts, compares or asks; what does not fit is spilled."""

ENGINE_THREADS = 4
"""Threads of such a connection at most: each needs its own share of the memory."""

SPILL_BYTES = 256 << 30
"""Disk that a connection spills to, at most."""

SPILL_SHARE = 0.9
"""Share of the free disk that a connection spills to, at most."""
