#!lua
--[[ cron: fire slots of cron entries, each once for any number of supervisors.

Guarantee: a slot fires if it is due by the server's clock, newer than the last slot of its entry,
newer than the first call for that entry, and if the entry is not paused and was not until then.

KEYS    1 cron  2 contracts  3 counts  4 cron_paused; then per queue ready, delayed, wake
ARGV    1 number of schemas, then (contract, schema)*; then (entry, slot (ms), queue's place,
        contract, message)*, the slots of an entry in their order; slot 0 only asks
returns {server ms, (the time after which slots of the entry fire (ms), 1 if fired now else 0)*}
]]
--@include header
--@include paused_cron
--@include wake

local now, at = now_ms(), 2 + 2 * tonumber(ARGV[1])
for i = 2, at - 1, 2 do redis.call('HSETNX', KEYS[2], ARGV[i], ARGV[i + 1]) end

local reply = {now}
for i = at, #ARGV, 5 do
  local entry, slot, k = ARGV[i], tonumber(ARGV[i + 1]), 3 * tonumber(ARGV[i + 2])
  local last, fired = math.abs(tonumber(redis.call('HGET', KEYS[1], entry) or '') or 1e99), 0
  if last >= 1e14 or last ~= last then -- unknown, or not a time
    redis.call('HSET', KEYS[1], entry, -now) -- negative: it has not fired yet
    last = now
  end
  local resumed = resumed_ms(KEYS[4], entry)
  last = math.max(last, resumed < 0 and now or resumed)
  if slot > last and slot <= now then
    redis.call('RPUSH', KEYS[k + 2], with_due(ARGV[i + 4], slot))
    redis.call('HSET', KEYS[1], entry, ARGV[i + 1])
    count(KEYS[3], ARGV[i + 3], 1)
    add_token(KEYS[k + 4])
    last, fired = slot, 1
  end
  reply[#reply + 1] = last
  reply[#reply + 1] = fired
end
return reply
