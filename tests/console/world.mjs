// A made-up world in the form of the API: the example's pipeline with an attack on it, and names that were made to do harm.
// The same each time for the same `now`.

const SECOND = 1000;

export const HOSTILE = [
  '<img src=x onerror="window.hurt=1">.evil.example',
  "javascript:window.hurt=1//",
  "a\u001b[2J\u001b]0;owned\u0007b.example",
  "good.example\u202Egpj.exe",
  "pay\u0440al.example",
  `${"x".repeat(63)}.${"y".repeat(63)}.${"z".repeat(63)}.${"w".repeat(59)}`,
  "inv\u200Bis\u2060ible.example",
  "</script><script>window.hurt=1</script>",
];

const WORKLOADS = [
  ["ingest", "Deployment", "crawler"], ["ingest", "Deployment", "cleaner"], ["ingest", "Deployment", "embedder"], ["ingest", "StatefulSet", "feature-store"],
  ["train", "Job", "llm-trainer"], ["train", "StatefulSet", "checkpoint-store"], ["train", "Job", "globex-trainer"],
  ["serve", "Deployment", "inference"], ["serve", "StatefulSet", "vector-db"], ["serve", "Deployment", "rag-api"], ["serve", "Deployment", "agent"],
  ["gateway", "Deployment", "model-gateway"], ["clients", "Deployment", "chat-ui"],
];
const id = ([namespace, kind, name]) => `${namespace}/${kind}/${name}`;
const RULES = {
  hub: "EgressPolicy train/llm-trainer egress[0] hub (41-policies-train.yaml:78)",
  closed: "NetworkPolicy train/default-deny (41-policies-train.yaml:2)",
  trainer: "NetworkPolicy train/llm-trainer egress[1] (41-policies-train.yaml:24)",
  serve: "NetworkPolicy serve/inference egress[0] (41-policies-serve.yaml:31)",
  names: "EgressPolicy train/names-of-the-cluster dns (41-policies-train.yaml:66)",
  llm: "EgressPolicy serve/rag-api egress[0] llm (41-policies-serve.yaml:88)",
  money: "EgressPolicy serve/agent egress[1] tools (41-policies-serve.yaml:120)",
  admin: "ClusterNetworkPolicy metadata-service egress[0] (40-policies-admin.yaml:9)",
};

/** A generator of numbers that are the same each time. */
function dice(seed) {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

const TRAFFIC = [
  ["flow", "allow", "train/Job/llm-trainer", "ingest/StatefulSet/feature-store", 7000, "trainer", "rule-allows"],
  ["flow", "allow", "train/Job/llm-trainer", "train/Job/llm-trainer", 29500, "trainer", "rule-allows"],
  ["flow", "allow", "train/Job/llm-trainer", "train/StatefulSet/checkpoint-store", 9000, "trainer", "rule-allows"],
  ["flow", "allow", "serve/Deployment/inference", "train/StatefulSet/checkpoint-store", 9000, "serve", "rule-allows"],
  ["flow", "allow", "serve/Deployment/rag-api", "serve/StatefulSet/vector-db", 6333, "serve", "rule-allows"],
  ["flow", "allow", "serve/Deployment/rag-api", "serve/Deployment/inference", 8000, "serve", "rule-allows"],
  ["flow", "allow", "serve/Deployment/agent", "serve/Deployment/inference", 8000, "serve", "rule-allows"],
  ["flow", "allow", "clients/Deployment/chat-ui", "gateway/Deployment/model-gateway", 8443, "serve", "rule-allows"],
  ["flow", "allow", "gateway/Deployment/model-gateway", "serve/Deployment/inference", 8000, "serve", "rule-allows"],
  ["flow", "allow", "ingest/Deployment/cleaner", "ingest/Deployment/embedder", 8080, "serve", "rule-allows"],
  ["flow", "allow", "ingest/Deployment/embedder", "ingest/StatefulSet/feature-store", 7000, "serve", "rule-allows"],
  ["tls", "allow", "ingest/Deployment/crawler", "commons.wikimedia.org", 443, "serve", "named"],
  ["tls", "allow", "train/Job/llm-trainer", "huggingface.co", 443, "hub", "named"],
  ["tls", "allow", "serve/Deployment/rag-api", "api.openai.com", 443, "llm", "named"],
  ["dns", "allow", "train/Job/llm-trainer", "huggingface.co", 53, "hub", "listed"],
  ["dns", "allow", "serve/Deployment/rag-api", "api.openai.com", 53, "llm", "listed"],
  ["dns", "allow", "ingest/Deployment/crawler", "commons.wikimedia.org", 53, "serve", "listed"],
  ["dns", "fail", "ingest/Deployment/crawler", "old.mirror.example", 53, "serve", "no-such-name"],
  ["ai_call", "allow", "serve/Deployment/rag-api", "api.openai.com", 443, "llm", "rule-allows"],
  ["ai_call", "allow", "serve/Deployment/rag-api", "api.anthropic.com", 443, "llm", "rule-allows"],
  ["ai_call", "allow", "train/Job/llm-trainer", "huggingface.co", 443, "hub", "rule-allows"],
  ["ai_call", "allow", "serve/Deployment/agent", "api.openai.com", 443, "money", "rule-allows"],
];
const ATTACK = [
  ["flow", "deny", "train/Job/llm-trainer", "serve/StatefulSet/vector-db", 6333, "closed", "isolated"],
  ["flow", "deny", "train/Job/llm-trainer", "169.254.169.254", 80, "admin", "rule-denies"],
  ["dns", "deny", "train/Job/llm-trainer", "dGhpcyBpcyBkYXRh.t.exfil.example", 53, "names", "not-listed"],
  ["tls", "deny", "train/Job/llm-trainer", "paste.example", 443, "hub", "other-name"],
  ["ai_call", "deny", "train/Job/llm-trainer", "huggingface.co", 443, "hub", "no-rule-allows"],
  ["ai_call", "deny", "serve/Deployment/agent", "api.openai.com", 443, "money", "quota-money"],
];

function detail(kind, destination, source, roll) {
  if (kind === "dns") return { type: ["A", "AAAA", "TXT"][roll(3)], name: destination };
  if (kind !== "ai_call") return null;
  const isHub = destination === "huggingface.co";
  const model = isHub ? null : ["gpt-5-mini", "gpt-5", "claude-haiku-4-5"][roll(3)];
  const input = 300 + roll(4000);
  const output = 40 + roll(900);
  return {
    request_id: `req-${roll(1e6)}`, method: isHub ? "GET" : "POST", path: isHub ? "/acme/llm-7b/resolve/main/model.safetensors" : "/v1/chat/completions",
    operation: { provider: isHub ? "huggingface" : "openai", api: isHub ? "hub" : "chat", verb: isHub ? "download" : "generate", resource: isHub ? "acme/llm-7b" : null, model, stream: true, tools: source.endsWith("/agent") ? ["search_documents", "run_sql"] : [] },
    status: 200, duration_micros: 180_000 + roll(4_000_000), first_byte_micros: 60_000 + roll(500_000), generation: 14,
    ...(isHub ? {} : { usage: { input_tokens: input, output_tokens: output, model }, cost: { nanos: input * 250 + output * 2000, currency: "USD" } }),
  };
}

function record(number, time, [kind, verdict, source, destination, port, rule, reason], roll) {
  const sent = kind === "dns" ? 70 : 400 + roll(90_000);
  return {
    number, time: new Date(time).toISOString().replace("Z", "000Z"), kind, verdict, node: `node-${1 + (number % 2)}`, source, destination, port,
    protocol: kind === "dns" ? 17 : 6, rule: RULES[rule] ?? rule, reason, count: verdict === "deny" ? 1 : 1 + roll(20),
    bytes_sent: verdict === "deny" ? 0 : sent, bytes_received: verdict === "deny" ? 0 : sent * (1 + roll(30)),
    detail: detail(kind, destination, source, roll),
  };
}

/** Records, the oldest first: normal traffic, an attack in the last twelve minutes, hostile names among it. */
export function records(now, many) {
  const roll = dice(7);
  const long = 50 * 60 * SECOND;
  return Array.from({ length: many }, (_, index) => {
    const time = now - long + Math.floor((index / many) * long);
    const late = now - time < 12 * 60 * SECOND;
    const attack = late && roll(4) === 0;
    const row = attack ? ATTACK[roll(ATTACK.length)] : TRAFFIC[roll(TRAFFIC.length)];
    const hostile = roll(many > 5000 ? 500 : 40) === 0;
    const shown = hostile ? ["dns", "deny", "ingest/Deployment/crawler", HOSTILE[roll(HOSTILE.length)], 53, "names", "not-listed"] : row;
    return record(index + 1, time, shown, roll);
  });
}

export function one(number, time) {
  const roll = dice(number);
  return record(number, time, roll(6) === 0 ? ATTACK[roll(ATTACK.length)] : TRAFFIC[roll(TRAFFIC.length)], roll);
}

const PROVIDERS = { "api.openai.com": "OpenAI", "api.anthropic.com": "Anthropic", "huggingface.co": "Hugging Face" };
function registrable(name) {
  return /^[0-9.]+$/.test(name) ? name : name.split(".").slice(-2).join(".");
}

function node(name) {
  if (/^[a-z]+\/[A-Z]\w+\//.test(name) || name.startsWith("team-")) return { id: name, kind: "workload", namespace: name.split("/")[0], label: name };
  if (PROVIDERS[name]) return { id: name, kind: "provider", group: PROVIDERS[name], label: name };
  return { id: name, kind: "external", group: registrable(name), label: name };
}

export function graph(all, since = null) {
  const edges = new Map();
  for (const it of all) {
    const key = `${it.source}\n${it.destination}`;
    const edge = edges.get(key) ?? { source: it.source, destination: it.destination, ports: [], allowed: 0, denied: 0, bytes_sent: 0, bytes_received: 0, first_seen: it.time, last_seen: it.time, is_new: since !== null && it.verdict === "deny" };
    const port = `${it.port}/${it.protocol === 17 ? "UDP" : "TCP"}`;
    if (!edge.ports.includes(port)) edge.ports.push(port);
    if (it.verdict === "allow") edge.allowed += it.count;
    if (it.verdict === "deny") edge.denied += it.count;
    edge.bytes_sent += it.bytes_sent;
    edge.bytes_received += it.bytes_received;
    edge.last_seen = it.time;
    edges.set(key, edge);
  }
  const names = new Set([...edges.values()].flatMap((edge) => [edge.source, edge.destination]));
  return { nodes: [...names].map(node), edges: [...edges.values()], truncated: false, pairs: edges.size, left_out: 0, is_folded: false };
}

/** A large cluster: so many edges between 800 workloads in 40 namespaces, and 200 outside names. */
export function largeGraph(now, many) {
  const roll = dice(3);
  const workload = (n) => `team-${String(n % 40).padStart(2, "0")}/Deployment/service-${n}`;
  const outside = (n) => `host-${n}.domain-${n % 60}.example`;
  const seen = new Set();
  const edges = [];
  while (edges.length < many) {
    const source = workload(roll(800));
    const destination = roll(4) === 0 ? outside(roll(200)) : workload(roll(800));
    if (seen.has(source + destination)) continue;
    seen.add(source + destination);
    const denied = roll(20) === 0 ? 1 + roll(50) : 0;
    const time = new Date(now).toISOString();
    edges.push({ source, destination, ports: ["443/TCP"], allowed: denied ? 0 : 1 + roll(1000), denied, bytes_sent: denied ? 0 : roll(1e7), bytes_received: denied ? 0 : roll(1e8), first_seen: time, last_seen: time, is_new: roll(200) === 0 });
  }
  const names = new Set(edges.flatMap((edge) => [edge.source, edge.destination]));
  return { nodes: [...names].map(node), edges, truncated: false, pairs: edges.length, left_out: 0, is_folded: false };
}

/** A million edges between 40 namespaces and outside domains, put together by the server but for what is open. */
export function foldedGraph(now, open) {
  const time = new Date(now).toISOString();
  const team = (n) => `team-${String(n).padStart(2, "0")}`;
  const together = (n) => ({ id: `n:${team(n)}`, kind: "workload", namespace: team(n), label: team(n), members: 500 + n });
  const one = (n) => ({ id: `${team(n)}/Deployment/service-${n}`, kind: "workload", namespace: team(n), label: `service-${n}` });
  const inside = Array.from({ length: 40 }, (_, n) => (open.includes(`n:${team(n)}`) ? one(n) : together(n)));
  const outside = Array.from({ length: 60 }, (_, n) => ({ id: `e:domain-${n}.example`, kind: "external", group: `domain-${n}.example`, label: `domain-${n}.example`, members: 16000 }));
  const others = { id: "e:(others)", kind: "external", group: "(others)", label: "(others)", members: 9001 };
  const nodes = [...inside, ...outside, others];
  const edges = inside.flatMap((from, n) =>
    [inside[(n * 7 + 1) % 40], outside[n], outside[(n * 3) % 60], others].map((to, at) => ({ source: from.id, destination: to.id, ports: ["443/TCP"], allowed: 6000 + n, denied: n === 7 && at === 1 ? 12 : 0, bytes_sent: 10 ** (n % 9), bytes_received: 1000, first_seen: time, last_seen: time, is_new: n === 3 })),
  );
  return { nodes, edges, truncated: true, pairs: 1_000_000, left_out: 1234, is_folded: true };
}

export function findings(now, all) {
  const at = (minutes) => new Date(now - minutes * 60 * SECOND).toISOString();
  const of = (destination) => all.filter((it) => it.destination === destination && it.verdict === "deny").slice(-6).map((it) => `${it.kind}:${it.number}`);
  const base = { node: "node-1", workload: "train/Job/llm-trainer", count: 1, rule: "", entries: [1], state: "open" };
  const list = [
    { ...base, id: "f-tunnel", detector: "dns-tunnel", severity: "high", time: at(11), subject: "exfil.example", count: 4, sentence: "train/Job/llm-trainer asked for 48 long names below exfil.example in one minute: 3.1 kB of data could have left in them", numbers: [{ name: "distinct names a minute", value: 48, baseline: 1, threshold: 20 }, { name: "bytes in names", value: 3120, baseline: 40, threshold: 1000 }], records: of("dGhpcyBpcyBkYXRh.t.exfil.example"), techniques: ["T1071.004", "T1048"] },
    { ...base, id: "f-lateral", detector: "lateral-movement", severity: "high", time: at(9), subject: "serve/StatefulSet/vector-db", sentence: "train/Job/llm-trainer tried 5 workloads of another namespace that it never met before, and was stopped", numbers: [{ name: "new destinations", value: 5, baseline: 0, threshold: 3 }], records: of("serve/StatefulSet/vector-db"), techniques: ["T1021"] },
    { ...base, id: "f-meta", detector: "new-destination", severity: "medium", time: at(8), subject: "169.254.169.254", sentence: "train/Job/llm-trainer tried the cloud's metadata service, which nobody here does", numbers: [], records: of("169.254.169.254"), techniques: ["T1552.005"] },
    { ...base, workload: "serve/Deployment/agent", id: "f-money", detector: "quota-money", severity: "low", time: at(5), subject: "api.openai.com", sentence: "serve/Deployment/agent has used up what it may spend today: 5.00 USD", numbers: [{ name: "USD today", value: 5.0, threshold: 5 }], records: [], techniques: [] },
    { ...base, workload: "ingest/Deployment/crawler", id: "f-hostile", detector: "dga", severity: "low", time: at(4), subject: HOSTILE[0], sentence: `ingest/Deployment/crawler asked for ${HOSTILE[2]}`, numbers: [], records: [], techniques: [], state: "acknowledged" },
  ];
  return list.map((it) => ({ ...it, until: it.time, first: it.time, last: it.time }));
}

export function incidents(now, found) {
  const first = found.slice(0, 3);
  return [
    { id: "inc-7f31", title: "train/Job/llm-trainer tunnels data through DNS and tries other namespaces", state: "open", severity: "high", score: 87, parts: [{ what: "dns-tunnel", points: 46, why: "high; 48 names a minute where 20 is the limit" }, { what: "lateral-movement", points: 27, why: "high; 5 workloads of another namespace" }, { what: "new-destination", points: 9, why: "medium; the metadata service" }, { what: "sensitive target", points: 12, why: "serve/StatefulSet/vector-db holds tenants’ data" }, { what: "all denied", points: -7, why: "no attempt got through" }], workloads: ["train/Job/llm-trainer"], destinations: ["exfil.example", "serve/StatefulSet/vector-db", "169.254.169.254"], detectors: ["dns-tunnel", "lateral-movement", "new-destination"], techniques: ["T1071.004", "T1048", "T1021", "T1552.005"], first: first[0].time, last: first[2].time, findings: first.map((it) => it.id), notes: [], contained: [] },
    { id: "inc-02aa", title: "serve/Deployment/agent has used up its budget", state: "acknowledged", severity: "low", score: 12, parts: [{ what: "quota-money", points: 12, why: "low" }], workloads: ["serve/Deployment/agent"], destinations: ["api.openai.com"], detectors: ["quota-money"], techniques: [], first: found[3].time, last: found[3].time, findings: ["f-money"], notes: [{ time: found[3].time, who: "alex", text: "Known: the load test of today." }], contained: [] },
  ];
}

const SENTENCES = { flow: "a connection", dns: "a DNS query", tls: "a connection to a name", ai_call: "an API call" };

export function timeline(now, all, found, incident) {
  const mine = all.filter((it) => incident.workloads.includes(it.source) && it.verdict === "deny").slice(-60);
  const items = mine.map((it) => ({ time: it.time, kind: it.kind, verdict: it.verdict, source: it.source, destination: it.destination, port: it.port, rule: it.rule, reason: it.reason, number: it.number, sentence: `${SENTENCES[it.kind]} to ${it.destination}${it.kind === "dns" ? "" : `:${it.port}`} was denied` }));
  for (const it of all.filter((it) => incident.workloads.includes(it.source) && it.verdict === "allow").slice(-12)) items.push({ time: it.time, kind: it.kind, verdict: it.verdict, source: it.source, destination: it.destination, port: it.port, rule: it.rule, reason: it.reason, number: it.number, sentence: `${it.count} × ${SENTENCES[it.kind]} to ${it.destination}` });
  for (const id of incident.findings) {
    const finding = found.find((it) => it.id === id);
    if (finding) items.push({ time: finding.time, kind: "finding", verdict: "none", source: finding.workload, destination: finding.subject, port: 0, rule: "", reason: finding.detector, number: all.length - 3, sentence: finding.sentence });
  }
  items.push({ time: new Date(now - 7 * 60 * SECOND).toISOString(), kind: "audit", verdict: "none", source: "cofferdam", destination: "", port: 0, rule: "", reason: "policy-applied", number: all.length - 2, sentence: "policy generation 14 came into force: EgressPolicy train/llm-trainer changed" });
  return items.sort((a, b) => a.time.localeCompare(b.time));
}

export function usage(now) {
  const item = (workload, service, model, calls, denied, input, output, cost, p50, p95, first, found) => ({ workload, service, model, calls, denied, input_tokens: input, output_tokens: output, cost_nanos: cost, ...(cost ? { currency: "USD" } : {}), p50_ms: p50, p95_ms: p95, first_token_p50_ms: first, findings: found });
  return {
    truncated: false,
    items: [
      item("serve/Deployment/rag-api", "api.openai.com", "gpt-5-mini", 1841, 0, 5_210_000, 812_000, 2_926_500_000, 840, 2900, 210, 0),
      item("serve/Deployment/agent", "api.openai.com", "gpt-5", 312, 44, 1_902_000, 402_000, 5_000_000_000, 2200, 9100, 480, 2),
      item("serve/Deployment/rag-api", "api.anthropic.com", "claude-haiku-4-5", 240, 0, 610_000, 98_000, 1_100_000_000, 690, 1800, 160, 0),
      item("train/Job/llm-trainer", "huggingface.co", "", 58, 9, 0, 0, 0, 320, 12000, 90, 1),
    ],
    budgets: [
      { workload: "serve/Deployment/agent", rule: RULES.money, what: "money", used: 5_000_000_000, limit: 5_000_000_000, window: "day", resets: new Date(now + 5 * 3600 * SECOND).toISOString() },
      { workload: "serve/Deployment/rag-api", rule: RULES.llm, what: "tokens", used: 6_730_000, limit: 10_000_000, window: "day", resets: new Date(now + 5 * 3600 * SECOND).toISOString() },
      { workload: "serve/Deployment/rag-api", rule: RULES.llm, what: "requests", used: 2081, limit: 20_000, window: "hour", resets: new Date(now + 1200 * SECOND).toISOString() },
    ],
  };
}

export function policies(now) {
  const at = new Date(now - 30 * SECOND).toISOString();
  const rule = (text, field, name, hits, denied) => ({ rule: text, field, name, hits, denied, last: hits ? at : null });
  const shadow = {
    sources: ["next/"], policies: 9, problem: null, judged: 41231, would_deny: 12, would_allow: 3, unknown: 0, unlisted: 2,
    differences: [
      { verdict: "deny", source: "train/Job/finetune", destination: "serve/vector-db-0", protocol: "TCP", port: 6333, rule: "NetworkPolicy serve/vector-db spec (next/serve.yaml:12)", count: 12, first: at, last: at },
      { verdict: "allow", source: "serve/Deployment/rag", destination: "<b>10.8.0.4</b>", protocol: "ICMP", port: 0, rule: "NetworkPolicy serve/rag spec.egress[1] (next/serve.yaml:40)", count: 3, first: at, last: at },
    ],
  };
  return {
    generation: 14,
    shadow,
    items: [
      { kind: "NetworkPolicy", namespace: "train", name: "llm-trainer", file: "41-policies-train.yaml", line: 11, tier: "network-policy", selects: 3, rules: [rule(RULES.trainer, "egress[1]", null, 18234, 0), rule("NetworkPolicy train/llm-trainer ingress[0] (41-policies-train.yaml:18)", "ingress[0]", null, 9001, 0)], problems: [] },
      { kind: "NetworkPolicy", namespace: "train", name: "default-deny", file: "41-policies-train.yaml", line: 2, tier: "network-policy", selects: 5, rules: [rule(RULES.closed, "spec", null, 61, 61)], problems: [] },
      { kind: "EgressPolicy", namespace: "train", name: "llm-trainer", file: "41-policies-train.yaml", line: 70, tier: "network-policy", selects: 3, rules: [rule(RULES.hub, "egress[0]", "hub", 412, 21), rule("EgressPolicy train/llm-trainer egress[1] mirror (41-policies-train.yaml:90)", "egress[1]", "mirror", 0, 0)], problems: [] },
      { kind: "EgressPolicy", namespace: "serve", name: "agent", file: "41-policies-serve.yaml", line: 112, tier: "network-policy", selects: 1, rules: [rule(RULES.money, "egress[1]", "tools", 356, 44)], problems: ["egress[1].budget: no price is known for model gpt-5-preview, so calls to it are denied (give one with --prices)"] },
      { kind: "ClusterNetworkPolicy", namespace: "", name: "metadata-service", file: "40-policies-admin.yaml", line: 2, tier: "admin", selects: 24, rules: [rule(RULES.admin, "egress[0]", "no-metadata", 7, 7)], problems: [], standing: { in_force: false, detail: "on 1 of 2 nodes; waits for node-2 (its agent is cut off)" } },
    ],
  };
}

export const YAML = `apiVersion: cofferdam.dev/v1alpha1
kind: EgressPolicy
metadata: {name: llm-trainer, namespace: train}
spec:
  subject: {podSelector: {matchLabels: {app: llm-trainer, tenant: acme}}}
  egress:
    - name: hub
      action: Allow
      to: [{domains: [huggingface.co]}]
      ports: [{port: 443}]
      operations: [{verbs: [download], resources: ["acme/*"]}]`;

/** How the tiers are walked for a record, as `cofferdam policy explain` would tell. */
export function walk(record, deciding) {
  if (record.kind === "finding" || record.kind === "audit") return null;
  const step = (tier, found, text = "", more = {}) => ({ tier, found, text, decides: false, ...more });
  const first = step("admin", "nothing");
  const denied = record.verdict === "deny";
  const steps =
    record.rule === RULES.admin ? [step("admin", "matches", RULES.admin, { action: "deny", decides: true })]
    : denied && record.kind === "flow" ? [first, step("network-policy", "selects", "NetworkPolicy train/llm-trainer (41-policies-train.yaml:11)"), step("network-policy", "selects", "NetworkPolicy train/default-deny (41-policies-train.yaml:2)", { decides: true })]
    : [first, step("network-policy", "matches", record.rule, { action: "accept", decides: true })];
  const verdict = denied && record.kind === "flow" ? "deny" : "allow";
  const egress = { direction: "egress", subject: `pod ${record.source.replace(/\/[A-Z]\w+\//, "/")}-0`, verdict, reason: verdict === "deny" ? "a policy selects the pod, and no rule of any allows it" : "a rule allows it", decides: true, steps };
  const name = { direction: "name", subject: egress.subject, verdict: "allow", reason: "a rule lists the name", decides: false, steps: [step("network-policy", "matches", record.rule, { action: "accept", decides: true })] };
  const nearest = verdict === "deny" ? { rule: RULES.trainer, lacks: ["port 6333 is not 7000", "the peer is not app=feature-store"], deciding } : null;
  return { generation: 14, verdict, sides: record.kind === "flow" ? [egress] : [name, egress], nearest };
}

/** A fleet with a rollout that is held, one that was taken back, and one that is done. */
export function fleet(now, has) {
  if (!has) return { has_hub: false, clusters: [], more_clusters: 0, rollouts: [] };
  const release = (number) => ({ number, digest: `sha256:${String(number).repeat(64).slice(0, 64)}` });
  const cluster = (name, env, enforced, more = {}) => ({ name, labels: [`env=${env}`, "region=eu"], wanted: release(enforced), enforced: release(enforced), silent_seconds: 3, policies: 41, effective: release(enforced).digest, drift_is: "correct", drift: [], problems: [], ...more });
  const errors = (more) => ({ connections: { tried: 0, failed: 0 }, names: { tried: 0, failed: 0 }, requests: { tried: 0, failed: 0 }, ...more });
  const failing = errors({ names: { tried: 900, failed: 4 }, requests: { tried: 40, failed: 3 } });
  const numbers = (more) => ({ clusters: 0, reporting: 0, failing: 0, seconds: 0, flows: 0, denials: 0, accepted: 0, findings: 0, by_severity: { low: 0, medium: 0, high: 0 }, errors: errors({}), ...more });
  const member = (name, more) => ({ name, told: "shadow", silent_seconds: 3, seconds: 0, flows: 0, denials: 0, findings: 0, by_severity: { low: 0, medium: 0, high: 0 }, ...more });
  const gate = { seconds: 3600, flows: 50_000, findings: 0, severity: "medium", error_percent: 5 };
  const stage = (name, phase, more = {}) => ({ name, phase, selects: 2, gate, approval: false, hold_seconds: 1800, numbers: numbers({}), missing: [], clusters: [], more_clusters: 0, ...more });
  const decision = (minutes, what, stage_, why, by = "") => ({ time: new Date(now - minutes * 60_000).toISOString(), what, stage: stage_, by, why });
  return {
    has_hub: true,
    more_clusters: 0,
    clusters: [
      cluster("canary-1", "canary", 8), cluster("edge-<b>7</b>", "prod", 7, { silent_seconds: 4000, problems: ["release 8: it is signed by nobody whom this cluster knows"] }),
      cluster("prod-eu", "prod", 7, { shadow: release(8) }), cluster("prod-us", "prod", 7, { shadow: release(8), drift: ["NetworkPolicy serve/agent", "EgressPolicy train/llm-trainer"] }),
    ],
    rollouts: [
      {
        name: "release-8", release: release(8), fallback: release(7), phase: "shadow", stage: "prod", held: true,
        waits: ["prod-us: 12 would be denied that are not accepted, such as train/Job/finetune to serve/StatefulSet/vector-db port 6333"], problems: [],
        stages: [
          stage("canary", "through", { selects: 1, numbers: numbers({ clusters: 1, reporting: 1, seconds: 5400, flows: 91_222 }), clusters: [member("canary-1", { told: "enforce", seconds: 5400, flows: 91_222 })] }),
          stage("prod", "shadow", {
            approval: true, numbers: numbers({ clusters: 2, reporting: 2, seconds: 2231, flows: 38_112, denials: 12, accepted: 3, by_severity: { low: 4, medium: 0, high: 0 }, errors: failing }),
            missing: ["prod-eu: 2231 of 3600 s", "prod-us: 12 would be denied that are not accepted, such as train/Job/finetune to serve/StatefulSet/vector-db port 6333"],
            clusters: [member("prod-eu", { seconds: 2231, flows: 20_100 }), member("prod-us", { seconds: 2240, flows: 18_012, denials: 12, findings: 4, by_severity: { low: 4, medium: 0, high: 0 }, errors: failing })],
          }),
          stage("edge", "pending", { selects: 1 }),
        ],
        decisions: [decision(120, "began", "canary", "it is its turn"), decision(100, "promoted", "canary", "its gate holds"), decision(40, "began", "prod", "the stage before holds"), decision(12, "not done", "prod", "its gate does not hold", "alex")],
      },
      { name: "release-6", release: release(6), fallback: release(5), phase: "rolled-back", stage: "canary", held: false, waits: [], problems: [], stages: [stage("canary", "back", { selects: 1 })], decisions: [decision(3000, "rolls back", "canary", "canary-1 denies what worked before: 31 times"), decision(2999, "rolled back", "canary", "every cluster has what was before")] },
    ],
  };
}

/** The same as a later version would say it: words that nobody knows yet, and fields that nobody asked for. */
export function later(value, key = "") {
  const words = { kind: { flow: "quic_stream" }, verdict: { deny: "quarantined<b>" }, severity: { high: "critical" }, phase: { shadow: "canarying" }, state: { open: "triaged" }, found: { matches: "infers" } };
  if (Array.isArray(value)) return value.map((it) => later(it, key));
  if (typeof value === "string") return words[key]?.[value] ?? value;
  if (typeof value !== "object" || value === null) return value;
  return { ...Object.fromEntries(Object.entries(value).map(([name, it]) => [name, later(it, name)])), posture: { depth: [1, { of: "later" }] } };
}

/** Who met whom, as edges by port. */
export function edges(all, workload) {
  return graph(all).edges
    .filter((edge) => edge.source === workload)
    .map(({ ports, is_new, ...edge }) => ({ ...edge, port: Number(ports[0].split("/")[0]), protocol: 6, rule: "" }));
}
