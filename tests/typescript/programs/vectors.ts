// The vectors of conformance/, with the parts that no user of the client sees.

import { readFileSync } from "node:fs";
import { bundle, InvalidArguments, InvalidOptions } from "../shop/index.js";
import { prepare, request } from "../shop/requests.js";
import type { Options } from "../shop/requests.js";
import { parse } from "./exact.js";

type Given = Record<string, unknown>;
interface Call { task: string; payload: string; id?: string; options: Given }
interface Step { name: string; sequence: number; calls: Call[]; schemas: string[]; messages: string[]; keys: string[]; args: string[] }
interface Bad extends Call { name: string; refused: string; at: string }

const NAMES: Record<string, [string, (value: never) => unknown]> = {
  delay_ms: ["delay", (ms: number) => ms / 1_000],
  eta_ms: ["eta", (ms: number) => new Date(ms)],
  soft_timeout: ["softTimeout", (s: number) => s],
  hard_timeout: ["hardTimeout", (s: number) => s],
  expires_ms: ["expires", (ms: number) => ms / 1_000],
  expires_at_ms: ["expires", (ms: number) => new Date(ms)],
  unique_for_ms: ["uniqueFor", (ms: number) => ms / 1_000],
};

function optionsOf(given: Given): Options {
  const pairs = Object.entries(given).map(([name, value]) => {
    const [to, change] = NAMES[name] ?? [name, (same: unknown) => same];
    return [to, (change as (value: unknown) => unknown)(value)];
  });
  return Object.fromEntries(pairs) as Options;
}

function payloadOf(text: string): unknown {
  return text.includes("NaN") ? { anything: Number.NaN } : parse(text);
}

function read<T>(path: string): T {
  return JSON.parse(readFileSync(`${process.argv[2]}/${path}`, "utf8")) as T;
}

Date.now = () => Date.UTC(2099, 0, 1); // when the vectors were made
const problems: string[] = [];
const good = read<{ producer: string; steps: Step[] }>("enqueue.json");
for (const { name, sequence, calls, schemas, messages, keys, args } of good.steps) {
  const made = calls.map(({ task, payload, id, options }) =>
    prepare(bundle, task, payloadOf(payload), optionsOf(options), id));
  const sent = request(bundle, made, { id: good.producer, sequence }, schemas);
  const got = JSON.stringify([made.map(({ message }) => message), sent.keys, sent.args]);
  if (got !== JSON.stringify([messages, keys, args])) problems.push(`${name}: ${got}`);
}
for (const { name, task, payload, options, refused, at } of read<{ calls: Bad[] }>("refused.json").calls) {
  try {
    prepare(bundle, task, payloadOf(payload), optionsOf(options));
    problems.push(`${name}: accepted`);
  } catch (error) {
    const [kind, place] =
      error instanceof InvalidArguments ? ["arguments", error.path]
      : error instanceof InvalidOptions ? ["options", error.option]
      : ["task", task];
    const near = place.startsWith(at) || at.startsWith(place);
    const told = NAMES[at]?.[0] ?? ({ soft_timeout: "softTimeout" } as Record<string, string>)[at] ?? at;
    if (kind !== refused || !(refused === "arguments" ? near : place === told || place.startsWith(at))) {
      problems.push(`${name}: ${kind} at ${place}, not ${refused} at ${at}`);
    }
  }
}
console.log(JSON.stringify(problems));
