#!lua
--[[ broadcast: accept a message for every supervisor, and keep it for disconnected ones.

Guarantee: as enqueue. A gap in the numbers tells a supervisor how many it missed.

KEYS    1 last sequence number of the producer  2 contracts  3 stats  4 broadcasts (stream)
ARGV    1 sequence number  2 its time to live (s)  3 how long broadcasts are kept (ms)
        4 contract  5 message; then (contract, schema)*
returns {"accepted"} | {"seen"} | {"unknown", contract}
]]
--@include header

local last = string.match(redis.call('GET', KEYS[1]) or '', '^%d+')
if tonumber(ARGV[1]) <= (tonumber(last) or 0) then return {'seen'} end
for i = 6, #ARGV, 2 do redis.call('HSETNX', KEYS[2], ARGV[i], ARGV[i + 1]) end
if redis.call('HEXISTS', KEYS[2], ARGV[4]) == 0 then return {'unknown', ARGV[4]} end

local number = redis.call('HINCRBY', KEYS[3], 'broadcast', 1)
local oldest = string.format('%d', now_ms() - tonumber(ARGV[3]))
redis.call('XADD', KEYS[4], 'MINID', oldest, '*', 'n', number, 'm', ARGV[5])
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return {'accepted'}
