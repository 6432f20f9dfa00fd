#!lua
--[[ enqueue: accept all messages or none, and at most once even if sent again.

Guarantee: a producer's sequence number is accepted once; a resend returns "seen" and does nothing.
If a contract is unknown, nothing is written, and the producer sends the call again with its schema.
At maxmemory the server refuses the script before it starts.

KEYS    1 last sequence number of the producer  2 contracts  3 counts  4 supervisors' wake token;
        then per queue ready, delayed, wake
ARGV    1 sequence number  2 its time to live (s)  3 number of schemas, then (contract, schema)*;
        then groups of messages: (queue's place, "now" | "delay" | "eta", ms, contract, number,
        message*)
returns {"accepted"} | {"seen"} | {"unknown", contract*}
]]
--@include header
--@include wake

local seq = tonumber(ARGV[1])
if seq <= (tonumber(redis.call('GET', KEYS[1]) or '0') or 0) then return {'seen'} end

local groups = 4 + 2 * tonumber(ARGV[3])
for i = 4, groups - 1, 2 do redis.call('HSETNX', KEYS[2], ARGV[i], ARGV[i + 1]) end

local unknown, at = nil, groups
while at <= #ARGV do
  if redis.call('HEXISTS', KEYS[2], ARGV[at + 3]) == 0 then
    unknown = unknown or {'unknown'}
    unknown[#unknown + 1] = ARGV[at + 3]
  end
  local next = at + 5 + tonumber(ARGV[at + 4])
  if at > groups or next <= #ARGV then -- keys of the wrong type must fail before any write
    local k = 4 + 3 * (tonumber(ARGV[at]) - 1)
    redis.call('LLEN', KEYS[k + 1])
    if ARGV[at + 1] ~= 'now' then redis.call('ZRANK', KEYS[k + 2], '') end
  end
  at = next
end
if unknown then return unknown end

at = groups
while at <= #ARGV do
  local k, mode, due = 4 + 3 * (tonumber(ARGV[at]) - 1), ARGV[at + 1], tonumber(ARGV[at + 2])
  local first, last = at + 5, at + 4 + tonumber(ARGV[at + 4])
  local now = mode ~= 'now' and now_ms()
  if mode == 'delay' then due = now + due end
  if not now or due <= now then
    -- Lua's stack limits unpack to about 8,000 values
    for i = first, last, 4000 do
      redis.call('RPUSH', KEYS[k + 1], unpack(ARGV, i, math.min(i + 3999, last)))
    end
    add_token(KEYS[k + 3])
  else
    --@include due
    for i = first, last do delay(KEYS[k + 2], with_due(ARGV[i], due), due, KEYS[4]) end
  end
  count(KEYS[3], ARGV[at + 3], ARGV[at + 4])
  at = last + 1
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return {'accepted'}
