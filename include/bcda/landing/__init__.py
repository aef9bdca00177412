"""From raw files to the lake: bounded line reader, quarantine, mapping engine, Parquet writer; and from its resources again."""

from bcda.landing.again import KEPT_TABLES, land_again
from bcda.landing.batch import land_files

__all__ = ["KEPT_TABLES", "land_again", "land_files"]
