#!lua flags=allow-oom
--[[ release: take the oldest messages out of one parked group, at most 500 a call.

Guarantee: a message leaves the parked list in the step that makes it ready, dead or purged. What
has expired becomes no dead letter; it ends as expired.

KEYS    1 parked list  2 parked groups  3 counts  4 dead  5 dead letters  6 stats; then ready,
        delayed, wake of the group's queue
ARGV    1 group  2 "ready" | "dead" | "purged"  3 only messages due before (ms)
        4 max dead letters  5 their max age (ms)  6 reason of the dead letters
returns {number released, number left}
]]
--@include header
--@include message
--@include fields
--@include wake
--@include expiry
--@include dead_letter

local released, now = 0, now_ms()
local bounds = {KEYS[4], KEYS[5], KEYS[6], tonumber(ARGV[4]), tonumber(ARGV[5])}
while released < 500 do
  local m = redis.call('LINDEX', KEYS[1], 0)
  if not m then break end
  local whole = is_message(m)
  if whole then
    local due = math.max(tonumber(string.sub(m, 12, 24)), tonumber(string.sub(m, 26, 36), 16) or 0)
    if due >= tonumber(ARGV[3]) then break end
  end
  if ARGV[2] == 'ready' then
    redis.call('RPUSH', KEYS[7], m)
    add_token(KEYS[9])
  else
    if whole then count(KEYS[3], contract_of(m), -1) end
    if ARGV[2] == 'dead' and whole and has_expired(m, now) then
      count(KEYS[6], 'expired', 1)
    elseif ARGV[2] == 'dead' then
      add_dead_letter(bounds, id_of(m), m, ARGV[6])
    end
  end
  redis.call('LPOP', KEYS[1]) -- last, so errors leave it parked
  released = released + 1
end
local left = redis.call('LLEN', KEYS[1])
if left == 0 then redis.call('HDEL', KEYS[2], ARGV[1]) end
return {released, left}
