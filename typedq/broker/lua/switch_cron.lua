#!lua flags=allow-oom
--[[ switch_cron: pause a cron entry, or resume it.

Guarantee: after a pause, no slot of the entry fires. After a resume, none that passed before it.

KEYS    1 cron_paused
ARGV    1 entry  2 "pause" or "resume"
returns 1 if that changed something, else 0
]]
--@include header
--@include paused_cron

local pause = ARGV[2] == 'pause'
if pause == (resumed_ms(KEYS[1], ARGV[1]) < 0) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], pause and -now_ms() or now_ms())
return 1
