"""The state machine of a message, an arrow a row; docs/protocol.md is drawn from it.

A row: the moves that make it, from, to, what they count in the message's header, when.
"""

ARROWS = [
    tuple(cell.strip() for cell in row.split("|"))
    for row in """\
enqueue, cron | | ready | | due at once; or a slot of a cron entry
enqueue | | delayed | | due later
broadcast | | broadcast | | told to every supervisor; kept for an hour
broadcast | broadcast | purged | | its hour is over when another is told
deliver | broadcast | ready | | a copy for each supervisor, in a queue of its own
abandon | ready | purged | | a copy whose supervisor is gone
abandon | delayed | purged | | a copy whose supervisor is gone
tick, settle_and_fetch | delayed | ready | | its time has come
settle_and_fetch, fetch_idle | ready | in flight | | fetched
settle_and_fetch, recover_session | in flight | done | | it ended well
settle_and_fetch, recover_session | in flight | ready | | handed back before it began
settle_and_fetch | in flight | ready | attempts | it failed, and runs again at once
settle_and_fetch | in flight | delayed | attempts | it failed, and runs again later
settle_and_fetch | in flight | dead | | it failed for good
settle_and_fetch, recover_session | in flight | purged | | a copy: unreadable, or supervisor gone
recover_session | in flight | ready | crashes | its process died while it ran alone
recover_session | in flight | ready | losses | its process died beside others, or was lost
recover_session | in flight | dead | crashes | the same, too often
recover_session | in flight | dead | losses | the same, too often
recover_session | in flight | dead | | its session did not serve its queue
replace_session | in flight | in flight | | a reply was lost; a fresh session holds it
park | in flight | parked | | this worker cannot read it
park | in flight | dead | | nor can it be parked: too many contracts are
unpark | parked | in flight | | fetched by a worker that can read it
release | parked | ready | | retried by hand
release | parked | dead | | parked for too long
release | parked | purged | | dropped by hand
purge | ready | purged | | dropped by hand
purge | delayed | purged | | dropped by hand
requeue | dead | ready | | retried by hand; what was counted is forgotten
delete | dead | purged | | dropped by hand
bury | dead | purged | | too old, or one too many, when another dies
""".splitlines()
]
