"""A local BCDA server with its quirks, faults and a clock of its own, and the synthetic world that it serves."""

from bcda_simulator.faults import Fault, FaultKind
from bcda_simulator.folder import FolderSource
from bcda_simulator.server import SimulatorServer
from bcda_simulator.settings import Entity, Quirks, SimulatorSettings

__all__ = ["Entity", "Fault", "FaultKind", "FolderSource", "Quirks", "SimulatorServer", "SimulatorSettings"]
