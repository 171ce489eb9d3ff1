// Drives every call and every toxic of npm's toxiproxy-node-client. The API's address is the argument; what is wrong is thrown.
"use strict";
const assert = require("node:assert/strict");
const net = require("node:net");
const { Toxiproxy } = require("toxiproxy-node-client");

const api = new Toxiproxy(`http://${process.argv[2]}`);
const now = () => performance.now();

// Sends back what it gets, and ends when its client does.
function echo() {
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("error", () => {});
    socket.pipe(socket);
  });
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server)));
}

// What comes back of so much data: the bytes, in how many pieces, how it ended, and when.
function exchange(proxy, data, end = true) {
  const [host, port] = proxy.listen.split(/:(?=\d+$)/);
  const start = now();
  return new Promise((resolve, reject) => {
    const seen = { bytes: Buffer.alloc(0), pieces: 0, first: null, ended: null, error: null };
    const timer = setTimeout(() => reject(new Error(`no end after 20 s: ${JSON.stringify(seen)}`)), 20000);
    const socket = net.connect({ host, port: Number(port), allowHalfOpen: true, noDelay: true });
    socket.on("connect", () => (end ? socket.end(data) : socket.write(data)));
    socket.on("data", (piece) => {
      seen.first ??= now() - start;
      seen.pieces += 1;
      seen.bytes = Buffer.concat([seen.bytes, piece]);
    });
    socket.on("end", () => socket.end());
    socket.on("error", (error) => (seen.error = error.code));
    socket.on("close", () => {
      clearTimeout(timer);
      seen.ended = now() - start;
      resolve(seen);
    });
  });
}

const between = (value, low, high, what) => assert.ok(value >= low && value < high, `${what}: ${value} is not in [${low}, ${high})`);
const refused = (promise, status) => assert.rejects(promise, (error) => error.message.includes(`status code ${status}`));

async function withToxic(proxy, body, check) {
  const toxic = await proxy.addToxic(body);
  assert.equal(toxic.type, body.type);
  for (const [name, value] of Object.entries(body.attributes)) assert.equal(toxic.attributes[name], value);
  await check(toxic);
  await toxic.remove();
  await refused(proxy.getToxic(toxic.name), 404);
}

async function calls(upstream) {
  assert.match(JSON.parse(await api.getVersion()).version, /^2\.\d+\.\d+$/);
  const proxy = await api.createProxy({ name: "node", listen: "127.0.0.1:0", upstream });
  assert.ok(proxy.enabled && !proxy.listen.endsWith(":0"));
  await refused(api.createProxy({ name: "node", listen: "127.0.0.1:0", upstream }), 409);
  await refused(api.createProxy({ name: "x", listen: proxy.listen, upstream }), 500);
  await refused(api.get("none"), 404);
  assert.equal((await api.get("node")).listen, proxy.listen);
  assert.deepEqual(Object.keys(await api.getAll()), ["node"]);

  const disabled = await proxy.update({ enabled: false, listen: proxy.listen, upstream });
  assert.equal(disabled.enabled, false);
  assert.equal((await exchange(proxy, "x")).error, "ECONNREFUSED");
  await api.reset();
  assert.equal((await api.get("node")).enabled, true);
  assert.equal((await exchange(proxy, "x")).bytes.toString(), "x");

  const populated = await api.populate([{ name: "one", listen: "127.0.0.1:0", upstream }, { name: "two", listen: "127.0.0.1:0", upstream }]);
  assert.deepEqual(Object.keys(populated).sort(), ["one", "two"]);
  assert.equal((await exchange(populated.one, "hi")).bytes.toString(), "hi");
  await populated.one.remove();
  await refused(api.get("one"), 404);
  return proxy;
}

async function toxics(proxy) {
  const data = Buffer.from(Array.from({ length: 4000 }, (_, i) => i % 251));
  const whole = (seen) => assert.deepEqual(seen.bytes, data);

  await withToxic(proxy, { type: "latency", attributes: { latency: 150, jitter: 0 } }, async (toxic) => {
    const seen = await exchange(proxy, data);
    whole(seen);
    between(seen.first, 148, 1500, "latency");
    const changed = await toxic.update({ attributes: { latency: 300 }, toxicity: 1 });
    assert.equal(changed.attributes.latency, 300);
    between((await exchange(proxy, data)).first, 298, 2000, "latency, changed");
    await refused(proxy.addToxic({ type: "latency", attributes: {} }), 409);
  });
  await withToxic(proxy, { type: "latency", stream: "upstream", toxicity: 0, attributes: { latency: 5000 } }, async () => {
    between((await exchange(proxy, data)).first, 0, 4000, "toxicity 0");
  });
  await withToxic(proxy, { type: "bandwidth", attributes: { rate: 10 } }, async () => {
    const seen = await exchange(proxy, data);
    whole(seen);
    between(seen.ended, 300, 4000, "4 KB at 10 KB/s");
  });
  await withToxic(proxy, { type: "slow_close", attributes: { delay: 250 } }, async () => {
    const seen = await exchange(proxy, data);
    whole(seen);
    between(seen.ended, 248, 2500, "slow_close");
  });
  await withToxic(proxy, { type: "timeout", attributes: { timeout: 200 } }, async () => {
    const seen = await exchange(proxy, data, false);
    assert.equal(seen.bytes.length, 0);
    between(seen.ended, 198, 2500, "timeout");
  });
  await withToxic(proxy, { type: "reset_peer", attributes: { timeout: 0 } }, async () => {
    assert.equal((await exchange(proxy, data, false)).error, "ECONNRESET");
  });
  await withToxic(proxy, { type: "slicer", attributes: { average_size: 500, size_variation: 100, delay: 20000 } }, async () => {
    const seen = await exchange(proxy, data);
    whole(seen);
    between(seen.pieces, 4, 100, "pieces");
  });
  await withToxic(proxy, { type: "limit_data", attributes: { bytes: 1234 } }, async () => {
    assert.deepEqual((await exchange(proxy, data, false)).bytes, data.subarray(0, 1234));
  });
  await withToxic(proxy, { type: "noop", attributes: {} }, async () => whole(await exchange(proxy, data)));
  await refused(proxy.addToxic({ type: "nonsense", attributes: {} }), 400);
  await refused(proxy.addToxic({ type: "latency", attributes: { latency: "5" } }), 400);
}

(async () => {
  const server = await echo();
  const proxy = await calls(`127.0.0.1:${server.address().port}`);
  await toxics(proxy);
  await proxy.remove();
  await refused(proxy.remove(), 404);
  console.log("all calls and all toxics did what they say");
  process.exit(0);
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
