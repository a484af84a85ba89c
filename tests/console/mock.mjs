// A server that answers as the API does (`/api/v1`), over the made-up world, and serves what the console's build made.
// `node tests/console/mock.mjs [PORT] [--large]` to look at it by hand.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { existsSync, readFileSync } from "node:fs";
import { randomUUID } from "node:crypto";
import { wrongAnswer } from "./document.mjs";
import * as world from "./world.mjs";

const ROOT = new URL("../../", import.meta.url);
const CSP = readFileSync(new URL("crates/console/src/csp.txt", ROOT), "utf8").trim();
const TYPES = { js: "text/javascript", css: "text/css", html: "text/html; charset=utf-8", svg: "image/svg+xml", txt: "text/plain; charset=utf-8" };
export const TOKEN = "token-of-the-test";

function glob(pattern, text) {
  return pattern === null || (pattern.endsWith("*") ? text.startsWith(pattern.slice(0, -1)) : text === pattern);
}

/** Whether a record is asked for. */
function fits(query, it) {
  const kinds = query.getAll("kind");
  const q = query.get("q");
  return (
    (kinds.length === 0 || kinds.includes(it.kind)) && (!query.get("verdict") || it.verdict === query.get("verdict")) && glob(query.get("source"), it.source) &&
    glob(query.get("destination"), it.destination) && glob(query.get("node"), it.node) && (!query.get("tool") || (it.detail?.operation?.tools ?? []).some((tool) => glob(query.get("tool"), tool))) && (!query.get("rule") || it.rule === query.get("rule")) && (!query.get("reason") || it.reason === query.get("reason")) &&
    (!query.get("port") || it.port === Number(query.get("port"))) && (!q || [it.source, it.destination, it.rule, it.reason].some((text) => text.includes(q))) &&
    (!query.get("since") || it.time >= query.get("since")) && (!query.get("until") || it.time <= query.get("until"))
  );
}

/**
 * One server. `large`: 180,000 records, of which 100,000 are connections, and a graph of 5,000 edges. `prefix`: below which path, as behind a proxy. `rate`: records a
 * second. `future`: it is of a later version, with words and fields that nobody knows yet. `empty`: nothing has happened.
 * `million`: so many edges that the server puts them together.
 */
export function mock({ large = false, prefix = "", rate = 4, future = false, empty = false, million = false } = {}) {
  const now = Date.now();
  const all = world.records(now, empty ? 0 : large ? 180_000 : 2000);
  const found = empty ? [] : world.findings(now, all);
  const cases = empty ? [] : world.incidents(now, found);
  const sessions = new Set();
  const state = { down: false, hangs: false, slow: 0, rate, containments: 0, posts: [], lost: 0, wrong: [], hub: "some" };

  const problem = (response, status, title, detail) => {
    response.writeHead(status, { "content-type": "application/problem+json", "x-request-id": randomUUID() });
    response.end(JSON.stringify({ type: "about:blank", title, status, detail, request_id: "r" }));
  };
  const json = (response, answer) => {
    const { method, path } = response.asked;
    const body = future ? world.later(answer) : answer;
    if (!future) state.wrong.push(...wrongAnswer(method, path, answer));
    response.writeHead(200, { "content-type": "application/json", "x-request-id": randomUUID() });
    response.end(JSON.stringify(body));
  };
  const list = (items, next = null) => ({ items, next, lost: state.lost });
  const incidentOf = (id) => cases.find((it) => it.id === id);

  const whole = (incident) => ({
    incident,
    findings: found.filter((it) => incident.findings.includes(it.id)),
    timeline: world.timeline(now, all, found, incident),
    timeline_truncated: false,
    blast_radius: incident.workloads.map((workload) => ({
      workload,
      could: [{ destination: "ingest/StatefulSet/feature-store", port: "7000/TCP", rule: "" }, { destination: "train/StatefulSet/checkpoint-store", port: "9000/TCP", rule: "" }, { destination: "huggingface.co", port: "443/TCP", rule: "" }],
      could_is_complete: true,
      did: world.edges(all, workload),
    })),
  });

  function stream(request, response, query) {
    response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
    const send = (record) => {
      const told = future ? world.later(record) : record;
      if (fits(query, record)) response.write(`id: ${record.number}\nevent: record\ndata: ${JSON.stringify(told)}\n\n`);
    };
    const after = Number(request.headers["last-event-id"] ?? query.get("after") ?? all.length);
    for (const record of all.slice(after)) send(record);
    let sent = all.length;
    const timer = setInterval(() => {
      // Who was gone before the answer began says so to nobody.
      if (response.destroyed) return clearInterval(timer);
      for (let n = 0; n < state.rate; n += 1) all.push(world.one(all.length + 1, Date.now()));
      for (; sent < all.length; sent += 1) send(all[sent]);
    }, 1000);
    response.flushHeaders();
    response.on("close", () => clearInterval(timer));
  }

  function records(response, query) {
    const limit = Math.min(10_000, Number(query.get("limit") ?? 100));
    const before = Number(query.get("before") ?? Infinity);
    const items = [];
    if (limit > 1000) return problem(response, 400, "bad request", "limit: a whole number from 1 to 1000 is wanted");
    for (let at = Math.min(all.length, before - 1) - 1; at >= 0 && items.length < limit; at -= 1) if (fits(query, all[at])) items.push(all[at]);
    json(response, list(items, items.length === limit ? items.at(-1).number : null));
  }

  function why(response, number) {
    const record = all[number - 1];
    if (!record) return problem(response, 404, "no such record", `record ${number} is not in the ledger`);
    const lines = world.YAML.split("\n").map((text, index) => ({ number: 70 + index, text, decides: index >= 6 && index <= 10 }));
    const decided = record.rule.includes("hub");
    const deciding = { object: "EgressPolicy train/llm-trainer", field: "spec.egress[0]", name: "hub", file: "41-policies-train.yaml", line: 76, lines };
    json(response, {
      record,
      deciding: decided ? deciding : null,
      joined: all.slice(Math.max(0, number - 400), number + 50).filter((it) => it.source === record.source && it.destination === record.destination && it.number !== number).slice(0, 6),
      nearest: record.verdict === "deny" && decided ? { rule: record.rule, lacks: "verb upload: the rule allows download", deciding } : null,
      walk: world.walk(record, deciding),
    });
  }

  function series(response, query) {
    const step = Number(query.get("step") ?? 60);
    const start = Date.parse(query.get("since"));
    const length = Math.ceil((Date.now() - start) / 1000 / step);
    const sums = Object.fromEntries(["allow", "deny", "fail"].map((name) => [name, new Array(length).fill(0)]));
    for (const it of all) {
      const at = Math.floor((Date.parse(it.time) - start) / 1000 / step);
      if (fits(query, it) && sums[it.verdict] && at >= 0 && at < length) sums[it.verdict][at] += it.count;
    }
    json(response, { step, start: new Date(start).toISOString(), series: Object.entries(sums).map(([name, values]) => ({ name, values })) });
  }

  function hints(response, query) {
    const counts = new Map();
    const field = query.get("field");
    for (const it of all.slice(-5000)) if (String(it[field]).startsWith(query.get("prefix") ?? "") && glob(query.get("node"), it.node)) counts.set(it[field], (counts.get(it[field]) ?? 0) + 1);
    json(response, { items: [...counts].sort((a, b) => b[1] - a[1]).slice(0, 20).map(([value, count]) => ({ value, count })) });
  }

  function hunt(response, query) {
    const text = query.get("indicator");
    const hits = all.filter((it) => (it.destination.endsWith(text) || it.source === text) && glob(query.get("node"), it.node));
    const workloads = [...new Set(hits.map((it) => it.source))].map((workload) => {
      const own = hits.filter((it) => it.source === workload);
      return { workload, hits: own.length, first: own[0].time, last: own.at(-1).time };
    });
    json(response, { indicator: text, kind: "domain", hits: hits.length, first: hits[0]?.time ?? null, last: hits.at(-1)?.time ?? null, workloads, records: hits.slice(-50).reverse(), truncated: false });
  }

  function status() {
    return {
      version: "0.1.0", time: new Date().toISOString(), node: "node-1", generation: 14, enforcement: "nftables", degraded: [],
      ledger: { path: "/run/cofferdam/ledger.db", written: all.length, lost: state.lost, problem: null },
      sensors: [{ name: "node-1", role: "agent", ready: true, lost: 0, detail: "24 pods, 61 rows" }, { name: "node-1", role: "dns proxy", ready: true, lost: 0, detail: "" }, { name: "node-1", role: "gateway", ready: true, lost: 0, detail: "13 open connections" }],
      counts: { records: all.length, denied: all.filter((it) => it.verdict === "deny").length, findings: found.filter((it) => it.state === "open").length, incidents_open: cases.filter((it) => it.state === "open").length },
    };
  }

  function act(response, path, body) {
    state.posts.push([path, body]);
    const [, id, what] = /^incidents\/([^/]+)\/(\w+)$/.exec(path) ?? [];
    const incident = incidentOf(id);
    if (path.startsWith("findings/")) {
      const finding = found.find((it) => `findings/${it.id}/acknowledge` === path);
      if (finding) finding.state = "acknowledged";
      return json(response, {});
    }
    if (!incidentOf(id)) return problem(response, 404, "no such incident", path);
    if (what === "contain") {
      const until = new Date(Date.now() + body.minutes * 60_000).toISOString();
      if (!body.dry_run && !incident.contained.some((it) => it.workload === body.workload)) {
        state.containments += 1;
        incident.contained = [{ workload: body.workload, until }];
        incident.state = "contained";
      }
      const cuts = whole(incident).blast_radius[0].did.filter((edge) => edge.allowed > 0);
      return json(response, { policy: `apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata:\n  name: quarantine-${id}\nspec:\n  tier: Admin\n  priority: 0\n`, until, cuts, workload: body.workload, in_force: !body.dry_run, warnings: [] });
    }
    if (what === "release") {
      incident.contained = [];
      incident.state = "open";
      return json(response, { workload: body.workload, released: true });
    }
    if (what === "notes") incident.notes.push({ time: new Date().toISOString(), who: "local:0", text: body.text });
    if (what === "acknowledge") incident.state = "acknowledged";
    if (what === "close") incident.state = "closed";
    if (what === "reopen") incident.state = "open";
    return json(response, incident);
  }

  function api(request, response, path, query, body) {
    const cookie = /cofferdam_session=([^;]+)/.exec(request.headers.cookie ?? "")?.[1];
    if (path === "session" && request.method === "POST") {
      if (body?.token !== TOKEN) return problem(response, 401, "not logged in", "the token is not the one of this Cofferdam");
      const session = randomUUID();
      sessions.add(session);
      state.sessions = sessions;
      response.setHeader("set-cookie", `cofferdam_session=${session}; HttpOnly; SameSite=Strict; Path=/`);
      return json(response, { name: "local:0", role: "operator" });
    }
    if (path === "session" && request.method === "DELETE") {
      if (request.headers["x-cofferdam-csrf"] !== "1") return problem(response, 403, "refused", "the header x-cofferdam-csrf is missing");
      sessions.delete(cookie);
      response.setHeader("set-cookie", "cofferdam_session=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0");
      return json(response, {});
    }
    if (path === "login/provider") return json(response, { provider: state.provider ? "localhost" : null });
    if (path === "login" && state.provider) {
      const attempt = `${randomUUID()}.${encodeURIComponent(query.get("page") ?? "")}`;
      response.writeHead(302, { location: `${state.provider}authorize?state=${attempt.split(".")[0]}`, "set-cookie": `cofferdam_login=${attempt}; HttpOnly; SameSite=Lax; Path=/` });
      return response.end();
    }
    if (path === "login/callback") {
      const [, begun, page] = /cofferdam_login=([^.;]+)\.([^;]*)/.exec(request.headers.cookie ?? "") ?? [];
      if (!begun || begun !== query.get("state")) return problem(response, 400, "refused", "this log-in did not begin in this browser");
      const session = randomUUID();
      sessions.add(session);
      response.writeHead(302, { location: `../../../${decodeURIComponent(page)}`, "set-cookie": `cofferdam_session=${session}; HttpOnly; SameSite=Strict; Path=/` });
      return response.end();
    }
    if (state.hangs) return;
    if (!sessions.has(cookie)) return problem(response, 401, "not logged in", "no session");
    if (request.method === "POST") {
      if (request.headers["x-cofferdam-csrf"] !== "1") return problem(response, 403, "refused", "the header x-cofferdam-csrf is missing");
      return act(response, path, body);
    }
    const incident = /^incidents\/([^/]+)$/.exec(path)?.[1];
    const evidence = /^incidents\/([^/]+)\/evidence$/.exec(path);
    if (path === "me") return json(response, { name: "local:0", role: "operator" });
    if (path === "status") return json(response, status());
    if (path === "records") return records(response, query);
    if (path === "records/stream") return stream(request, response, query);
    if (/^records\/\d+$/.test(path)) return why(response, Number(path.slice(8)));
    if (path === "series") return series(response, query);
    if (path === "hints") return hints(response, query);
    if (path === "graph" && million) {
      assert.equal(query.get("fold"), "true", "a graph of any size is asked for");
      return json(response, world.foldedGraph(now, query.getAll("open")));
    }
    if (path === "graph") return json(response, large ? world.largeGraph(now, 5000) : world.graph(all.filter((it) => fits(query, it)), query.get("since")));
    if (path === "usage") return json(response, empty ? { items: [], budgets: [], truncated: false } : world.usage(now));
    if (path === "policies") return json(response, empty ? { generation: 0, items: [] } : world.policies(now));
    if (path === "clusters" && state.hub === "gone") return problem(response, 503, "not now", "the hub: it does not answer within 10s");
    if (path === "clusters") return json(response, world.fleet(now, state.hub !== "none"));
    if (path.startsWith("policies/")) return json(response, { yaml: world.YAML, file: "41-policies-train.yaml", line: 70 });
    if (path === "findings") return json(response, list(found.filter((it) => (!query.get("state") || it.state === query.get("state")) && (!query.get("severity") || it.severity === query.get("severity")) && glob(query.get("workload"), it.workload) && glob(query.get("subject"), it.subject) && glob(query.get("node"), it.node))));
    if (path === "incidents") return json(response, list(cases.filter((it) => (!query.get("state") || it.state === query.get("state")) && (!query.get("workload") || it.workloads.some((workload) => glob(query.get("workload"), workload))))));
    if (incident) {
      const it = cases.find((one) => one.id === decodeURIComponent(incident));
      return it ? json(response, whole(it)) : problem(response, 404, "no such incident", incident);
    }
    if (evidence) {
      response.writeHead(200, { "content-type": "application/x-tar" });
      return response.end("tar");
    }
    if (path === "hunt") return hunt(response, query);
    return problem(response, 404, "no such path", path);
  }

  function asset(response, path) {
    const name = path === "" || !path.includes(".") ? "index.html" : path;
    const file = new URL(`web/dist/${name}`, ROOT);
    if (name.includes("..") || !existsSync(file)) return problem(response, 404, "not found", name);
    response.writeHead(200, { "content-type": TYPES[name.split(".").at(-1)] ?? "application/octet-stream", "content-security-policy": CSP, "x-content-type-options": "nosniff" });
    response.end(readFileSync(file));
  }

  const server = createServer((request, response) => {
    if (state.down) return request.socket.destroy();
    const url = new URL(request.url, "http://localhost");
    if (!url.pathname.startsWith(prefix)) return problem(response, 404, "not found", url.pathname);
    const path = url.pathname.slice(prefix.length).replace(/^\//, "");
    if (!path.startsWith("api/v1/")) return asset(response, path);
    let text = "";
    request.on("data", (part) => (text += part));
    response.asked = { method: request.method, path: path.slice(7) };
    request.on("end", () => setTimeout(() => api(request, response, path.slice(7), url.searchParams, text ? JSON.parse(text) : null), state.slow));
  });
  return new Promise((resolve) => {
    // A test that fails leaves its server open, and must not keep the others' end from being told.
    server.unref();
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      /** Cuts all connections, as a proxy or a restart does. */
      const drop = () => server.closeAllConnections();
      const add = (many) => {
        for (let n = 0; n < many; n += 1) all.push(world.one(all.length + 1, Date.now()));
      };
      resolve({ url: `http://127.0.0.1:${port}${prefix}/`, state, all, found, cases, drop, add, close: () => (server.closeAllConnections(), server.close()) });
    });
  });
}

/** An identity provider at another site (`localhost` is not the site of 127.0.0.1): a page on which somebody consents. */
export async function provider(server) {
  const it = createServer((request, response) => {
    const state = new URL(request.url, "http://localhost").searchParams.get("state");
    response.writeHead(200, { "content-type": "text/html" });
    response.end(`<!doctype html><title>Provider</title><a href="${server.url}api/v1/login/callback?code=c&state=${state}">Consent</a>`);
  });
  it.unref();
  await new Promise((resolve) => it.listen(0, "127.0.0.1", resolve));
  server.state.provider = `http://localhost:${it.address().port}/`;
  return { close: () => (it.closeAllConnections(), it.close()) };
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
  const { url } = await mock({ large: process.argv.includes("--large") });
  console.log(`${url}#token=${TOKEN}`);
}
