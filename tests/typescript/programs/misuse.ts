// Each call under a mark is wrong, and `tsc` says so: a mark without an error is an error itself.

import { connect, decimal, toJson, uuid, Order, Size } from "../shop/index.js";
import type { Bytes, Json, Line, Scalars, Server } from "../shop/index.js";
import { Choices, Excluded } from "../fuzz/index.js";
import { scalars } from "./good.js";

export function misuse(server: Server): void {
  const client = connect(server);
  const lines: Line[] = [{ sku: "AB12" }];
  const payment = { type: "card", number: "4111" } as const;
  // @ts-expect-error no such task
  void client.enqueue("sink", {});
  // @ts-expect-error the payload is missing
  void client.enqueue("ship");
  // @ts-expect-error a text for a number
  void client.enqueue("ship", { number: "7", lines, payment });
  // @ts-expect-error a missing member
  void client.enqueue("ship", { number: 7, lines });
  // @ts-expect-error a member that is not declared
  void client.enqueue("ship", { number: 7, lines, payment, weight: 1 });
  // @ts-expect-error an unknown tag
  void client.enqueue("ship", { number: 7, lines, payment: { type: "cash", number: "4111" } });
  // @ts-expect-error a member of another variant
  void client.enqueue("ship", { number: 7, lines, payment: { type: "card", iban: "x" } });
  // @ts-expect-error an unknown value of an enum
  void client.enqueue("ship", { number: 7, lines, payment, size: "m" });
  // @ts-expect-error null for a number
  void client.enqueue("ship", { number: null, lines, payment });
  // @ts-expect-error undefined is no value
  void client.enqueue("ship", { number: 7, lines, payment, note: undefined });
  // @ts-expect-error an argument for a task that takes none
  void client.enqueue("ping", { now: true });
  // @ts-expect-error an unknown queue
  void client.enqueue("ping", {}, { queue: "hi" });
  // @ts-expect-error an unknown option
  void client.enqueue("ping", {}, { dealy: 1 });
  // @ts-expect-error a text for an ETA
  void client.enqueue("ping", {}, { eta: "2027-01-31T09:30:00Z" });
  // @ts-expect-error metadata that is no text
  void client.enqueue("ping", {}, { meta: { tenant: 1 } });
  // @ts-expect-error a plain text for a UUID
  void client.enqueue("scalars", { ...scalars, id: "0195f0a1-b2c0-7abc-8def-0123456789ab" });
  // @ts-expect-error a decimal for a UUID
  void client.enqueue("scalars", { ...scalars, id: decimal("1") });
  // @ts-expect-error a number for a decimal
  void client.enqueue("scalars", { ...scalars, price: 19.9 });
  // @ts-expect-error a Date for a moment
  void client.enqueue("scalars", { ...scalars, at: new Date() });
  // @ts-expect-error a Buffer for bytes
  void client.enqueue("scalars", { ...scalars, raw: Buffer.from("") });
  // @ts-expect-error a bigint for a float
  void client.enqueue("scalars", { ...scalars, ratio: 1n });
  // @ts-expect-error another value of a literal
  void client.enqueue("scalars", { ...scalars, mode: 2 });
  // @ts-expect-error a tuple that is too long
  void client.enqueue("collections", { pair: [1, "x", 2] });
  // @ts-expect-error a tuple in another order
  void client.enqueue("collections", { pair: ["x", 1] });
  // @ts-expect-error no JSON value
  void client.enqueue("collections", { anything: () => 1 });
  // @ts-expect-error a promise that is not a client
  connect(Promise.resolve(server));
  // @ts-expect-error the value of another contract
  toJson(Order, scalars);
  // @ts-expect-error a plain text is not a brand
  const raw: Bytes = "AA==";
  // @ts-expect-error members cannot be changed
  scalars.flag = false;
  // @ts-expect-error an enum is checked, too
  toJson(Size, "m");
  // @ts-expect-error undefined is no JSON
  const json: Json = [undefined];
  const part: Partial<Scalars> = { id: uuid("x") };
  // @ts-expect-error not all members
  void client.call("scalars", part);
  const aliased = { a: 1, b: 2 };
  // @ts-expect-error another name of a member, which is read and never sent
  toJson(Choices, aliased);
  const excluded = { a: 1, hidden: 2 };
  // @ts-expect-error an excluded member
  toJson(Excluded, excluded);
  void [raw, json];
}
