// Every right way to call; `tsc --strict` accepts it all.

import { Cluster, Redis } from "ioredis";
import { createClient, createCluster, createSentinel } from "redis";
import * as shop from "../shop/index.js";
import {
  awareDateTime, bytes, calendarDate, connect, decimal, duration, InvalidArguments, InvalidOptions, ioredis, naiveTime,
  nodeRedis, toJson, uuid, Order,
} from "../shop/index.js";
import type { Card, Receipt, Scalars, Server } from "../shop/index.js";

const options = { lazyConnect: true, maxRetriesPerRequest: 0 } as const;
export const servers: Server[] = [
  ioredis(new Redis(options)),
  ioredis(new Redis({ ...options, sentinels: [{ port: 1 }], name: "jobs" })),
  ioredis(new Cluster([{ port: 1 }], { lazyConnect: true })),
  nodeRedis(createClient()),
  nodeRedis(createCluster({ rootNodes: [{ url: "redis://localhost:1" }] })),
  nodeRedis(createSentinel({ name: "jobs", sentinelRootNodes: [{ host: "localhost", port: 1 }] })),
  { eval: async () => ["accepted"], evalsha: async () => [Buffer.from("accepted")] },
];

const card: Card = { type: "card", number: "4111" };
const order: Order = { number: 7n, lines: [{ sku: "AB12", count: 2 }, { sku: "AB12" }], payment: card };
export const scalars: Scalars = {
  flag: true,
  number: 9223372036854775807n,
  ratio: 1.5,
  price: decimal("19.90"),
  id: uuid("0195f0a1-b2c0-7abc-8def-0123456789ab"),
  raw: bytes(new Uint8Array([0, 1, 255])),
  day: calendarDate("2027-01-31"),
  clock: naiveTime("09:30:00"),
  at: awareDateTime(new Date("2027-01-31T09:30:00Z")),
  took: duration(90),
  mode: 1,
};

export async function calls(server: Server): Promise<Receipt[]> {
  const client = connect(server, { deadline: 1 });
  const receipts = [
    await client.enqueue("ship", order),
    await client.enqueue("ship", { number: 7, lines: order.lines, payment: { type: "transfer", iban: "x" }, note: null }),
    await client.enqueue("ping"),
    await client.enqueue("ping", {}, { delay: 0.5, queue: "low", meta: { tenant: "acme" } }),
    await client.enqueue("ping", {}, { eta: new Date(), softTimeout: 1, hardTimeout: 2 }),
    await client.enqueue("ping", {}, { unique: "k", uniqueFor: 60 }),
    await client.enqueue("scalars", scalars),
    await client.enqueue("collections"),
    await client.enqueue("collections", {
      numbers: [1, 2n], pair: [1, "x"], unique: new Set(["a"]), by_name: { a: null }, by_number: { 7: "" },
      anything: { a: [1, 2n, null] },
    }),
  ];
  const many = ["ship", "ship"].map(() => client.call("ship", order, { queue: "high" }));
  return [...receipts, ...(await client.enqueueMany([...many, client.call("ping")], 2))];
}

export function refused(task: () => unknown): string {
  try {
    task();
  } catch (error) {
    if (error instanceof InvalidArguments) return error.path;
    if (error instanceof InvalidOptions) return error.option;
    throw error;
  }
  return "";
}

export const text: string = toJson(Order, order);
export const queue: shop.Queue = "high";
