-- Messages of format 2 have 13 digits before the payload: when they expire (ms). Needs: header

local EXPIRY = '^[^ ]+ [^ ]+ [^ ]+ ()(%d%d%d%d%d%d%d%d%d%d%d%d%d) '

local function with_expiry(m, ms)
  local at = string.sub(m, 1, 1) == '2' and string.match(m, EXPIRY, 53)
  if not at then return m end
  return string.sub(m, 1, at - 1) .. string.format('%013d', ms) .. string.sub(m, at + 13)
end

local function has_expired(m, now)
  local at, digits
  if string.sub(m, 1, 1) == '2' then at, digits = string.match(m, EXPIRY, 53) end
  return at and tonumber(digits) <= now
end
