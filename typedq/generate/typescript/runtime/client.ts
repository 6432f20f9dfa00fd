// Enqueue calls: each is accepted once, even if a reply is lost and it is sent again.

import { chunked, prepare, randomHex, request } from "./requests.js";
import type { Bundle, Options, Prepared } from "./requests.js";
import { EnqueueUncertain, ServerRefused, ServerUnavailable } from "./errors.js";
import { ENQUEUE, ENQUEUE_SHA } from "./script.js";

/** What a client of the server must do: run a script by its SHA-1 or by its text. */
export interface Server {
  evalsha(sha: string, keys: string[], args: string[]): Promise<unknown>;
  eval(script: string, keys: string[], args: string[]): Promise<unknown>;
}

type Ioredis = {
  evalsha(sha: string, count: number, ...rest: string[]): Promise<unknown>;
  eval(script: string, count: number, ...rest: string[]): Promise<unknown>;
  options?: { keyPrefix?: string | undefined };
};
type NodeRedis = {
  evalSha(sha: string, options: { keys: string[]; arguments: string[] }): Promise<unknown>;
  eval(script: string, options: { keys: string[]; arguments: string[] }): Promise<unknown>;
};

/** Use a client of ioredis: `Redis` or `Cluster`, without `keyPrefix`. */
export const ioredis = (client: Ioredis): Server => {
  if (client.options?.keyPrefix) throw new Error("keyPrefix of this client hides messages from workers; make one without it");
  return {
    evalsha: (sha, keys, args) => client.evalsha(sha, keys.length, ...keys, ...args),
    eval: (script, keys, args) => client.eval(script, keys.length, ...keys, ...args),
  };
};

/** Use a client of node-redis: of `createClient`, `createCluster` or `createSentinel`. */
export const nodeRedis = (client: NodeRedis): Server => ({
  evalsha: (sha, keys, args) => client.evalSha(sha, { keys, arguments: args }),
  eval: (script, keys, args) => client.eval(script, { keys, arguments: args }),
});

/** What is known of a call that was accepted. `duplicate`: `id` is of the first with that key. */
export interface Receipt {
  readonly id: string;
  readonly task: string;
  readonly queue: string;
  readonly due: Date;
  readonly duplicate: boolean;
}

/** One call, made by `call` and sent by `enqueueMany`. */
export type Call = Prepared;

type Arguments<Payload, Queue extends string> = {} extends Payload
  ? [payload?: Payload, options?: Options<Queue>]
  : [payload: Payload, options?: Options<Queue>];

interface ProducerId {
  readonly id: string;
  sequence: number;
}

const IN_FLIGHT = 16;
const FIRST_BACKOFF_MS = 50;
const MAX_BACKOFF_MS = 1_000;
// The server executed nothing: another one takes the writes, or it will soon.
const NOT_NOW = /^(?:MOVED|ASK|TRYAGAIN|CLUSTERDOWN|READONLY|MASTERDOWN|LOADING)\b|max number of clients/;
const CODE = /^[A-Z][A-Z]+\b/;
const timers = globalThis as unknown as {
  setTimeout(run: () => void, ms: number): unknown;
  clearTimeout(timer: unknown): void;
};

export class Client<Tasks, Queue extends string> {
  readonly #bundle: Bundle;
  readonly #server: Server;
  readonly #deadlineMs: number;
  readonly #idle: ProducerId[] = [];
  readonly #waiting: (() => void)[] = [];
  #inFlight = 0;

  /** `deadline`: seconds for which a request is tried. */
  constructor(bundle: Bundle, server: Server, { deadline = 10 }: { deadline?: number } = {}) {
    if (!(deadline > 0)) throw new RangeError(`deadline takes a number of seconds above 0, not ${deadline}`);
    this.#bundle = bundle;
    this.#server = server;
    this.#deadlineMs = deadline * 1_000;
  }

  /** Return a call for `enqueueMany`. Throws InvalidArguments, InvalidOptions. */
  call<Name extends keyof Tasks & string>(task: Name, ...[payload, options]: Arguments<Tasks[Name], Queue>): Call {
    return prepare(this.#bundle, task, payload === undefined ? {} : payload, options ?? {});
  }

  /**
   * Enqueue one call.
   *
   * Throws InvalidArguments and InvalidOptions, ServerRefused and ServerUnavailable (nothing was
   * accepted), or EnqueueUncertain (it may have been).
   */
  async enqueue<Name extends keyof Tasks & string>(
    task: Name,
    ...args: Arguments<Tasks[Name], Queue>
  ): Promise<Receipt> {
    const [receipt] = await this.#send([this.call(task, ...args)]);
    return receipt as Receipt;
  }

  /** Enqueue calls in chunks; each chunk all or none. Throws as `enqueue`. */
  async enqueueMany(calls: Iterable<Call>, chunk = 1_000): Promise<Receipt[]> {
    const receipts: Receipt[] = [];
    for (const part of chunked(Array.from(calls), chunk)) receipts.push(...(await this.#send(part)));
    return receipts;
  }

  async #send(calls: readonly Call[]): Promise<Receipt[]> {
    const until = Date.now() + this.#deadlineMs;
    while (this.#inFlight >= IN_FLIGHT) await new Promise<void>((go) => this.#waiting.push(go));
    this.#inFlight += 1;
    // One request at a time for each producer id, because the server knows the last number only.
    const producer = this.#idle.pop() ?? { id: randomHex(32), sequence: 1 };
    try {
      const duplicates = await this.#accepted(calls, producer, until);
      producer.sequence += 1;
      this.#idle.push(producer); // after an error it is dropped: its last request may still arrive
      return calls.map((call) => receipt(call, duplicates.get(call.id)));
    } finally {
      this.#inFlight -= 1;
      this.#waiting.shift()?.();
    }
  }

  /** Send a request until it is accepted; return ids of duplicates, with those that came first. */
  async #accepted(calls: readonly Call[], producer: ProducerId, until: number): Promise<Map<string, string>> {
    let unknown: string[] = [];
    let maybe = false;
    for (let backoff = FIRST_BACKOFF_MS; ; backoff = Math.min(backoff * 2, MAX_BACKOFF_MS)) {
      try {
        const [status, ...words] = await this.#run(calls, producer, unknown, until);
        if (status !== "unknown") return pairs(words);
        unknown = words;
        continue;
      } catch (error) {
        const reason = error instanceof Error ? error.message : String(error);
        const replied = CODE.test(reason) || NOT_NOW.test(reason);
        if (replied && !NOT_NOW.test(reason) && !maybe) throw new ServerRefused(reason, { cause: error });
        maybe ||= !replied;
        if (Date.now() + backoff > until) {
          const Failure = maybe ? EnqueueUncertain : ServerUnavailable;
          throw new Failure(reason, calls.map((call) => call.id), { cause: error });
        }
      }
      await new Promise<void>((go) => timers.setTimeout(go, backoff));
    }
  }

  async #run(calls: readonly Call[], producer: ProducerId, unknown: string[], until: number): Promise<string[]> {
    const { keys, args } = request(this.#bundle, calls, producer, unknown);
    const left = Math.max(1, until - Date.now());
    let timer: unknown;
    const late = new Promise<never>((_, reject) => {
      timer = timers.setTimeout(() => reject(new Error("no reply came in time")), left);
    });
    try {
      const reply = await Promise.race([this.#evaluate(keys, args), late]);
      return (reply as unknown[]).map(String);
    } finally {
      timers.clearTimeout(timer);
    }
  }

  async #evaluate(keys: string[], args: string[]): Promise<unknown> {
    try {
      return await this.#server.evalsha(ENQUEUE_SHA, keys, args);
    } catch (error) {
      if (!(error instanceof Error) || !error.message.startsWith("NOSCRIPT")) throw error;
      return this.#server.eval(ENQUEUE, keys, args);
    }
  }
}

function pairs(words: readonly string[]): Map<string, string> {
  const found = new Map<string, string>();
  const ids = words.join(" ").split(" ").filter(Boolean);
  for (let i = 0; i + 1 < ids.length; i += 2) found.set(ids[i] as string, ids[i + 1] as string);
  return found;
}

function receipt(call: Call, first: string | undefined): Receipt {
  const { task, queue } = call;
  return { id: first ?? call.id, task, queue, due: new Date(call.dueMs), duplicate: first !== undefined };
}
