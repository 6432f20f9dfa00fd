"""Bytes in a ready list that are no message."""

HEAD = b"1 0 00 000 0000000000000 "
ID = b"0" * 26
GARBAGE = {
    "empty": b"",
    "text": b"hello",
    "cut": HEAD + ID,
    "no body": HEAD + ID + b" t@00 q - ",
    "version": b"0" + HEAD[1:] + ID + b" t@00 q - {}",
    "short id": HEAD + b"abc t@00 aaaaaaaaaaaaaaaaaaa q - {}",
    "space in the id": HEAD + b"0" * 25 + b"  t@00 q - {}",
    "space at the place of the contract": HEAD + b"abc t@00 qqqqqqqqqqqqqqqqq  - {}",
    "no fingerprint": HEAD + ID + b" t q - {}",
    "bad UTF-8 in a name": HEAD + ID + b" \xff\xfe@00 q - {}",
    "control characters in a queue": HEAD + ID + b" t@00 q\r\n - {}",
    "NUL": b"\x00" * 60,
    "negative": b"1 0 00 -01 0000000000000 " + ID + b" t@00 q - {}",
}
