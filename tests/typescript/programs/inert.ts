// Whoever runs code of the hostile bundle sets a global; its members and values are plain data.

import * as hostile from "../hostile/index.js";

const { pwned } = globalThis as { pwned?: unknown };
const refused = [...hostile.bundle.tasks.values()].filter(({ payload }) => {
  try {
    payload.write({}, { up: null, step: "$", left: 8 });
    return false;
  } catch (error) {
    return error instanceof hostile.InvalidArguments;
  }
});
console.log(JSON.stringify({ pwned: pwned ?? null, tasks: hostile.bundle.tasks.size, refused: refused.length }));
