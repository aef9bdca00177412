"""Self-diagnosis: what is wrong with the connection and with our own places, in one screen and without changing anything."""

from bcda.doctor.check import Check, Status
from bcda.doctor.connection import check_connection
from bcda.doctor.report import has_failed, in_short, table
from bcda.doctor.storage import check_storage

__all__ = ["Check", "Status", "check_connection", "check_storage", "has_failed", "in_short", "table"]
