// JSON as the checks take it: integers that a number cannot hold are bigints.

export function parse(text: string): unknown {
  const revive = (_: string, value: unknown, context?: { source?: string }): unknown => {
    const source = context?.source ?? "";
    const big = typeof value === "number" && !Number.isSafeInteger(value) && /^-?\d+$/.test(source);
    return big ? BigInt(source) : value;
  };
  return JSON.parse(text, revive as (key: string, value: unknown) => unknown);
}
