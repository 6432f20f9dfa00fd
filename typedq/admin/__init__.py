"""Inspect and change queues, dead letters, parked messages and contracts: for CLI and programs.

Times are ISO 8601 in UTC, fields that end in `_s` are seconds, fields that end in `_ms` are
milliseconds since the epoch on the server's clock.
"""
