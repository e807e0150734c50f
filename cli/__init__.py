"""The `dure` command: networks of nodes on this machine, for people."""
