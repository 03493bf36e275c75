// Limiters of npm as people mount them: `node limiters.mjs CONTROL PORT LIMIT WINDOW_S` serves /api/thing behind one.
const [control, port, limit, windowS] = [process.argv[2], ...process.argv.slice(3).map(Number)];
const windowMs = windowS * 1000;
const thing = { it: "is" };
const health = { status: "ok" };

async function withExpress(middleware) {
  const { default: express } = await import("express");
  const app = express();
  app.use("/api", middleware);
  app.get("/api/thing", (_, answer) => answer.json(thing));
  app.get("/health", (_, answer) => answer.json(health));
  return new Promise((done) => app.listen(port, "127.0.0.1", done));
}

async function expressRateLimit(standardHeaders) {
  const { rateLimit } = await import("express-rate-limit");
  return withExpress(rateLimit({ windowMs, limit, standardHeaders, legacyHeaders: standardHeaders === false }));
}

async function flexible() {
  const { RateLimiterMemory } = await import("rate-limiter-flexible");
  const limiter = new RateLimiterMemory({ points: limit, duration: windowS });
  return withExpress(async (request, answer, next) => {
    try {
      const told = await limiter.consume(request.ip);
      answer.set("X-RateLimit-Limit", String(limit));
      answer.set("X-RateLimit-Remaining", String(told.remainingPoints));
      next();
    } catch (told) {
      answer.set("X-RateLimit-Limit", String(limit));
      answer.set("X-RateLimit-Remaining", "0");
      answer.set("Retry-After", String(Math.ceil(told.msBeforeNext / 1000)));
      answer.status(429).json({ error: "too many" });
    }
  });
}

async function fastify() {
  const { default: makeFastify } = await import("fastify");
  const { default: rateLimit } = await import("@fastify/rate-limit");
  const app = makeFastify();
  await app.register(rateLimit, { max: limit, timeWindow: windowMs, allowList: (request) => request.url === "/health" });
  app.get("/api/thing", async () => thing);
  app.get("/health", async () => health);
  await app.listen({ host: "127.0.0.1", port });
}

async function koa() {
  const { default: Koa } = await import("koa");
  const { default: ratelimit } = await import("koa-ratelimit");
  const app = new Koa();
  const limiter = ratelimit({ driver: "memory", db: new Map(), duration: windowMs, max: limit, id: (context) => context.ip });
  app.use((context, next) => (context.path.startsWith("/api") ? limiter(context, next) : next()));
  app.use((context) => {
    context.body = context.path === "/health" ? health : thing;
  });
  await new Promise((done) => app.listen(port, "127.0.0.1", done));
}

const controls = {
  "express-rate-limit-legacy": () => expressRateLimit(false),
  "express-rate-limit-draft-6": () => expressRateLimit("draft-6"),
  "express-rate-limit-draft-7": () => expressRateLimit("draft-7"),
  "express-rate-limit-draft-8": () => expressRateLimit("draft-8"),
  "rate-limiter-flexible": flexible,
  "fastify-rate-limit": fastify,
  "koa-ratelimit": koa,
};
await controls[control]();
