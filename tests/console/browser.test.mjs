// The console in a real browser, against a server that answers as the API does. Each page's main task is done by clicking
// through it; axe looks at every page in both themes; names that were made to do harm must do none.
// `scripts/web --test` runs it where there is a Chromium.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { mock, TOKEN } from "./mock.mjs";
import { accessible, launch, PHONE, settled, shot, visit as visitAs } from "./visitor.mjs";

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser.close());

const visit = (server, options) => visitAs(browser, { url: server.url, token: TOKEN }, options);

async function unhurt({ page, complaints }) {
  assert.equal(await page.evaluate(() => window.hurt), undefined, "a name was executed");
  assert.equal(await page.locator('main img, main script, main iframe, main [onerror], main a[href^="javascript"]').count(), 0);
  assert.deepEqual(complaints, []);
}

const PAGES = ["map", "map?view=table", "flows", "dns", "calls", "tools", "usage", "incidents", "incident?id=inc-7f31", "findings?state=all", "hunt?indicator=exfil.example", "policies", "sensors", "clusters", "flows?open=1990"];

for (const theme of ["light", "dark"]) {
  test(`every page is accessible and executes no name, ${theme}`, async () => {
    const server = await mock();
    const visitor = await visit(server, { theme });
    const wrong = [];
    for (const path of PAGES) {
      await visitor.page.goto(`${server.url}${path}`);
      await settled(visitor.page);
      const name = path.replaceAll(/[?=&.]/g, "-");
      await shot(visitor.page, `${name}-${theme}`);
      await accessible(visitor.page, path).catch((error) => wrong.push(error.message));
      await unhurt(visitor);
    }
    assert.deepEqual(wrong, []);
    await visitor.close();
    server.close();
  });
}

test("why does a download fail: from the filter to the lines of the rule", async () => {
  const server = await mock();
  const { page, close, complaints } = await visit(server, { path: "calls" });
  const filter = page.getByRole("combobox", { name: "Filter" });
  await page.keyboard.press("/");
  await filter.pressSequentially("source=train");
  await page.getByRole("option", { name: /llm-trainer/ }).first().waitFor();
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  await filter.pressSequentially("verdict=de");
  await page.keyboard.press("Enter");
  await page.getByRole("row").filter({ hasText: "denied" }).first().waitFor();
  assert.match(page.url(), /verdict=deny/);
  assert.equal(await page.getByRole("row").filter({ hasText: "allowed" }).count(), 0);
  await page.getByRole("grid").focus();
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  const drawer = page.getByRole("dialog", { name: "Why?" });
  await drawer.getByText("Nearest rule that allows").waitFor();
  assert.ok((await drawer.locator(".line.decides").allTextContents()).join("\n").includes("huggingface.co"));
  assert.match(await drawer.textContent(), /verb upload/);
  await shot(page, "why");
  await page.keyboard.press("Escape");
  await drawer.waitFor({ state: "detached" });
  await page.getByRole("button", { name: "Copy as CLI" }).click();
  const command = await page.evaluate(() => navigator.clipboard.readText());
  assert.match(command, /^cofferdam ledger show --kind ai-call --source train\/Job\/llm-trainer --verdict deny --since 1h$/);
  await page.goBack();
  assert.deepEqual(complaints, []);
  await close();
  server.close();
});

test("who sent data to a new domain: from a finding to the hunt", async () => {
  const server = await mock();
  const visitor = await visit(server, { path: "findings" });
  const { page } = visitor;
  await page.getByRole("link", { name: "exfil.example" }).click();
  await page.getByRole("region", { name: "Workloads that met it" }).getByText("train/Job/llm-trainer").waitFor();
  const hits = server.all.filter((it) => it.destination.endsWith("exfil.example")).length;
  assert.match(await page.locator("main").textContent(), new RegExp(`${hits} hits`));
  await unhurt(visitor);
  await visitor.close();
  server.close();
});

test("contain the attacker, note it, export the evidence: once, whatever is clicked", async () => {
  const server = await mock();
  const visitor = await visit(server, { path: "incidents" });
  const { page } = visitor;
  await page.getByRole("link", { name: /tunnels data through DNS/ }).click();
  await page.getByRole("button", { name: /^Contain/ }).click();
  const dialog = page.getByRole("dialog", { name: "Contain a workload" });
  await dialog.getByText(/This cuts \d+/).waitFor();
  assert.equal(server.state.containments, 0, "a review changes nothing");
  await shot(page, "contain");
  await dialog.getByRole("button", { name: /^Contain until/ }).dblclick();
  await page.getByText(/is contained until/).waitFor();
  assert.equal(server.state.containments, 1);
  await page.getByLabel("Note", { exact: true }).fill('seen <b>it</b> <img src=x onerror="window.hurt=1">');
  await page.getByRole("button", { name: "Add note" }).click();
  await page.locator(".notes").getByText("seen <b>it</b>").waitFor();
  await shot(page, "contained");
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: "Download evidence" }).click()]);
  assert.equal(download.suggestedFilename(), "incident-inc-7f31.tar");
  await page.getByRole("button", { name: "Release" }).click();
  await page.getByRole("button", { name: /^Contain/ }).waitFor();
  await unhurt(visitor);
  await visitor.close();
  server.close();
});

test("an incident is read on a phone", async () => {
  const server = await mock();
  const visitor = await visit(server, { size: PHONE, path: "incident?id=inc-7f31" });
  const { page } = visitor;
  await page.getByRole("heading", { name: /tunnels data/ }).waitFor();
  await settled(page);
  await shot(page, "phone");
  const over = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  assert.ok(over <= 0, `${over} pixels are beyond the edge`);
  await accessible(page, "incident on a phone");
  await unhurt(visitor);
  await visitor.close();
  server.close();
});

test("numbers on the page are those of the API", async () => {
  const server = await mock({ rate: 0 });
  const { page, close } = await visit(server, { path: "flows?verdict=deny" });
  await page.getByRole("grid").waitFor();
  const denied = server.all.filter((it) => ["flow", "tls"].includes(it.kind) && it.verdict === "deny").length;
  assert.equal(await page.getByRole("grid").getAttribute("aria-rowcount"), String(denied + 1));
  assert.match(await page.locator(".chart").getAttribute("aria-label"), new RegExp(`deny ${denied}\\b`));
  await close();
  server.close();
});

test("live: what comes is shown, nothing moves under a reader, paused is paused", async () => {
  const server = await mock({ rate: 500 });
  const { page, close, complaints } = await visit(server, { path: "flows" });
  const rows = async () => Number(await page.getByRole("grid").getAttribute("aria-rowcount"));
  await page.getByRole("grid").waitFor();
  const before = await rows();
  await page.waitForFunction((many) => Number(document.querySelector(".grid").getAttribute("aria-rowcount")) > many + 500, before);
  await page.locator(".grid").evaluate((grid) => grid.scrollTo({ top: 3000 }));
  await page.getByRole("button", { name: /newer/ }).waitFor();
  const first = await page.locator(".grid-body .grid-row").nth(14).getAttribute("aria-rowindex");
  const text = await page.locator(".grid-body .grid-row").nth(14).textContent();
  await page.waitForTimeout(2500);
  assert.equal(await page.locator(`.grid-body .grid-row[aria-rowindex="${first}"]`).textContent(), text);
  await page.getByRole("button", { name: /newer/ }).click();
  await page.getByRole("button", { name: "Live" }).click();
  await page.getByRole("button", { name: "Paused" }).waitFor();
  const paused = await rows();
  await page.waitForTimeout(1500);
  assert.equal(await rows(), paused);
  assert.deepEqual(complaints, []);
  await close();
  server.close();
});

test("the server goes and comes back; a session ends in the middle of it", async () => {
  const server = await mock();
  const { page, close } = await visit(server, { path: "sensors" });
  server.state.down = true;
  await page.getByText(/Cofferdam does not answer/).waitFor({ timeout: 40_000 });
  await shot(page, "gone");
  server.state.down = false;
  await page.getByText("no records lost").waitFor({ timeout: 40_000 });
  await page.context().clearCookies();
  await page.goto(`${server.url}findings`);
  await page.getByText(/You are not logged in/).waitFor();
  assert.match(await page.locator("main").textContent(), /#token=/);
  await page.goto(`${server.url}flows#token=wrong`);
  await page.getByText(/the token is not the one/).waitFor();
  assert.ok(!page.url().includes("wrong"), "a token stays in no address");
  await close();
  server.close();
});

test("lost records are told on every page", async () => {
  const server = await mock();
  server.state.lost = 12345;
  const { page, close } = await visit(server, { path: "policies" });
  await page.locator("footer").getByText("12,345 records lost").waitFor();
  await close();
  server.close();
});

test("what a candidate would have done is told on the page of policies, with names as text", async () => {
  const server = await mock();
  const { page, close, complaints } = await visit(server, { path: "policies" });
  const candidate = page.getByLabel("Candidate");
  await candidate.waitFor();
  const text = await candidate.textContent();
  assert.match(text, /41,231 accesses judged.*12 would be denied.*3 would be allowed/s);
  assert.match(text, /deny.*train\/Job\/finetune.*serve\/vector-db-0.*6333\/TCP.*next\/serve\.yaml:12/s);
  assert.match(text, /<b>10\.8\.0\.4<\/b>.*2 accesses that differ/s);
  assert.deepEqual(complaints, []);
  await close();
  server.close();
});

test("it works below a prefix, as behind a proxy", async () => {
  const server = await mock({ prefix: "/tools/cofferdam" });
  const { page, close, complaints } = await visit(server, { path: "flows" });
  await page.getByRole("grid").waitFor();
  await page.getByRole("link", { name: "Policies" }).click();
  await page.getByText("NetworkPolicy").first().waitFor();
  assert.match(page.url(), /\/tools\/cofferdam\/policies/);
  assert.deepEqual(complaints, []);
  await close();
  server.close();
});

/** Milliseconds between pictures while `act` runs, the slowest twentieth. */
async function frames(page, act) {
  await page.evaluate(() => {
    window.frames_ = [];
    let last = performance.now();
    const next = (now) => {
      window.frames_.push(now - last);
      last = now;
      window.measuring = requestAnimationFrame(next);
    };
    window.measuring = requestAnimationFrame(next);
  });
  await act();
  const times = await page.evaluate(() => (cancelAnimationFrame(window.measuring), window.frames_));
  const sorted = times.sort((a, b) => a - b);
  return { pictures: sorted.length, median: Math.round(sorted[Math.floor(sorted.length / 2)]), slow: Math.round(sorted[Math.floor(sorted.length * 0.95)]) };
}

test("a table of 100,000 records scrolls, and a map of 5,000 edges is moved", async (t) => {
  const server = await mock({ large: true, rate: 0 });
  const visitor = await visit(server, { path: "flows" });
  const { page } = visitor;
  await page.getByRole("grid").waitFor();
  const table = await frames(page, async () => {
    for (let turn = 0; turn < 60; turn += 1) {
      await page.locator(".grid").evaluate((grid) => grid.scrollBy({ top: 6000 }));
      await page.waitForTimeout(40);
    }
  });
  t.diagnostic(`table: ${JSON.stringify(table)} of ${await page.getByRole("grid").getAttribute("aria-rowcount")} rows`);
  assert.ok((await page.locator(".grid-body .grid-row").count()) < 120, "only what is seen is drawn");
  const begun = Date.now();
  await page.goto(`${server.url}map`);
  await page.waitForFunction(() => document.querySelector(".drawing")?.cy?.nodes().length > 0);
  await settled(page);
  t.diagnostic(`map of 5,000 edges, folded: ${Date.now() - begun} ms`);
  assert.ok((await page.evaluate(() => document.querySelector(".drawing").cy.nodes().length)) <= 200);
  await shot(page, "map-large");
  const boxes = await page.evaluate(() => JSON.stringify(document.querySelector(".drawing").cy.nodes(".namespace").map((node) => node.id())));
  const opened = Date.now();
  await page.goto(`${server.url}map?turned=${encodeURIComponent(boxes)}`);
  await page.waitForFunction(() => document.querySelector(".drawing")?.cy?.nodes().length > 800);
  await settled(page);
  t.diagnostic(`all 40 namespaces open: ${Date.now() - opened} ms, ${await page.evaluate(() => document.querySelector(".drawing").cy.edges().length)} lines`);
  await shot(page, "map-large-open");
  const map = await frames(page, async () => {
    await page.mouse.move(640, 400);
    for (let turn = 0; turn < 20; turn += 1) {
      await page.mouse.wheel(0, turn % 2 ? 100 : -100);
      await page.waitForTimeout(60);
    }
  });
  t.diagnostic(`map: ${JSON.stringify(map)}`);
  assert.ok(map.pictures > 5, "the map does not move");
  await unhurt(visitor);
  await visitor.close();
  server.close();
});
