#!lua flags=allow-oom
--[[ find: look for one message by its id, through a part of what waits. Changes nothing.

Guarantee: a call is one moment. If it reads all that waits, its answer is exact.

KEYS    1 dead letters; then in flight of sessions, delayed of queues, lists of waiting messages
ARGV    1 id  2 number of sessions  3 number of delayed sets  4 place to go on at, 0 for the first
        5 offset there
returns {its key's place or 0, message (of a dead letter: with its reason), next place or 0,
         offset there, number looked at}
]]
--@include header
--@include message
--@include search

local n = {}
for i = 2, 5 do n[i] = tonumber(ARGV[i]) end
return search(1, ARGV[1], n[2], n[3], n[4], n[5])
