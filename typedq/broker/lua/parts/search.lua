-- Look for one message by its id: in flight and dead by name, then through waiting messages, at
-- most 2,000 or about 4 MiB a call. Sets are read before the lists that they feed, from the last
-- due time, and lists from the tail: what moves on meanwhile hides no other message.
-- Needs: message. KEYS from `base` + 1 on: in-flight hashes, sets, then lists; KEYS[1] dead letters

local PAGE, MAX_LOOKED, MAX_BYTES = 50, 2000, 2 ^ 22

-- Return {its key's place or 0, message, next place or 0, offset there, number looked at}.
local function search(base, id, sessions, sets, place, offset)
  local dead = redis.call('HGET', KEYS[1], id)
  if dead then return {1, dead, 0, 0, 0} end
  for k = base + 1, base + sessions do
    local m = redis.call('HGET', KEYS[k], id)
    if m then return {k, m, 0, 0, 0} end
  end
  local looked, bytes = 0, 0
  place = math.max(place, base + sessions + 1)
  while place <= #KEYS and looked < MAX_LOOKED and bytes < MAX_BYTES do
    local page
    if place <= base + sessions + sets then
      page = redis.call('ZRANGE', KEYS[place], offset, offset + PAGE - 1, 'REV')
    else
      page = redis.call('LRANGE', KEYS[place], -offset - PAGE, -offset - 1)
    end
    for _, m in ipairs(page) do
      if string.sub(m, 26, 51) == id and is_message(m) then
        return {place, m, 0, 0, looked + #page}
      end
      bytes = bytes + #m
    end
    looked, offset = looked + #page, offset + #page
    if #page < PAGE then place, offset = place + 1, 0 end
  end
  return {0, '', place <= #KEYS and place or 0, offset, looked}
end
