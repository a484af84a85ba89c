// What tests of the console have in common: a real browser, a page that is logged in, screenshots, axe.
// Screenshots: CONSOLE_SHOTS=FOLDER. On a machine that is busy with other things: CONSOLE_PATIENCE=SECONDS for what is waited for.

import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(new URL("../../web/package.json", import.meta.url));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const BROWSER = process.env.CHROMIUM ?? ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(existsSync);
const SHOTS = process.env.CONSOLE_SHOTS;
const PATIENCE = (Number(process.env.CONSOLE_PATIENCE) || 20) * 1000;
export const DESK = { width: 1280, height: 800 };
export const PHONE = { width: 390, height: 844 };

export function launch() {
  if (SHOTS) mkdirSync(SHOTS, { recursive: true });
  return chromium.launch({ executablePath: BROWSER, args: ["--no-sandbox", "--disable-gpu"] });
}

/** A page that is logged in. What it complained of is in `complaints`. */
export async function visit(browser, server, { theme = "light", size = DESK, path = "map" } = {}) {
  const context = await browser.newContext({ viewport: size, colorScheme: theme, acceptDownloads: true, timezoneId: "Europe/Berlin" });
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  page.on("dialog", (dialog) => complaints.push(`a dialog: ${dialog.message()}`));
  await page.goto(`${server.url}${path}#token=${server.token}`);
  await page.waitForSelector("footer span");
  return { page, complaints, close: () => context.close() };
}

export async function shot(page, name) {
  if (SHOTS) await page.screenshot({ path: `${SHOTS}/console-${name}.png` });
}

/** What the page shows, once nothing loads any more. */
export async function settled(page) {
  await page.waitForFunction(() => !document.querySelector(".spinner"));
  await page.waitForTimeout(300);
}

export async function accessible(page, name) {
  // The page's own policy forbids scripts from elsewhere; the tool's channel into the page is not of the page.
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }));
  const told = violations.map((it) => `${it.id}: ${it.help}\n  ${it.nodes.slice(0, 3).map((node) => node.html.slice(0, 200) + "  " + node.failureSummary.replaceAll("\n", " ").slice(0, 200)).join("\n  ")}`);
  assert.deepEqual(told, [], `axe on ${name}`);
}
