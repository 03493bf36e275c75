// Circuit breakers of npm in a gateway: `node breakers.mjs CONTROL PORT BACKEND_PORT OPEN_S` forwards /api/thing.
const [, , control, ...numbers] = process.argv;
const [port, backend, openS] = numbers.map(Number);

async function ask() {
  const answer = await fetch(`http://127.0.0.1:${backend}/thing`, { signal: AbortSignal.timeout(2000) });
  return answer.text();
}

async function opossum() {
  const { default: CircuitBreaker } = await import("opossum");
  return new CircuitBreaker(ask, {
    timeout: 3000,
    errorThresholdPercentage: 50,
    volumeThreshold: 10,
    rollingCountTimeout: 10000,
    resetTimeout: openS * 1000,
  });
}

const { default: express } = await import("express");
const breaker = await { opossum }[control]();
const app = express();
app.get("/api/thing", async (_, answer) => {
  try {
    answer.json({ it: await breaker.fire() });
  } catch (error) {
    if (error.code === "EOPENBREAKER") answer.status(503).json({ code: "CIRCUIT_OPEN" });
    else answer.status(502).json({ code: "BAD_GATEWAY" });
  }
});
app.get("/health", (_, answer) => answer.json({ status: "ok" }));
app.listen(port, "127.0.0.1");
