// What no compiler sees: each of these throws at once, and nothing is sent.

import { Cluster, Redis } from "ioredis";
import { connect, ioredis } from "../shop/index.js";

const nobody = () => Promise.reject(new Error("it was sent"));
const server = { evalsha: nobody, eval: nobody };
const prefixed = { lazyConnect: true, keyPrefix: "app:" };
const mistakes: (() => unknown)[] = [
  () => connect(server).call("ping", null as never),
  () => connect(server, { deadline: Number.NaN }),
  () => connect(server, { deadline: 0 }),
  () => ioredis(new Redis(prefixed)),
  () => ioredis(new Cluster(["127.0.0.1:1"], { ...prefixed, redisOptions: prefixed })),
];
const told = mistakes.map((make) => {
  try {
    make();
    return "";
  } catch (error) {
    return String(error);
  }
});
console.log(JSON.stringify(told));
