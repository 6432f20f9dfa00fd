#!lua flags=allow-oom
--[[ tick: make due messages ready, replace lost wake tokens, and name expired sessions.

Guarantee: at most 500 messages move. If the last tick is older than the grace, or the clock jumped,
leases are extended instead of expired, at most once between two renewals of a session.

KEYS    1 sessions  2 session queues  3 lease extended  4 last tick; per queue ready, delayed, wake
ARGV    1 grace (ms)  2 lease (ms)
returns {ms until the next is due or -1, messages moved, (session, its queues)*}
]]
--@include header
--@include wake
--@include due

local now, lease = now_ms(), tonumber(ARGV[2])
local last = tonumber(redis.call('GET', KEYS[4]) or '') or 0
if now - last > tonumber(ARGV[1]) or last - now > tonumber(ARGV[1]) then
  for _, session in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
    if redis.call('SADD', KEYS[3], session) == 1 then
      redis.call('ZADD', KEYS[1], 'XX', now + lease, session)
    end
  end
end
redis.call('SET', KEYS[4], now)

local moved, next_due = 0, -1
for k = 4, #KEYS - 3, 3 do
  moved = moved + promote(KEYS[k + 1], KEYS[k + 2], now, 500 - moved)
  pass_token(KEYS[k + 1], KEYS[k + 3])
  local head = redis.call('ZRANGE', KEYS[k + 2], 0, 0, 'WITHSCORES')
  if head[2] then
    local ms = math.max(0, head[2] - now)
    if next_due < 0 or ms < next_due then next_due = ms end
  end
end

local reply = {next_due, moved}
for _, session in ipairs(redis.call('ZRANGE', KEYS[1], '-inf', now, 'BYSCORE', 'LIMIT', 0, 50)) do
  if string.find(session, '^[%w_-]+$') then
    reply[#reply + 1] = session
    reply[#reply + 1] = redis.call('HGET', KEYS[2], session) or ''
  else -- not a session
    redis.call('ZREM', KEYS[1], session)
    redis.call('HDEL', KEYS[2], session)
  end
end
return reply
