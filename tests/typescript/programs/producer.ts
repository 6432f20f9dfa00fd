// Enqueue what stands in a file of [task, payload] lines: node producer.js '{...}' < file

import { readFileSync } from "node:fs";
import { Cluster, Redis } from "ioredis";
import { createClient, createCluster, createSentinel } from "redis";
import { connect, ioredis, nodeRedis } from "../models/index.js";
import type { Server, Tasks } from "../models/index.js";
import { parse } from "./exact.js";

interface Place {
  library: "ioredis" | "node-redis";
  kind: "plain" | "sentinel" | "cluster";
  ports: number[];
  ca?: string;
  deadline?: number;
}

const place = JSON.parse(process.argv[2] ?? "{}") as Place;
const nodes = place.ports.map((port) => ({ host: place.ca ? "localhost" : "127.0.0.1", port }));
const tls = place.ca ? { ca: readFileSync(place.ca) } : undefined;

async function server(): Promise<[Server, () => unknown]> {
  const first = nodes[0] as (typeof nodes)[0];
  if (place.library === "ioredis") {
    const client =
      place.kind === "cluster" ? new Cluster(nodes)
      : place.kind === "sentinel" ? new Redis({ sentinels: nodes, name: "jobs" })
      : new Redis({ ...first, ...(tls && { tls }), retryStrategy: () => 20 });
    client.on("error", () => undefined);
    return [ioredis(client), () => client.disconnect()];
  }
  const socket = { ...first, reconnectStrategy: () => 20 };
  const client =
    place.kind === "cluster" ? createCluster({ rootNodes: nodes.map((one) => ({ socket: one })) })
    : place.kind === "sentinel" ? createSentinel({ name: "jobs", sentinelRootNodes: nodes })
    : createClient({ socket: tls ? { ...socket, tls: true, ...tls } : socket });
  client.on("error", () => undefined);
  await client.connect();
  return [nodeRedis(client as ReturnType<typeof createClient>), () => client.destroy()];
}

const lines = readFileSync(0, "utf8").split("\n").filter(Boolean).map((line) => JSON.parse(line) as [keyof Tasks, string]);
const [made, close] = await server();
const client = connect(made, { deadline: place.deadline ?? 10 });
const half = lines.length >> 1;
const one = lines.slice(0, half).map(([task, payload]) => client.enqueue(task, parse(payload) as never));
const many = lines.slice(half).map(([task, payload]) => client.call(task, parse(payload) as never));
const receipts = [...(await Promise.all(one)), ...(await client.enqueueMany(many, 50))];
close();
console.log(JSON.stringify(receipts.map(({ id }) => id)));
