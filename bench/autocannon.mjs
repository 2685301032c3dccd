// For Node.js: runs autocannon with the job of its standard input, and prints the figures as JSON.
import { text } from "node:stream/consumers";
import autocannon from "autocannon";

const { url, connections, durationS, once, pipelined = 1, requests } = JSON.parse(await text(process.stdin));

// Each connection sends its own part of the sequence; a single request is sent by all.
const share = requests.length < connections ? requests.length : Math.floor(requests.length / connections);
let connection = 0;
const result = await autocannon({
  url,
  connections,
  pipelining: pipelined,
  ...(once ? { amount: share * connections } : { duration: durationS }),
  // If several are in flight on a connection, they are the same request.
  ...(pipelined > 1 ? requests[0] : {}),
  setupClient(client) {
    if (pipelined > 1) return;
    const from = (connection++ * share) % requests.length;
    client.setRequests(requests.slice(from, from + share));
  },
});

const seconds = (result.finish - result.start) / 1000;
const { total } = result.requests;
console.log(
  JSON.stringify({
    count: total,
    seconds,
    p50Ms: result.latency.p50,
    p99Ms: result.latency.p99,
    errors: result.errors + result.timeouts + result["4xx"] + result["5xx"],
  }),
);
