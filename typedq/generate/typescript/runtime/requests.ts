// The bytes of messages and requests, as docs/protocol.md of typedq specifies them.

import { toJson, utf8Length } from "./checks.js";
import type { Contract } from "./checks.js";
import { InvalidOptions } from "./errors.js";
import { InvalidArguments } from "./values.js";

/** Options of a call; durations are seconds. Not both of `delay` and `eta`. */
export interface Options<Queue extends string = string> {
  readonly delay?: number | undefined;
  readonly eta?: Date | undefined;
  readonly queue?: Queue | undefined;
  /** Time limits, instead of those of the task. */
  readonly softTimeout?: number | undefined;
  readonly hardTimeout?: number | undefined;
  /** The message does not begin later than this long after it was accepted, or than this time. */
  readonly expires?: number | Date | undefined;
  /** One message of the task is accepted for this key in `uniqueFor` seconds. */
  readonly unique?: string | undefined;
  readonly uniqueFor?: number | undefined;
  /** Text beside the arguments; at most 16 keys and 1,024 bytes. */
  readonly meta?: Readonly<Record<string, string>> | undefined;
}

/** What is known of the workers. `tasks`: by name. */
export interface Bundle {
  readonly namespace: string;
  readonly queues: readonly string[];
  readonly maxBody: number;
  readonly maxDepth: number;
  readonly tasks: ReadonlyMap<string, BundledTask>;
}

export interface BundledTask {
  readonly id: string;
  readonly queue: string;
  readonly payload: Contract<unknown>;
  readonly schema: string;
}

/** A call as it will be sent. */
export interface Prepared {
  readonly id: string;
  readonly task: string;
  readonly queue: string;
  readonly contract: string;
  readonly when: readonly [mode: "now" | "delay" | "eta", ms: number];
  readonly dueMs: number;
  readonly unique: readonly [key: string, ms: number] | null;
  /** After how many ms the server lets it expire; null if never, or at the time in the message. */
  readonly expiresMs: number | null;
  readonly message: string;
}

const OPTIONS = new Set([
  "delay", "eta", "queue", "softTimeout", "hardTimeout", "expires", "unique", "uniqueFor", "meta",
]);
const TEN_YEARS = 10 * 365 * 86_400;
const SEQUENCE_TTL = 3_600;
const CHUNK_BYTES = 4 << 20;

/** Return a call as it will be sent. Throws InvalidArguments, InvalidOptions. */
export function prepare(bundle: Bundle, task: string, payload: unknown, options: Options, id = newId()): Prepared {
  for (const option of Object.keys(options)) {
    if (!OPTIONS.has(option)) throw new InvalidOptions(option, `no such option; there are: ${[...OPTIONS].join(", ")}`);
  }
  const known = bundle.tasks.get(task);
  if (known === undefined) throw new Error(`no task named ${task} in this bundle`);
  const queue = options.queue ?? known.queue;
  if (!bundle.queues.includes(queue)) {
    throw new InvalidOptions("queue", `no queue named ${queue}; there are: ${bundle.queues.join(", ")}`);
  }
  const when = due(options);
  const [expiresMs, until] = expiryOf(options, when);
  const header = headerOf(options);
  const body = toJson(known.payload, payload, bundle.maxDepth);
  const bytes = utf8Length(body);
  if (bytes > bundle.maxBody) throw new InvalidArguments("$", `${bytes} bytes; the limit is ${bundle.maxBody}`);
  const dueMs = when[0] === "delay" ? Date.now() + when[1] : Math.max(Date.now(), when[1]);
  const [format, expiry] = until === null ? ["1", ""] : ["2", `${`${until}`.padStart(13, "0")} `];
  const message = `${format} 0 00 000 0000000000000 ${id} ${known.id} ${queue} ${header} ${expiry}${body}`;
  return { id, task, queue, contract: known.id, when, dueMs, unique: uniqueOf(options), expiresMs, message };
}

/** Return keys and arguments of the script `enqueue`. `schemas`: contracts to publish. */
export function request(
  bundle: Bundle,
  calls: readonly Prepared[],
  producer: { readonly id: string; readonly sequence: number },
  schemas: readonly string[],
): { keys: string[]; args: string[] } {
  const key = (...parts: string[]): string => [`{${bundle.namespace}}`, ...parts].join(":");
  const queues: string[] = [];
  const uniques: string[] = [];
  const place = (all: string[], one: string): number => {
    const at = all.indexOf(one);
    return at < 0 ? all.push(one) - 1 : at;
  };
  const args: string[] = [`${producer.sequence}`, `${SEQUENCE_TTL}`, `${schemas.length}`];
  for (const id of schemas) args.push(id, schemaOf(bundle, id));
  for (const group of grouped(calls)) {
    const [{ task, queue, contract, when, unique, expiresMs }] = group as [Prepared, ...Prepared[]];
    if (unique !== null) args.push("unique", `${place(uniques, key("unique", task, unique[0]))}`, `${unique[1]}`);
    if (expiresMs !== null) args.push("expires", `${expiresMs}`);
    args.push(`${place(queues, queue) + 1}`, when[0], `${when[1]}`, contract, `${group.length}`);
    for (const { message } of group) args.push(message);
  }
  const first = [key("sequence", producer.id), key("contracts"), key("counts"), key("wake_supervisors")];
  const ofQueues = queues.flatMap((queue) => ["ready", "delayed", "wake"].map((name) => key(name, queue)));
  return { keys: [...first, ...ofQueues, ...uniques.reverse()], args };
}

/** Cut calls into chunks of at most `most` and about 4 MiB. */
export function* chunked(calls: readonly Prepared[], most: number): Generator<Prepared[]> {
  if (!(most >= 1)) throw new RangeError(`chunk takes 1 or more, not ${most}`);
  let part: Prepared[] = [];
  let bytes = 0;
  for (const call of calls) {
    const size = utf8Length(call.message);
    if (part.length >= most || (part.length > 0 && bytes + size > CHUNK_BYTES)) {
      yield part;
      [part, bytes] = [[], 0];
    }
    part.push(call);
    bytes += size;
  }
  if (part.length > 0) yield part;
}

const destination = (call: Prepared): string =>
  JSON.stringify([call.queue, call.contract, call.when, call.unique, call.expiresMs]);

function grouped(calls: readonly Prepared[]): Prepared[][] {
  const groups: Prepared[][] = [];
  let last = "";
  for (const call of calls) {
    const here = destination(call);
    if (here === last) groups.at(-1)?.push(call);
    else groups.push([call]);
    last = here;
  }
  return groups;
}

function schemaOf(bundle: Bundle, contract: string): string {
  for (const { id, schema } of bundle.tasks.values()) if (id === contract) return schema;
  throw new Error(`the server asks for ${contract}, which is not in this bundle`);
}

// --- options --------------------------------------------------------------------------------------

function seconds(option: string, value: number): number {
  if (typeof value !== "number" || !Number.isFinite(value)) throw new InvalidOptions(option, "it takes a finite number of seconds");
  if (value < 0) throw new InvalidOptions(option, "it cannot be negative");
  if (value > TEN_YEARS) throw new InvalidOptions(option, "it is longer than 10 years");
  return value;
}

function due({ delay, eta }: Options): Prepared["when"] {
  if (delay !== undefined && eta !== undefined) {
    throw new InvalidOptions("eta", "delay and eta exclude each other; give one of them");
  }
  if (delay !== undefined) return ["delay", Math.round(seconds("delay", delay) * 1_000)];
  if (eta === undefined) return ["now", 0];
  return ["eta", moment("eta", eta)];
}

function moment(option: string, value: Date): number {
  const ms = value instanceof Date ? Math.floor(value.getTime()) : Number.NaN;
  if (Number.isNaN(ms)) throw new InvalidOptions(option, "it takes a valid Date");
  if (ms - Date.now() > TEN_YEARS * 1_000) throw new InvalidOptions(option, "it is more than 10 years away");
  return Math.max(0, ms);
}

/** Return after how many ms it expires, and what stands in the message: when, or 0 for the server. */
function expiryOf({ expires }: Options, when: Prepared["when"]): [number | null, number | null] {
  if (expires === undefined) return [null, null];
  const [after, until] =
    typeof expires === "number" ? [lasting("expires", expires), 0] : [null, moment("expires", expires)];
  const now = Date.now();
  const due = when[0] === "delay" ? now + when[1] : when[1];
  if (now < due && due >= (after === null ? until : now + after)) {
    throw new InvalidOptions("expires", "it would expire before it is due, and never run");
  }
  return [after, until];
}

function lasting(option: string, value: number): number {
  const ms = Math.round(seconds(option, value) * 1_000);
  if (ms < 1) throw new InvalidOptions(option, "it is at least a millisecond");
  return ms;
}

function uniqueOf({ unique, uniqueFor }: Options): Prepared["unique"] {
  if (unique === undefined && uniqueFor === undefined) return null;
  if (unique === undefined || uniqueFor === undefined) {
    const option = unique === undefined ? "uniqueFor" : "unique";
    throw new InvalidOptions(option, "unique takes a key, and uniqueFor how long one message is accepted; give both");
  }
  const fits = typeof unique === "string" && unique !== "" && !/\p{Cs}/u.test(unique) && utf8Length(unique) <= 256;
  if (!fits) throw new InvalidOptions("unique", "it takes a text of 1 to 256 bytes");
  return [unique, lasting("uniqueFor", uniqueFor)];
}

function headerOf({ softTimeout: soft, hardTimeout: hard, meta }: Options): string {
  for (const [option, value] of [["softTimeout", soft], ["hardTimeout", hard]] as const) {
    if (value !== undefined && seconds(option, value) === 0) throw new InvalidOptions(option, "it must be above 0 seconds; leave it out for no limit");
  }
  if (soft !== undefined && hard !== undefined && soft >= hard) {
    throw new InvalidOptions("softTimeout", "it must be less than hardTimeout");
  }
  const parts: string[] = [];
  if (soft !== undefined) parts.push(`"soft":${soft}`);
  if (hard !== undefined) parts.push(`"hard":${hard}`);
  const pairs = Object.entries(meta ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));
  if (pairs.length > 0) parts.push(`"m":{${checkedMeta(pairs)}}`);
  return parts.length > 0 ? `{${parts.join(",")}}` : "-";
}

/** Metadata in ASCII, without spaces and braces. */
function checkedMeta(pairs: readonly (readonly [string, string])[]): string {
  if (pairs.length > 16) throw new InvalidOptions("meta", `${pairs.length} keys; the limit is 16`);
  let bytes = 0;
  for (const [key, value] of pairs) {
    if (!/^[a-z0-9_.-]{1,64}$/.test(key)) throw new InvalidOptions("meta", "a key is not 1 to 64 of a-z 0-9 _ . -");
    if (typeof value !== "string") throw new InvalidOptions("meta", `the value of ${key} is no text`);
    if (/\p{Cs}/u.test(value)) throw new InvalidOptions("meta", `the value of ${key} has half a surrogate pair`);
    bytes += utf8Length(key) + utf8Length(value);
  }
  if (bytes > 1_024) throw new InvalidOptions("meta", `${bytes} bytes of keys and values; the limit is 1,024`);
  const escape = (character: string): string => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
  return pairs
    .map(([key, value]) => `"${key}":${JSON.stringify(value).replace(/[^\x21-\x7a|~]/g, escape)}`)
    .join(",");
}

// --- ids ------------------------------------------------------------------------------------------

/** Return random hex digits. */
export function randomHex(digits: number): string {
  const { crypto } = globalThis as unknown as { crypto?: { getRandomValues(to: Uint8Array): Uint8Array } };
  if (crypto === undefined) throw new Error("this runtime has no globalThis.crypto; use Node 20 or later");
  const data = crypto.getRandomValues(new Uint8Array(Math.ceil(digits / 2)));
  return Array.from(data, (byte) => byte.toString(16).padStart(2, "0")).join("").slice(0, digits);
}

let process = "";
let counter = 0;

/** Return a new id: 11 hex digits of ms since the epoch, 9 of the process, 6 counted up. */
export function newId(): string {
  if (process === "" || counter > 0xffffff) [process, counter] = [randomHex(9), 0];
  const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, "0");
  return hex(Date.now(), 11) + process + hex(counter++, 6);
}
