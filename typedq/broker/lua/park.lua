#!lua flags=allow-oom
--[[ park: set messages aside until a worker can read their contract.

Guarantee: only the session that holds a message parks it; no counter of the message changes. If
there are too many groups, it becomes a dead letter instead. What was cancelled is dropped.

KEYS    1 in flight  2 parked groups  3 counts  4 dead  5 dead letters  6 stats; then parked lists
ARGV    1 max groups  2 max dead letters  3 their max age (ms)  4 reason if there are too many
        groups; then (list's place, group, id)*
returns number settled
]]
--@include header
--@include message
--@include fields
--@include dead_letter

local now, settled = now_ms(), 0
local bounds = {KEYS[4], KEYS[5], KEYS[6], tonumber(ARGV[2]), tonumber(ARGV[3])}
for i = 5, #ARGV, 3 do
  local group, id = ARGV[i + 1], ARGV[i + 2]
  local m = redis.call('HGET', KEYS[1], id)
  if m then
    local known = redis.call('HEXISTS', KEYS[2], group) == 1
    if is_cancelled(m) then
      end_cancelled(KEYS[3], KEYS[6], m)
    elseif known or redis.call('HLEN', KEYS[2]) < tonumber(ARGV[1]) then
      redis.call('RPUSH', KEYS[6 + tonumber(ARGV[i])], m)
      redis.call('HSETNX', KEYS[2], group, now)
    else
      count(KEYS[3], contract_of(m), -1)
      add_dead_letter(bounds, id, m, ARGV[4])
    end
    settled = settled + redis.call('HDEL', KEYS[1], id) -- last, so errors leave it in flight
  end
end
return settled
