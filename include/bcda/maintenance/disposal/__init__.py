"""Disposing of a person, a period or a whole source: from raw files, lake, databases, reports and figures, with a certificate."""

from bcda.maintenance.disposal.certificate import Certificate, paths_of
from bcda.maintenance.disposal.run import Found, dispose, look
from bcda.maintenance.disposal.scope import Period, Person, Scope, WholeSource

__all__ = ["Certificate", "Found", "Period", "Person", "Scope", "WholeSource", "dispose", "look", "paths_of"]
