"""What operators see and do, as plain data and functions: for the command line and for programs.

Times are ISO 8601 in UTC, fields that end in `_s` are seconds, fields that end in `_ms` are
milliseconds since the epoch on the server's clock.
"""
