"""From raw files to the lake: bounded line reader, quarantine, mapping engine, Parquet writer."""

from bcda.landing.batch import land_files

__all__ = ["land_files"]
