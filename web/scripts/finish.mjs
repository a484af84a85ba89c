// After the build: what is shipped of others and under which licence, compressed copies, and how large the console is.
import { readFileSync, readdirSync, writeFileSync, existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const DIST = "dist";
/** All scripts and styles, gzip: what a visit of every page costs. */
const BUDGET = 400 * 1024;

function files(folder) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    return entry.isDirectory() ? files(path) : [path];
  });
}

/** Packages that are bundled: `dependencies`, and theirs. */
function bundled() {
  const found = new Map();
  const visit = (name) => {
    if (found.has(name) || name.startsWith("@types/")) return;
    const manifest = JSON.parse(readFileSync(join("node_modules", name, "package.json"), "utf8"));
    found.set(name, manifest);
    for (const dependency of Object.keys(manifest.dependencies ?? {})) visit(dependency);
  };
  for (const name of Object.keys(JSON.parse(readFileSync("package.json", "utf8")).dependencies)) visit(name);
  return [...found.values()].sort((a, b) => a.name.localeCompare(b.name));
}

function notice() {
  const parts = bundled().map(({ name, version, license }) => {
    const folder = join("node_modules", name);
    const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
    const text = file ? readFileSync(join(folder, file), "utf8").trim() : "(the package has no text of its licence)";
    return `${name} ${version}, ${license}\n\n${text}\n`;
  });
  return `The console contains these packages of others.\n\n${parts.join(`\n${"-".repeat(78)}\n\n`)}`;
}

const refused = bundled().filter(({ license }) => !["MIT", "ISC", "Apache-2.0", "BSD-3-Clause"].includes(license));
if (refused.length > 0) throw new Error(`licences that are not on the list: ${refused.map((it) => `${it.name} ${it.license}`).join(", ")}`);
writeFileSync(join(DIST, "THIRD-PARTY.txt"), notice());
// The folder is in the repository, so that cargo has something to watch; what is in it is not.
writeFileSync(join(DIST, ".gitignore"), "*\n!.gitignore\n");

let total = 0;
let first = 0;
const html = readFileSync(join(DIST, "index.html"), "utf8");
for (const path of files(DIST)) {
  if (!/\.(js|css|html|svg|txt)$/.test(path)) continue;
  const plain = readFileSync(path);
  const gzip = gzipSync(plain, { level: 9 });
  const brotli = brotliCompressSync(plain, { params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: plain.length } });
  if (gzip.length < plain.length) writeFileSync(`${path}.gz`, gzip);
  if (brotli.length < plain.length) writeFileSync(`${path}.br`, brotli);
  if (!/\.(js|css)$/.test(path)) continue;
  total += gzip.length;
  const isFirst = html.includes(path.slice(DIST.length + 1));
  if (isFirst) first += gzip.length;
  console.log(`${path.padEnd(36)} ${String(statSync(path).size).padStart(8)} B  gzip ${String(gzip.length).padStart(7)}  brotli ${String(brotli.length).padStart(7)}${isFirst ? "  (first page)" : ""}`);
}
console.log(`console: ${(total / 1024).toFixed(0)} KiB gzip in all, ${(first / 1024).toFixed(0)} KiB before the map; at most ${BUDGET / 1024}`);
if (total > BUDGET) throw new Error("the console is larger than it may be");
if (existsSync(join(DIST, "assets")) === false) throw new Error("no assets were built");
