// Opens a page in Chromium as a reader would, in every way that a reader may, and says what it is like there: one JSON
// object. node look.cjs CHROMIUM PAGE PROFILE [DIRECTORY for screenshots]
const fs = require("node:fs");
const path = require("node:path");
const { pathToFileURL } = require("node:url");

// Installed beside the repository's own files, which are not to be mixed with others'.
const { chromium } = require("playwright-core");
const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf-8");

const [executablePath, page, profile, shots] = process.argv.slice(2);
const VIEWS = {
  desktop: { viewport: { width: 1280, height: 900 }, colorScheme: "light" },
  dark: { viewport: { width: 1280, height: 900 }, colorScheme: "dark" },
  phone: { viewport: { width: 360, height: 740 }, colorScheme: "light" },
  "phone-dark": { viewport: { width: 360, height: 740 }, colorScheme: "dark" },
  print: { viewport: { width: 794, height: 1123 }, colorScheme: "dark", media: "print" },
};

async function look(name, { media, ...options }) {
  // The page forbids scripts; the checker is let in by the browser, not by the page.
  const context = await chromium.launchPersistentContext(path.join(profile, name), {
    ...options,
    executablePath,
    headless: true,
    bypassCSP: true,
    offline: true,
    args: [
      "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync",
    ],
  });
  try {
    const tab = await context.newPage();
    const said = [];
    const requests = [];
    tab.on("console", (message) => said.push(`${message.type()}: ${message.text()}`));
    tab.on("pageerror", (error) => said.push(`error: ${error.message}`));
    tab.on("request", (request) => requests.push(request.url()));
    await tab.goto(pathToFileURL(page).href, { waitUntil: "load" });
    if (media) await tab.emulateMedia({ media, colorScheme: options.colorScheme });
    await tab.addStyleTag({ content: "html{scroll-behavior:auto!important}" });
    const width = () => tab.evaluate(() => [document.documentElement.scrollWidth, window.innerWidth]);
    const found = { folded: await width() };
    if (shots) await shoot(tab, name, media);
    await tab.evaluate(() => document.querySelectorAll("details").forEach((each) => (each.open = true)));
    found.open = await width();
    if (shots && !media) await tab.screenshot({ path: path.join(shots, `${name}-open.png`), fullPage: true });
    await tab.evaluate(axe);
    const checked = await tab.evaluate(() => axe.run(document, { resultTypes: ["violations", "incomplete"] }));
    const line = (each) => `${each.id}: ${each.help}: ${each.nodes.slice(0, 3).map((node) => node.html.slice(0, 200)).join(" | ")}`;
    found.violations = checked.violations.map(line);
    found.undecided = checked.incomplete.map(line);
    found.passed = checked.passes.length;
    found.scripts = await tab.evaluate(() => document.scripts.length);
    found.selected = await tab.evaluate(() => {
      const range = document.createRange();
      range.selectNodeContents(document.querySelector("header code"));
      getSelection().addRange(range);
      return getSelection().toString();
    });
    if (!media) {
      await tab.locator("#full").check();
      found.full = await width();
    }
    return { ...found, said, requests: requests.slice(1) };
  } finally {
    await context.close();
  }
}

async function shoot(tab, name, media) {
  await tab.screenshot({ path: path.join(shots, `${name}.png`), fullPage: true });
  if (media) await tab.pdf({ path: path.join(shots, `${name}.pdf`), preferCSSPageSize: true, format: "A4" });
}

async function main() {
  const found = {};
  for (const [name, view] of Object.entries(VIEWS)) found[name] = await look(name, view);
  process.stdout.write(JSON.stringify(found));
}

main().catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exit(1);
});
