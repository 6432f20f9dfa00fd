// Values that JSON has no form for: text with a brand, so that no other text is taken for it.

export type Brand<Name extends string> = string & { readonly "~typedq": Name };
export type Bytes = Brand<"Bytes">;
export type UrlBytes = Brand<"UrlBytes">;
export type HexBytes = Brand<"HexBytes">;
export type Uuid = Brand<"Uuid">;
export type Decimal = Brand<"Decimal">;
export type CalendarDate = Brand<"CalendarDate">;
export type AwareDateTime = Brand<"AwareDateTime">;
export type NaiveDateTime = Brand<"NaiveDateTime">;
export type DateTime = AwareDateTime | NaiveDateTime;
export type AwareTime = Brand<"AwareTime">;
export type NaiveTime = Brand<"NaiveTime">;
export type Time = AwareTime | NaiveTime;
export type Duration = Brand<"Duration">;

/** A whole number: a bigint, or a number that is exact. */
export type Int = number | bigint;
/** Any JSON value. */
export type Json =
  | null | boolean | number | bigint | string
  | readonly Json[]
  | { readonly [name: string]: Json };

/** Arguments that the contract of the task refuses. `path`: where, as JSON path. */
export class InvalidArguments extends Error {
  readonly path: string;
  readonly reason: string;

  constructor(path: string, reason: string) {
    super(`${reason} - at ${path}`);
    this.name = "InvalidArguments";
    this.path = path;
    this.reason = reason;
  }
}

/** What the text of a value looks like. */
export interface Form {
  readonly name: string;
  readonly fits: (text: string) => boolean;
}

const DATE = "(\\d{4})-(\\d\\d)-(\\d\\d)";
const TIME = "([01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(?:\\.\\d{1,6})?";
const ZONE = "(?:[Zz]|[+-](?:[01]\\d|2[0-3]):[0-5]\\d)";
const NUMBER = /^[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,17})?$/;
const SPAN =
  /^([+-]?)P(?=[\dT])(?:(\d{1,7})Y)?(?:(\d{1,10})D)?(?:T(?=\d)(?:(\d{1,11})H)?(?:(\d{1,13})M)?(?:(\d{1,14})(?:\.(\d{1,6}))?S)?)?$/;
const DAY = 86_400; // seconds
const LONGEST = 999_999_999 * DAY; // of a negative timedelta of Python; others may be almost a day longer
const PYDANTIC_MOST = 2 ** 32 - 1; // seconds that pydantic reads as hours, as minutes or as seconds

function isDay(text: string): boolean {
  const [year, month, day] = text.slice(0, 10).split("-").map(Number) as [number, number, number];
  const leap = year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);
  const days = [31, leap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month - 1] ?? 0;
  return year > 0 && day > 0 && day <= days;
}

function isSpan(text: string, byPydantic: boolean): boolean {
  const found = SPAN.exec(text);
  if (found === null) return false;
  const [years = 0, days = 0, hours = 0, minutes = 0, seconds = 0, fraction = 0] =
    found.slice(2).map((part) => Number(part ?? 0));
  const clock = [hours * 3_600, minutes * 60, seconds];
  if (byPydantic ? clock.some((part) => part > PYDANTIC_MOST) : found[2] !== undefined) return false;
  const whole = clock.reduce((sum, part) => sum + part, (years * 365 + days) * DAY);
  if (found[1] === "-") return whole < LONGEST || (whole === LONGEST && fraction === 0);
  return whole < LONGEST + DAY;
}

const form = (name: string, pattern: RegExp, more?: (text: string) => boolean): Form => ({
  name,
  fits: (text) => pattern.test(text) && (more === undefined || more(text)),
});
const moment = (zone: string) => new RegExp(`^${DATE}[Tt ]${TIME}${zone}$`);
const clock = (zone: string) => new RegExp(`^${TIME}${zone}$`);

export const forms = {
  bytes: form("base64", /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/),
  "base64url-bytes": form(
    "URL-safe base64",
    /^(?:[\w-]{4})*(?:[\w-][AQgw]==|[\w-]{2}[AEIMQUYcgkosw048]=)?$/,
  ),
  "hex-bytes": form("hex digits", /^(?:[0-9a-fA-F]{2})*$/),
  uuid: form("a UUID", /^[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$/),
  decimal: form("a decimal", NUMBER),
  date: form("a date", new RegExp(`^${DATE}$`), isDay),
  datetime: form("a date and time", moment(`${ZONE}?`), isDay),
  "aware-datetime": form("a date and time with a zone", moment(ZONE), isDay),
  "naive-datetime": form("a date and time without a zone", moment(""), isDay),
  time: form("a time", clock(`${ZONE}?`)),
  "aware-time": form("a time with a zone", clock(ZONE)),
  "naive-time": form("a time without a zone", clock("")),
  timedelta: form("an ISO 8601 duration", SPAN, (text) => isSpan(text, false)),
  "timedelta-years": form("an ISO 8601 duration", SPAN, (text) => isSpan(text, true)),
} as const satisfies Record<string, Form>;

function branded<T extends string>(wanted: Form, text: string): T {
  if (typeof text === "string" && wanted.fits(text)) return text as T;
  throw new InvalidArguments("$", `expected ${wanted.name}`);
}

/** A UUID, such as that of `crypto.randomUUID()`. */
export const uuid = (text: string): Uuid => branded(forms.uuid, text);
/** A decimal number, such as `decimal("19.90")`. */
export const decimal = (value: string | bigint): Decimal => branded(forms.decimal, String(value));
/** A day, such as `calendarDate("2027-01-31")`. */
export const calendarDate = (text: string): CalendarDate => branded(forms.date, text);
/** A moment: a Date, or text such as `2027-01-31T09:30:00.000001+01:00`. */
export const awareDateTime = (value: Date | string): AwareDateTime => {
  if (value instanceof Date && Number.isNaN(value.getTime())) branded(forms["aware-datetime"], "");
  return branded(forms["aware-datetime"], typeof value === "string" ? value : value.toISOString());
};
/** A date and time without a zone, such as `2027-01-31T09:30:00`. */
export const naiveDateTime = (text: string): NaiveDateTime => branded(forms["naive-datetime"], text);
/** A time with a zone, such as `09:30:00+01:00`. */
export const awareTime = (text: string): AwareTime => branded(forms["aware-time"], text);
/** A time without a zone, such as `09:30:00`. */
export const naiveTime = (text: string): NaiveTime => branded(forms["naive-time"], text);

/** A duration: seconds, or ISO 8601 text in days and smaller units, such as `P1DT12H`. */
export function duration(value: number | string): Duration {
  if (typeof value === "string") return branded(forms.timedelta, value);
  const size = Math.abs(value);
  // The fraction alone: all microseconds of a long duration are more than a number holds.
  const micros = Math.round((size % 1) * 1e6);
  const seconds = Math.floor(size) + Math.floor(micros / 1e6);
  const rest = String(micros % 1e6).padStart(6, "0").replace(/0+$/, "");
  const days = seconds < DAY ? "" : `${Math.floor(seconds / DAY)}D`;
  return branded(forms.timedelta, `${value < 0 ? "-" : ""}P${days}T${seconds % DAY}${rest && "."}${rest}S`);
}

const BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

function base64(data: Uint8Array): string {
  const parts: string[] = [];
  for (let i = 0; i < data.length; i += 3) {
    const [a, b, c] = [data[i] ?? 0, data[i + 1], data[i + 2]];
    const bits = (a << 16) | ((b ?? 0) << 8) | (c ?? 0);
    const digit = (place: number): string => BASE64.charAt((bits >> place) & 63);
    parts.push(digit(18), digit(12), b === undefined ? "=" : digit(6), c === undefined ? "=" : digit(0));
  }
  return parts.join("");
}

/** Bytes, such as a Buffer. */
export const bytes = (data: Uint8Array): Bytes => branded(forms.bytes, base64(data));
/** Bytes in the URL-safe form. */
export const urlBytes = (data: Uint8Array): UrlBytes =>
  branded(forms["base64url-bytes"], base64(data).replace(/\+/g, "-").replace(/\//g, "_"));
/** Bytes in hex digits. */
export const hexBytes = (data: Uint8Array): HexBytes =>
  branded(forms["hex-bytes"], Array.from(data, (byte) => byte.toString(16).padStart(2, "0")).join(""));
