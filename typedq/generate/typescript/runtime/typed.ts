// What the module of contracts is written with.

export * from "./checks.js";
export type { Bundle } from "./requests.js";
export type {
  AwareDateTime, AwareTime, Bytes, CalendarDate, DateTime, Decimal, Duration, HexBytes, Int, Json,
  NaiveDateTime, NaiveTime, Time, UrlBytes, Uuid,
} from "./values.js";
