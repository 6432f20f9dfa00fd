// Checks of contracts: each writes a value as JSON text, or throws InvalidArguments. What is checked
// is what is sent. They accept what a worker's decoder accepts.

import { InvalidArguments, forms } from "./values.js";

/**
 * The place of a value: the step to it, and how many levels of nesting are left. `whole`: members that
 * a record does not declare are sent too, because they tell the types of a union apart.
 */
export interface At {
  readonly up: At | null;
  readonly step: string;
  readonly left: number;
  readonly whole?: boolean;
}

export type Write = (value: unknown, at: At) => string;

/** The contract of a type, under the name of the type. */
export interface Contract<T> {
  readonly write: Write;
  readonly "~type"?: T | undefined;
}

/** Return the JSON text of a value. Throws InvalidArguments. */
export function toJson<T>(contract: Contract<T>, value: NoInfer<T>, levels = 64): string {
  return contract.write(value, { up: null, step: "$", left: levels });
}

export const contract = <T>(write: Write): Contract<T> => ({ write });

const path = (at: At): string => (at.up === null ? at.step : path(at.up) + at.step);
const isName = /^[A-Za-z_]\w*$/;
const member = (name: string): string => (isName.test(name) ? `.${name}` : `[${JSON.stringify(name)}]`);

function fail(at: At, reason: string): never {
  throw new InvalidArguments(path(at), reason);
}

function inside(at: At, step: string): At {
  return { ...at, up: at, step, left: at.left - 1 };
}

function enter(at: At): void {
  if (at.left <= 0) fail(at, "nested too deep, or a value that contains itself");
}

/** The kind of a value, for errors. The value itself may be secret. */
function kind(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (typeof value !== "object") return `a ${typeof value}`;
  return Array.isArray(value) ? "an array" : Object.prototype.toString.call(value).slice(8, -1);
}

const expected = (at: At, what: string, value: unknown): never =>
  fail(at, `expected ${what}, got ${kind(value)}`);

// --- scalars --------------------------------------------------------------------------------------

/** One of some values; bigints are integers here, and numbers are floats. */
export function oneOf(...values: readonly (string | number | bigint | boolean | null)[]): Write {
  const texts = new Map(values.map((value) => [exact(value), literal(value)]));
  return (value, at) => {
    const text = texts.get(exact(value));
    return text ?? fail(at, `expected one of ${texts.size} value${texts.size > 1 ? "s" : ""}, got another ${typeof value}`);
  };
}

const exact = (value: unknown): unknown =>
  typeof value === "number" && Number.isSafeInteger(value) ? BigInt(value) : value;

const literal = (value: unknown): string =>
  typeof value === "bigint" ? String(value) : typeof value === "number" ? number(value, true) : JSON.stringify(value);

export const nothing: Write = (value, at) => (value === null ? "null" : expected(at, "null", value));

export const bool: Write = (value, at) =>
  typeof value === "boolean" ? String(value) : expected(at, "a boolean", value);

export function integer(
  facets: { min?: bigint; max?: bigint; step?: bigint; mask?: bigint } = {},
): Write {
  const { min, max, step, mask } = facets;
  return (value, at) => {
    if (typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value)) {
      fail(at, "a number this large is not exact; pass a bigint");
    }
    const exact = typeof value === "bigint" ? value : typeof value === "number" && Number.isInteger(value) ? BigInt(value) : null;
    if (exact === null) return expected(at, "a whole number", value);
    if (min !== undefined && exact < min) fail(at, `expected at least ${min}`);
    if (max !== undefined && exact > max) fail(at, `expected at most ${max}`);
    if (step !== undefined && exact % step !== 0n) fail(at, `expected a multiple of ${step}`);
    if (mask !== undefined && (exact < 0n || (exact & ~mask) !== 0n)) fail(at, "has bits that are not allowed");
    const text = String(exact);
    return text.length > 4_300 ? fail(at, "has more than 4,300 digits") : text;
  };
}

export function float(
  facets: { min?: number; max?: number; above?: number; below?: number; notWhole?: boolean } = {},
): Write {
  const { min, max, above, below, notWhole } = facets;
  return (value, at) => {
    if (typeof value !== "number" && typeof value !== "bigint") return expected(at, "a number", value);
    const near = Number(value);
    if (!Number.isFinite(near)) fail(at, "NaN and infinity cannot be said in JSON");
    if (min !== undefined && near < min) fail(at, `expected at least ${min}`);
    if (max !== undefined && near > max) fail(at, `expected at most ${max}`);
    if (above !== undefined && near <= above) fail(at, `expected more than ${above}`);
    if (below !== undefined && near >= below) fail(at, `expected less than ${below}`);
    return typeof value === "bigint" ? `${value}${notWhole === true ? ".0" : ""}` : number(value, notWhole === true);
  };
}

/** Whole numbers that are not exact get a fraction, so that nobody reads them as integers. */
function number(value: number, fraction: boolean): string {
  if (Object.is(value, -0)) return "-0.0";
  const whole = Number.isInteger(value) && (fraction || !Number.isSafeInteger(value));
  return whole && Math.abs(value) < 1e21 ? `${value}.0` : String(value);
}

export interface TextFacets {
  readonly form?: keyof typeof forms;
  readonly min?: number;
  readonly max?: number;
  readonly minBytes?: number;
  readonly maxBytes?: number;
  readonly pattern?: string;
  readonly uuid?: number;
  readonly trimmed?: boolean;
  readonly lower?: boolean;
  readonly upper?: boolean;
  readonly ascii?: boolean;
  /** Of decimals: which numbers are read as one. */
  readonly numbers?: "all" | "fractions";
}

export function text(facets: TextFacets = {}): Write {
  const pattern = facets.pattern === undefined ? null : new RegExp(facets.pattern, "u");
  const form = facets.form === undefined ? null : forms[facets.form];
  return (given, at) => {
    const value = facets.numbers === undefined ? given : asText(given, facets.numbers);
    if (typeof value !== "string") return expected(at, form?.name ?? "a string", value);
    if (/\p{Cs}/u.test(value)) fail(at, "has half a surrogate pair, which UTF-8 cannot encode");
    if (form !== null && !form.fits(value)) fail(at, `expected ${form.name}`);
    bounded(at, facets, value);
    if (pattern !== null && !pattern.test(value)) fail(at, `does not match ${facets.pattern}`);
    if (facets.uuid !== undefined && value.charAt(14) !== String(facets.uuid)) fail(at, `expected a UUID of version ${facets.uuid}`);
    if (facets.trimmed === true && /^[\p{White_Space}\x1c-\x1f]|[\p{White_Space}\x1c-\x1f]$/u.test(value)) fail(at, "has spaces around it");
    if (facets.lower === true && value !== value.toLowerCase()) fail(at, "expected lower case");
    if (facets.upper === true && value !== value.toUpperCase()) fail(at, "expected upper case");
    if (facets.ascii === true && !/^[\x00-\x7f]*$/.test(value)) fail(at, "expected ASCII");
    return typeof given === "string" ? JSON.stringify(value) : value;
  };
}

const plain = text();

function asText(value: unknown, numbers: "all" | "fractions"): unknown {
  const all = typeof value === "bigint" || (typeof value === "number" && Number.isFinite(value));
  return all && (numbers === "all" || !Number.isInteger(Number(value))) ? String(value) : value;
}

function bounded(at: At, facets: TextFacets, value: string): void {
  const { min, max, minBytes, maxBytes } = facets;
  if (min !== undefined || max !== undefined) size(at, Array.from(value).length, min, max, "characters");
  if (minBytes === undefined && maxBytes === undefined) return;
  const length =
    facets.form === "hex-bytes" ? value.length / 2
    : facets.form === undefined ? utf8Length(value)
    : Math.floor((value.replace(/=+$/, "").length * 3) / 4);
  size(at, length, minBytes, maxBytes, "bytes");
}

function size(at: At, length: number, min = 0, max = Infinity, what: string): void {
  if (length < min) fail(at, `expected at least ${min} ${what}, got ${length}`);
  if (length > max) fail(at, `expected at most ${max} ${what}, got ${length}`);
}

/** Return how many bytes a text takes in UTF-8. */
export function utf8Length(value: string): number {
  let length = 0;
  for (const character of value) {
    const code = character.codePointAt(0) ?? 0;
    length += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
  }
  return length;
}

// --- arrays ---------------------------------------------------------------------------------------

interface Sizes {
  readonly min?: number;
  readonly max?: number;
}

export function list(item: Write, facets: Sizes & { readonly unique?: boolean } = {}): Write {
  const { min, max, unique } = facets;
  return (value, at) => {
    const given = unique === true && value instanceof Set ? Array.from(value as Set<unknown>) : value;
    if (!Array.isArray(given)) return expected(at, "an array", value);
    enter(at);
    const all = Array.from(given as unknown[], (part, i) => item(part, inside(at, `[${i}]`)));
    const parts = unique === true ? Array.from(new Set(all)) : all;
    size(at, parts.length, min, max, "items");
    return `[${parts.join(",")}]`;
  };
}

/** An array whose first items have types of their own. `rest`: of others; without, they are not sent. */
export function tuple(items: readonly Write[], facets: Sizes & { readonly rest?: Write } = {}): Write {
  const { min, max, rest } = facets;
  return (value, at) => {
    if (!Array.isArray(value)) return expected(at, "an array", value);
    enter(at);
    size(at, value.length, min, max, "items");
    const given = rest === undefined ? value.slice(0, items.length) : value;
    return `[${Array.from(given as unknown[], (part, i) => (items[i] ?? rest ?? any)(part, inside(at, `[${i}]`))).join(",")}]`;
  };
}

// --- objects --------------------------------------------------------------------------------------

/** Whether a member may be missing; `tag`: then it is written all the same. */
export type Need = "required" | "optional" | "tag";
export type Field = readonly [name: string, write: Write, need?: Need];

function object(value: unknown, at: At): Readonly<Record<string, unknown>> {
  if (Object.prototype.toString.call(value) !== "[object Object]") expected(at, "an object", value);
  enter(at);
  return value as Readonly<Record<string, unknown>>;
}

/** A member of an object; undefined if it has none, though all objects have a `toString`. */
function part(value: Readonly<Record<string, unknown>>, name: string): unknown {
  const own = Object.prototype.hasOwnProperty.call(value, name);
  return own || !(name in Object.prototype) ? value[name] : undefined;
}

/** An object with named members. `rest`: of other members; without, they are not sent. */
export function record(fields: readonly Field[], rest?: Write | "refused"): Write {
  const names = new Set(fields.map(([name]) => name));
  return (value, at) => {
    const given = object(value, at);
    const parts: string[] = [];
    const add = (name: string, text: string): void => void parts.push(`${JSON.stringify(name)}:${text}`);
    for (const [name, write, need = "required"] of fields) {
      const found = part(given, name);
      if (found !== undefined) add(name, write(found, inside(at, member(name))));
      else if (need === "tag") add(name, constants.get(write) ?? "null");
      else if (need === "required") fail(inside(at, member(name)), "is missing");
    }
    const others = rest ?? (at.whole === true ? any : undefined);
    for (const name of others === undefined ? [] : Object.keys(given)) {
      if (names.has(name) || given[name] === undefined) continue;
      if (others === "refused" || others === undefined) return fail(inside(at, member(name)), "is not a member");
      const place = inside(at, member(name));
      plain(name, place);
      add(name, others(given[name], place));
    }
    return `{${parts.join(",")}}`;
  };
}

const constants = new WeakMap<Write, string>();

/** The tag of a record. */
export function tag(value: string | bigint): Write {
  const write = oneOf(value);
  constants.set(write, literal(value));
  return write;
}

/** The text of a number, as the name of a member. */
export const digits = (write: Write, kind: "integer" | "number"): Write => {
  const pattern = kind === "integer" ? /^-?(?:0|[1-9]\d*)$/ : /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?$/;
  return (name, at) => {
    if (typeof name !== "string" || !pattern.test(name)) return fail(at, "expected the text of a number as its name");
    write(kind === "integer" ? BigInt(name) : Number(name), at);
    return JSON.stringify(name);
  };
};

/** An object with members of any name. */
export function map(item: Write, facets: Sizes & { readonly keys?: Write } = {}): Write {
  const { min, max, keys = plain } = facets;
  return (value, at) => {
    const given = object(value, at);
    const names = Object.keys(given).filter((name) => given[name] !== undefined);
    size(at, names.length, min, max, "members");
    const parts = names.map((name) => {
      const place = inside(at, member(name));
      return `${keys(name, place)}:${item(given[name], place)}`;
    });
    return `{${parts.join(",")}}`;
  };
}

// --- others ---------------------------------------------------------------------------------------

/** A check that is defined later. */
export const ref = (later: () => Contract<unknown>): Write => (value, at) => later().write(value, at);

/** What one of some checks accepts. The error is that of the one that came furthest. */
export function union(...members: readonly Write[]): Write {
  return (value, at) => {
    let best: InvalidArguments | null = null;
    for (const write of members) {
      try {
        return write(value, at);
      } catch (error) {
        if (!(error instanceof InvalidArguments)) throw error;
        if (best === null || error.path.length > best.path.length) best = error;
      }
    }
    if (best === null || best.path === path(at)) return expected(at, "another type", value);
    throw best;
  };
}

/** As `union`, of records that no tag tells apart; the worker takes the one that fits best. */
export function alike(...members: readonly Write[]): Write {
  const one = union(...members);
  return (value, at) => one(value, { ...at, whole: true });
}

/** One of some records, by the value of the member `name`. */
export function tagged(name: string, members: readonly (readonly [string | bigint, Write])[]): Write {
  const known = new Map(members.map(([value, write]) => [String(value) + typeof value, write]));
  return (value, at) => {
    const given = object(value, at);
    const found = part(given, name);
    const write = known.get(String(exact(found)) + typeof exact(found));
    return write === undefined ? fail(inside(at, member(name)), "is no tag of this union") : write(value, at);
  };
}

export const any: Write = (value, at) => {
  if (value === null || typeof value === "boolean") return String(value);
  if (typeof value === "string") return plain(value, at);
  if (typeof value === "bigint") return integer()(value, at);
  if (typeof value === "number") return float()(value, at);
  return Array.isArray(value) ? list(any)(value, at) : map(any)(value, at);
};

/** What no value fits; `why`: for the error. */
export const unsent = (why: string): Write => (_, at) => fail(at, why);

export const never = unsent("no value is allowed here");
