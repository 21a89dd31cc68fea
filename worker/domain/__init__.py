"""The decisions, and nothing else: no clock, no I/O, no Kafka, no HTTP (`tests/unit/test_imports.py` says so).

Times are whole milliseconds since the epoch, durations whole milliseconds.
"""
