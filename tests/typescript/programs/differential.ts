// Each line of the input is [task, payload]; each line of the output is what would be sent, or "".

import { readFileSync } from "node:fs";
import { bundle, InvalidArguments, toJson } from "../fuzz/index.js";
import { parse } from "./exact.js";

const lines = readFileSync(0, "utf8").split("\n").filter(Boolean).map((line) => JSON.parse(line) as [string, string]);
const answers = lines.map(([name, payload]) => {
  const task = bundle.tasks.get(name);
  if (task === undefined) throw new Error(name);
  try {
    return toJson(task.payload, parse(payload));
  } catch (error) {
    if (error instanceof InvalidArguments) return "";
    throw error;
  }
});
console.log(answers.map((answer) => JSON.stringify(answer)).join("\n"));
