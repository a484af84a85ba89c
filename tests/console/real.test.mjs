// The console of the real program on the real scenario: examples/genai in the lab, with its attacker. What a person would do is
// done by clicking, and the numbers on the pages are those of the API and of the command line.
// Run by `scripts/test` as root; COFFERDAM names the program.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { launch, settled, shot, visit } from "./visitor.mjs";

const PROGRAM = process.env.COFFERDAM ?? "target/debug/cofferdam";
const ATTACKER = "train/PyTorchJob/llm-trainer";
/** The scenario takes half a minute on an idle machine. */
const PATIENCE = 240_000;

let browser, up, server, folder, socket;
let said = "";

/** Until what the program prints has this; what it matched. */
function says(pattern) {
  return new Promise((resolve, reject) => {
    const look = () => pattern.exec(said) && (stop(), resolve(pattern.exec(said)));
    const gone = () => (stop(), reject(new Error(`the program ended before it said ${pattern}:\n${said.slice(-2000)}`)));
    const timer = setTimeout(() => (stop(), reject(new Error(`the program did not say ${pattern}:\n${said.slice(-2000)}`))), PATIENCE);
    const stop = () => (clearTimeout(timer), up.stdout.off("data", look), up.off("exit", gone));
    up.stdout.on("data", look);
    up.on("exit", gone);
    look();
  });
}

const command = (...words) => spawnSync(PROGRAM, [...words, "--socket", socket], { encoding: "utf8" });

async function ask(path) {
  const answer = await fetch(`${server.url}api/v1/${path}`, { headers: { authorization: `Bearer ${server.token}` } });
  assert.equal(answer.status, 200, `${path}: ${await answer.clone().text()}`);
  return answer.json();
}

before(async () => {
  browser = await launch();
  folder = mkdtempSync(join(tmpdir(), "console-"));
  socket = join(folder, "up.sock");
  const words = ["up", "--lab", "-f", "examples/genai", "--serve", "127.0.0.1:0", "--ledger", join(folder, "ledger"), "--socket", socket];
  up = spawn(PROGRAM, words, { stdio: ["ignore", "pipe", "inherit"] });
  up.stdout.setEncoding("utf8").on("data", (text) => (said += text));
  const [, url, token] = await says(/console and API: (http:\S+\/)#token=(\S+)/);
  server = { url, token };
});

after(async () => {
  await browser?.close();
  if (up && up.exitCode === null) {
    const ended = new Promise((resolve) => up.on("exit", resolve));
    up.kill("SIGINT");
    await ended;
  }
  if (folder) rmSync(folder, { recursive: true, force: true });
});

test("the pipeline is on the map within seconds, while it runs", async () => {
  const { page, complaints, close } = await visit(browser, server, { path: "map?view=table" });
  await page.getByRole("main").getByText("llm-trainer").first().waitFor({ timeout: 60_000 });
  assert.deepEqual(complaints, []);
  await close();
});

test("when the attack is over, the pages say what the API says", async () => {
  await says(/the commands of all jobs have ended/);
  const { page, complaints, close } = await visit(browser, server, { path: "map" });
  await settled(page);
  await page.waitForTimeout(3000);
  await shot(page, "map");
  await page.goto(`${server.url}calls?verdict=deny`);
  await page.getByRole("grid").waitFor();
  await settled(page);
  const denied = await ask("records?kind=ai_call&verdict=deny&limit=1000");
  assert.ok(denied.items.length >= 10, `${denied.items.length} denied calls`);
  assert.equal(await page.getByRole("grid").getAttribute("aria-rowcount"), String(denied.items.length + 1));
  const { items } = await ask("findings?limit=1000");
  assert.ok(items.some((it) => it.detector === "refused-writes" && it.workload === ATTACKER), JSON.stringify(items));
  const told = command("findings", "--json").stdout.trim().split("\n").map((line) => JSON.parse(line).id);
  assert.deepEqual(new Set(items.map((it) => it.id)), new Set(told));
  assert.deepEqual(complaints, []);
  await close();
});

test("why a write was refused: the lines of the rule", async () => {
  const { page, complaints, close } = await visit(browser, server, { path: `calls?source=${ATTACKER}&verdict=deny` });
  await page.getByRole("row").filter({ hasText: "upload" }).first().click();
  const drawer = page.getByRole("dialog", { name: "Why?" });
  await drawer.locator(".line.decides").first().waitFor();
  assert.match(await drawer.textContent(), /EgressPolicy train\/llm-trainer.*41-policies-train\.yaml/s);
  assert.match(await drawer.getByRole("region", { name: "Tiers" }).textContent(), /may leave.*EgressPolicy train\/llm-trainer.*allows it/s);
  await shot(page, "why");
  assert.deepEqual(complaints, []);
  await close();
});

test("why a connection was denied: the tiers end where the record says, and the nearest rule has its lines", async () => {
  const { items } = await ask(`records?kind=flow&verdict=deny&source=${ATTACKER}&limit=100`);
  const record = items.find((it) => it.rule.startsWith("NetworkPolicy"));
  assert.ok(record, `no connection of ${ATTACKER} was denied by a NetworkPolicy`);
  const why = await ask(`records/${record.number}`);
  const side = why.walk.sides.find((it) => it.decides);
  assert.equal(why.walk.verdict, "deny");
  assert.ok(record.rule.startsWith(side.steps.find((it) => it.decides).text.replace(/ \(.*/, "")), JSON.stringify([record.rule, side]));
  assert.ok(why.walk.nearest.deciding.lines.some((line) => line.decides), JSON.stringify(why.walk.nearest));
  const { page, complaints, close } = await visit(browser, server, { path: `flows?open=${record.number}` });
  const drawer = page.getByRole("dialog", { name: "Why?" });
  await drawer.getByLabel("Lines of the nearest rule").waitFor();
  assert.equal(await drawer.locator(".step.decides").count(), why.walk.sides.flatMap((it) => it.steps).filter((it) => it.decides).length);
  await shot(page, "tiers");
  assert.deepEqual(complaints, []);
  await close();
});

test("the command line that a view has runs, and tells of the same", async () => {
  const { page, close } = await visit(browser, server, { path: "map" });
  for (const path of ["map", "map?new=1", "flows?verdict=deny", "dns", "calls", "tools", "usage", "incidents", "findings?severity=high", "hunt?indicator=paste.example", "policies", "sensors"]) {
    await page.goto(`${server.url}${path}`);
    await settled(page);
    await page.getByRole("button", { name: "Copy as CLI" }).last().click();
    const line = await page.evaluate(() => navigator.clipboard.readText());
    const ran = spawnSync("sh", ["-c", `${line.replace(/^cofferdam/, PROGRAM)} --socket ${socket}`], { encoding: "utf8" });
    assert.equal(ran.status, 0, `${path}: ${line}\n${ran.stderr}`);
    if (path.startsWith("flows")) assert.match(ran.stdout, /llm-trainer/);
  }
  await close();
});

test("the map goes back to before the attack", async () => {
  const first = (await ask("records?kind=flow&limit=1000")).items.at(-1);
  const moment = new Date(Date.parse(first.time) + 1000).toISOString();
  const lines = (which) => which.evaluate(() => document.querySelector(".drawing").cy.edges().length);
  const { page, complaints, close } = await visit(browser, server, { path: "map" });
  await settled(page);
  const now = await lines(page);
  await page.goto(`${server.url}map?moment=${encodeURIComponent(moment)}&window=all`);
  await page.waitForFunction((many) => (document.querySelector(".drawing")?.cy?.edges().length ?? many) < many, now);
  assert.deepEqual(complaints, []);
  await close();
});

test("the attacker is contained by clicking, the evidence holds, and it is let go", async () => {
  const { page, complaints, close } = await visit(browser, server, { path: "incidents" });
  await page.getByRole("main").getByRole("link", { name: new RegExp(ATTACKER) }).first().click();
  await page.getByRole("button", { name: /^Contain/ }).waitFor();
  await settled(page);
  await shot(page, "incident");
  await page.getByRole("button", { name: /^Contain/ }).click();
  const dialog = page.getByRole("dialog", { name: "Contain a workload" });
  await dialog.getByText(/This cuts \d+/).waitFor();
  // Somebody else has the same page open, and decides the same at the same time.
  const other = await visit(browser, server, { path: new URL(page.url()).pathname.slice(1) + new URL(page.url()).search });
  await other.page.getByRole("button", { name: /^Contain/ }).click();
  const others = other.page.getByRole("button", { name: /^Contain until/ });
  await others.waitFor();
  await Promise.all([dialog.getByRole("button", { name: /^Contain until/ }).click(), others.click()]);
  await page.getByText(/is contained until/).waitFor();
  await other.page.getByText(/is contained until/).waitFor();
  assert.deepEqual(other.complaints, []);
  await other.close();
  const [incident] = (await ask("incidents")).items.filter((it) => it.workloads.includes(ATTACKER));
  assert.deepEqual([incident.state, incident.contained.map((it) => it.workload)], ["contained", [ATTACKER]]);
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: "Download evidence" }).click()]);
  const evidence = join(folder, "evidence.tar");
  await download.saveAs(evidence);
  const verified = spawnSync(PROGRAM, ["incident", "verify", evidence], { encoding: "utf8" });
  assert.equal(verified.status, 0, verified.stdout + verified.stderr);
  await page.getByRole("button", { name: "Release" }).click();
  await page.getByRole("button", { name: /^Contain/ }).waitFor();
  assert.deepEqual(complaints, []);
  await close();
});
