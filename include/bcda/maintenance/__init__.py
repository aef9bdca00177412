"""Keeping a source's data in order: retention, compaction, health, another key or mapping, and rebuilding each store."""

from bcda.api.deadlines import Finding, check_secret
from bcda.maintenance.cclf_files import Month, WrittenFile, write_cclf_files
from bcda.maintenance.change_key import ChangedKey, change_key
from bcda.maintenance.compaction import compact_lake
from bcda.maintenance.disposal import dispose, look
from bcda.maintenance.health import check_freshness, data_status
from bcda.maintenance.rebuild import Rebuilt, rebuild_lake, rebuild_warehouse
from bcda.maintenance.remap import Change, Remapped, remap
from bcda.maintenance.repair_timestamps import RepairedTimestamps, repair_timestamps
from bcda.maintenance.retention import PurgedRaw, purge_raw
from bcda.maintenance.upload import Uploaded, upload

__all__ = [
    "Change",
    "ChangedKey",
    "Finding",
    "Month",
    "PurgedRaw",
    "Rebuilt",
    "Remapped",
    "RepairedTimestamps",
    "Uploaded",
    "WrittenFile",
    "change_key",
    "check_freshness",
    "check_secret",
    "compact_lake",
    "data_status",
    "dispose",
    "look",
    "purge_raw",
    "rebuild_lake",
    "rebuild_warehouse",
    "remap",
    "repair_timestamps",
    "upload",
    "write_cclf_files",
]
