"""The figures of README.md and docs/performance.md, measured from outside on real processes.

Load goes to 127.0.0.1 only. Every process is ended by the measure that started it, by its process id.
"""
