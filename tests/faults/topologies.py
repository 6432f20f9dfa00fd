"""Replicated servers: a primary with replicas, Sentinels, a Cluster."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import redis

from tests.faults.harness import wait_until
from typedq.embedded import OwnServer


def port_of(server: OwnServer) -> int:
    return int(server.url.rsplit(":", 1)[1].split("/", maxsplit=1)[0])


def client(port: int) -> Any:
    return redis.Redis(port=port, decode_responses=True, single_connection_client=False)


@contextmanager
def replicated() -> Iterator[tuple[OwnServer, OwnServer]]:
    """Start a primary and its replica, in sync."""
    with OwnServer(tcp=True) as primary:
        of = ("--replicaof", f"127.0.0.1 {port_of(primary)}", "--repl-diskless-sync-delay", "0")
        with OwnServer(args=of, tcp=True) as replica:
            wait_until(lambda: is_replica_of(replica, primary), 30.0)
            yield primary, replica


def is_replica_of(replica: OwnServer, primary: OwnServer) -> bool:
    found = client(port_of(replica)).info("replication")
    up = found.get("master_link_status") == "up"
    return up and int(found["master_port"]) == port_of(primary)


@contextmanager
def sentinels(directory: Path) -> Iterator[tuple[str, OwnServer, OwnServer]]:
    """Start three Sentinels for a primary with a replica. Yield URL, primary, replica."""
    with ExitStack() as stack:
        primary, replica = stack.enter_context(replicated())
        ports = [_free_port() for _ in range(3)]
        for port in ports:
            config = directory / f"{port}.conf"
            config.write_text(
                f"port {port}\nbind 127.0.0.1\nprotected-mode no\n"
                f"dir {directory}\nlogfile {directory}/{port}.log\n"
                f"sentinel monitor jobs 127.0.0.1 {port_of(primary)} 2\n"
                "sentinel down-after-milliseconds jobs 1000\n"
                "sentinel failover-timeout jobs 5000\n"
            )
            process = subprocess.Popen([primary.binary, str(config), "--sentinel"])
            stack.callback(process.wait)
            stack.callback(process.kill)
        wait_until(lambda: all(map(_sees_all, ports)), 30.0, every=0.05)
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
        yield f"redis+sentinel://{hosts}/jobs/0", primary, replica


def _sees_all(port: int) -> bool:
    with suppress(redis.RedisError):
        state: dict[str, Any] = client(port).execute_command("SENTINEL", "MASTER", "jobs")
        found = {name: int(state[name]) for name in ("num-other-sentinels", "num-slaves")}
        return found == {"num-other-sentinels": 2, "num-slaves": 1}
    return False


@contextmanager
def one_sentinel(
    directory: Path, primary: OwnServer
) -> Iterator[tuple[str, Callable[[OwnServer], None]]]:
    """Start one Sentinel that never fails over. Yield its URL, and a way to change its server."""
    port, config = _free_port(), directory / "sentinel.conf"
    config.write_text(
        f"port {port}\nbind 127.0.0.1\nprotected-mode no\n"
        f"dir {directory}\nlogfile {directory}/sentinel.log\n"
    )
    process = subprocess.Popen([primary.binary, str(config), "--sentinel"])

    def name_it(server: OwnServer) -> None:
        hand = client(port)
        with suppress(redis.ResponseError):  # it knows none yet
            hand.execute_command("SENTINEL", "REMOVE", "jobs")
        hand.execute_command("SENTINEL", "MONITOR", "jobs", "127.0.0.1", port_of(server), 2)

    def is_up() -> bool:
        with suppress(redis.ConnectionError):
            name_it(primary)
            return True
        return False

    try:
        wait_until(is_up)
        yield f"redis+sentinel://127.0.0.1:{port}/jobs/0", name_it
    finally:
        process.kill()
        process.wait()


SLOTS = (range(5461), range(5461, 10923), range(10923, 16384))


@contextmanager
def cluster(replicas: int = 1) -> Iterator[list[OwnServer]]:
    """Start three masters that share the slots, and replicas of the first ones, in sync."""
    args = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1500")
    count = len(SLOTS) + replicas
    with ExitStack() as stack:
        more = ("--repl-diskless-sync-delay", "0")
        nodes = [
            stack.enter_context(OwnServer(args=(*args, *more), tcp=True)) for _ in range(count)
        ]
        hands = [client(port_of(node)) for node in nodes]
        for hand, slots in zip(hands, SLOTS, strict=False):
            hand.execute_command("CLUSTER", "ADDSLOTSRANGE", slots.start, slots.stop - 1)
        for node in nodes[1:]:
            hands[0].execute_command("CLUSTER", "MEET", "127.0.0.1", port_of(node))
        wait_until(lambda: all(_knows(hand, count) for hand in hands), 30.0)
        for master, replica in zip(hands, hands[len(SLOTS) :], strict=False):
            replica.execute_command("CLUSTER", "REPLICATE", master.execute_command("CLUSTER MYID"))
        for hand in hands[len(SLOTS) :]:
            wait_until(lambda hand=hand: _is_in_step(hand), 30.0)  # type: ignore[misc]
        yield nodes


def _is_in_step(hand: Any) -> bool:
    return bool(hand.info("replication").get("master_link_status") == "up")


def move_slot(
    slot: int, source: OwnServer, target: OwnServer, between: Callable[[], object]
) -> None:
    """Move a slot as `redis-cli --cluster reshard` does; `between` is called after each part."""
    old, new = (client(port_of(node)) for node in (source, target))
    ids = [hand.execute_command("CLUSTER MYID") for hand in (old, new)]
    new.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[0])
    old.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[1])
    between()
    where = ("127.0.0.1", port_of(target), "", 0, 5000, "KEYS")
    while keys := old.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 2):
        old.execute_command("MIGRATE", *where, *keys)
        between()
    for hand in (new, old):
        hand.execute_command("CLUSTER", "SETSLOT", slot, "NODE", ids[1])


def move_slot_whole(slot: int, source: OwnServer, target: OwnServer) -> bool:
    """Move a slot in one step, as Valkey 9 can. Return False if the server cannot."""
    old, new = (client(port_of(node)) for node in (source, target))
    id = new.execute_command("CLUSTER MYID")
    try:
        old.execute_command("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", id)
    except redis.ResponseError as error:
        if "unknown subcommand" in str(error).lower():
            return False
        raise
    wait_until(lambda: _serves(new, id, slot), 30.0)
    return True


def _serves(hand: Any, id: str, slot: int) -> bool:
    found = hand.execute_command("CLUSTER", "SLOTS")
    return any(first <= slot <= last and node[2] == id for first, last, node, *_ in found)


def _knows(hand: Any, count: int) -> bool:
    told: str = hand.execute_command("CLUSTER", "INFO")
    return "cluster_state:ok" in told and f"cluster_known_nodes:{count}\r" in told


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
