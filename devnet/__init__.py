"""Networks of real nodes on this machine: made, started, disturbed, watched and stopped."""
