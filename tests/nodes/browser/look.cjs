// Opens pages in Chromium in every way that a reader may, and prints what they are like there as one JSON object.
//
//     NODE_PATH=.cache/browser/node_modules node look.cjs CHROMIUM SHOTS PAGE…
//
// SHOTS is a directory for screenshots, or - for none.
const fs = require("node:fs");
const path = require("node:path");
const { pathToFileURL } = require("node:url");
const { chromium } = require("playwright-core");

const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf-8");
const [executablePath, shots, ...pages] = process.argv.slice(2);
const VIEWS = {
  desktop: { viewport: { width: 1280, height: 900 }, colorScheme: "light" },
  dark: { viewport: { width: 1280, height: 900 }, colorScheme: "dark" },
  phone: { viewport: { width: 360, height: 740 }, colorScheme: "light" },
  "phone-dark": { viewport: { width: 360, height: 740 }, colorScheme: "dark" },
  print: { viewport: { width: 794, height: 1123 }, colorScheme: "dark", media: "print" },
};
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"];
const PATIENCE = 120_000; // Milliseconds for each step: machines that run tests are busy.
const QUIET = ["--disable-component-update", "--disable-sync"];

async function look(browser, file, name, { media, ...options }) {
  // The page's policy forbids scripts: the checker is let in by the browser, not by the page.
  const context = await browser.newContext({ ...options, bypassCSP: true, offline: true });
  context.setDefaultTimeout(PATIENCE);
  const tab = await context.newPage();
  const said = [];
  const requests = [];
  tab.on("console", (message) => said.push(`${message.type()}: ${message.text()}`));
  tab.on("pageerror", (error) => said.push(`error: ${error.message}`));
  tab.on("request", (request) => requests.push(request.url()));
  if (media) await tab.emulateMedia({ media, colorScheme: options.colorScheme });
  const url = pathToFileURL(file).href;
  await tab.goto(url, { waitUntil: "load" });
  const wider = () => tab.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  const shoot = (suffix) =>
    shots === "-" ? null : tab.screenshot({ path: path.join(shots, `${path.parse(file).name}-${name}${suffix}.png`), fullPage: true });
  const found = { background: await tab.evaluate(() => getComputedStyle(document.body).backgroundColor) };
  found.wider = [await wider()];
  await shoot("");
  await tab.evaluate(() => document.querySelectorAll("details").forEach((each) => (each.open = true)));
  found.wider.push(await wider());
  await shoot("-open");
  await tab.evaluate(axe);
  const checked = await tab.evaluate(() => axe.run(document));
  const line = (each) => `${each.id}: ${each.help}: ${each.nodes.slice(0, 3).map((node) => node.html.slice(0, 200)).join(" | ")}`;
  found.violations = checked.violations.map(line);
  found.passed = checked.passes.length;
  // As somebody who selects an address and copies it.
  found.copied = await tab.evaluate(() => {
    const range = document.createRange();
    range.selectNodeContents(document.querySelector(".cid"));
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    return getSelection().toString();
  });
  if (!media) {
    await tab.getByLabel("Show addresses in full").check();
    found.wider.push(await wider());
    await shoot("-full");
  }
  await context.close();
  return { ...found, said, requests: requests.filter((each) => each !== url && !each.startsWith("data:")) };
}

async function main() {
  // Its profile is a new directory, which goes when it does.
  const browser = await chromium.launch({ executablePath, headless: true, timeout: PATIENCE, args: [...FLAGS, ...QUIET] });
  const found = {};
  try {
    for (const file of pages)
      for (const [name, view] of Object.entries(VIEWS))
        found[`${path.parse(file).name} ${name}`] = await look(browser, file, name, view);
  } finally {
    await browser.close();
  }
  process.stdout.write(JSON.stringify(found));
}

main().catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exit(1);
});
