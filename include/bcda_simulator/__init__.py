"""A local BCDA server with its quirks, faults and a clock of its own, and the synthetic world that it serves."""
