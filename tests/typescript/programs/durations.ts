// The argument is a list of seconds; the output is what `duration` makes of each, or "".

import { duration, InvalidArguments } from "../fuzz/index.js";

const seconds = JSON.parse(process.argv[2] ?? "") as number[];
const texts = seconds.map((each) => {
  try {
    return duration(each);
  } catch (error) {
    if (error instanceof InvalidArguments) return "";
    throw error;
  }
});
console.log(JSON.stringify(texts));
