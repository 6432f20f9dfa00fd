#!lua flags=allow-oom
--[[ unpark: fetch parked messages of one group, for a worker that can read them.

Guarantee: fetched messages are in flight before the reply is sent; a paused queue returns none.
Never sent twice: after a lost reply, the session is replaced.

KEYS    1 sessions  2 in flight  3 parked groups  4 parked list  5 paused (ready lists)  6 dead
        7 dead letters  8 stats
ARGV    1 session  2 max messages  3 group  4 ready list of its queue  5 max dead letters
        6 their max age (ms)  7 reason for malformed messages
returns {"ended"} if the session has ended, else {"ok", 0, {message*}*}
]]
--@include header
--@include message
--@include fetch

if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return {'ended'} end
local reply = {'ok', 0}
if redis.call('SISMEMBER', KEYS[5], ARGV[4]) == 1 then return reply end
local bounds = {KEYS[6], KEYS[7], KEYS[8], tonumber(ARGV[5]), tonumber(ARGV[6])}
fetch({KEYS[4]}, KEYS[2], tonumber(ARGV[2]), reply, bounds, ARGV[7])
if redis.call('LLEN', KEYS[4]) == 0 then redis.call('HDEL', KEYS[3], ARGV[3]) end
return reply
