"""Networks of whole nodes inside one process, on a virtual clock: a seed replays any history."""
