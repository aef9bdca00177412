"""How much memory and disk a stage may take, whatever a server sends: every budget is here.

`benchmarks/landing_budgets.py` measures what landing takes when it meets ten times as much.
"""

# --- Landing -----------------------------------------------------------------------------------------------------------

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

# --- DuckDB, in every stage --------------------------------------------------------------------------------------------

ENGINE_MEMORY = "1GB"
"""Memory of a connection that merges, publishes, compacts, compares or asks; what does not fit is spilled."""

ENGINE_THREADS = 4
"""Threads of such a connection at most: each needs its own share of the memory."""

SPILL_BYTES = 256 << 30
"""Disk that a connection spills to, at most."""

SPILL_SHARE = 0.9
"""Share of the free disk that a connection spills to, at most."""
