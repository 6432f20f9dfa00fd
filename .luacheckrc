-- Checked by tests/broker/test_lua.py, on each script with its parts put in.
std = "lua51"
read_globals = {"redis", "KEYS", "ARGV"}
max_line_length = 100
ignore = {"43"} -- parts name their arguments as their callers do
