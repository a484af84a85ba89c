// The page of clusters of a running program whose hub is real: `node tests/console/hub.mjs URL TOKEN`. The test of rollouts of the
// program runs it, and has made what must be seen: release-8 held at its first stage, and a policy changed at prod-2.

import assert from "node:assert/strict";
import { accessible, launch, settled, shot, visit } from "./visitor.mjs";

const [url, token] = process.argv.slice(2);
const browser = await launch();
try {
  const { page, complaints } = await visit(browser, { url, token }, { path: "clusters" });
  const rollout = page.getByRole("article", { name: "Rollout release-8" });
  await rollout.waitFor();
  assert.match(await rollout.textContent(), /held/);
  const stage = rollout.locator('[aria-current="step"]');
  assert.match(await stage.textContent(), /dev.*judges without effect.*4,000 of 3,600 s.*5,321 of [\d,]+.*37 · at most 0.*37 would be denied that are not accepted/s);
  assert.match(await rollout.getByRole("list", { name: "Stages" }).textContent(), /not begun/);
  const row = page.getByRole("region", { name: "Clusters", exact: true }).getByRole("row").filter({ hasText: "prod-2" });
  assert.match(await row.textContent(), /1 changed/);
  await row.locator("summary").click();
  await row.getByText("NetworkPolicy shop/closed").waitFor();
  assert.match(await page.getByLabel("Counts").textContent(), /3clusters.*1rollouts under way.*1with changed policies/s);
  await settled(page);
  await shot(page, "hub");
  await accessible(page, "clusters of a real hub");
  assert.deepEqual(complaints, []);
} finally {
  await browser.close();
}
