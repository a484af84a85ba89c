// The pages of the real program over a ledger of a million edges: how long from asking for a page to what it has to say.
// Run by `cargo test -p cofferdam --test all console_million -- --ignored --nocapture`, which fills the ledger and serves it.
// node tests/console/million.mjs URL TOKEN [MOST_MILLISECONDS]

import { launch, shot, visit } from "./visitor.mjs";

const [url, token, most = "2000"] = process.argv.slice(2);
const rows = (selector) => (page) => page.waitForFunction((of) => document.querySelectorAll(of).length > 0, selector);
const PAGES = [
  ["Map", "map", (page) => page.waitForFunction(() => document.querySelector(".drawing")?.cy?.nodes().length > 0), "graph?fold=true&limit=10000"],
  ["Map as a table", "map?view=table", rows("main table tbody tr, main .grid-row"), "graph?fold=true&limit=10000"],
  ["Flows", "flows", rows("main .grid-body .grid-row"), "records?kind=flow&limit=100"],
  ["Flows, denied", "flows?verdict=deny", rows("main .grid-body .grid-row"), "records?kind=flow&verdict=deny&limit=100"],
  ["Policies", "policies", rows("main article"), "policies"],
  ["AI usage", "usage", rows("main table tbody tr"), "usage"],
  ["Incidents", "incidents", rows("main a, main .empty"), "incidents"],
];

const since = new Date(Date.now() - 3600_000).toISOString();
async function ask(path) {
  const begun = performance.now();
  const answer = await fetch(`${url}api/v1/${path}${path.includes("?") ? "&" : "?"}since=${since}`, { headers: { authorization: `Bearer ${token}` } });
  const { byteLength } = await answer.arrayBuffer();
  return [answer.status, Math.round(performance.now() - begun), byteLength];
}

const browser = await launch();
const { page, complaints, close } = await visit(browser, { url, token }, { path: "sensors" });
page.setDefaultTimeout(60_000);
const slow = [];
console.log("page | first ms | again ms | its main question at the API: status, ms, bytes");
for (const [name, path, shown, question] of PAGES) {
  const times = [];
  for (let turn = 0; turn < 2; turn += 1) {
    await page.goto(`${url}sensors`);
    await page.waitForSelector("footer span");
    const begun = performance.now();
    await page.goto(`${url}${path}`);
    await shown(page);
    await page.waitForFunction(() => !document.querySelector("main .spinner"));
    times.push(Math.round(performance.now() - begun));
  }
  console.log(`${name} | ${times.join(" | ")} | ${(await ask(question)).join(", ")}`);
  await shot(page, `million-${name.toLowerCase().replaceAll(/[^a-z]+/g, "-")}`);
  if (Math.max(...times) > Number(most)) slow.push(`${name}: ${Math.max(...times)} ms`);
}
await close();
await browser.close();
if (complaints.length > 0) slow.push(`the page complained: ${complaints.join("; ")}`);
if (slow.length > 0) {
  console.error(`more than ${most} ms: ${slow.join("; ")}`);
  process.exitCode = 1;
}
