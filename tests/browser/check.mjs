// Opens pages in headless Chromium and prints what happened as JSON: { page: { mode: found } }.
// Usage: node check.mjs CHROMIUM '{"page.html": ["light", "dark", "phone", "print"]}'
// playwright-core and axe-core come from FORGETCTL_NODE_MODULES, else from .browser/node_modules of the checkout.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const modules = process.env.FORGETCTL_NODE_MODULES || fileURLToPath(new URL("../../.browser/node_modules", import.meta.url));
const require = createRequire(resolve(modules, "here.js"));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const MM = 96 / 25.4;
// The printed page is A4 less the margins of the page's own @page rule.
const A4 = { width: Math.round((210 - 2 * 20) * MM), height: Math.round((297 - 2 * 16) * MM) };
const MODES = {
  light: { viewport: { width: 1100, height: 1400 }, colorScheme: "light" },
  dark: { viewport: { width: 1100, height: 1400 }, colorScheme: "dark" },
  phone: { viewport: { width: 390, height: 844 }, colorScheme: "light" },
  print: { viewport: A4, colorScheme: "dark", media: "print" }, // paper is white on a dark desktop too
};
// Each launch has a fresh profile of its own. Nothing but the pages is asked for.
const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];

function inspect() {
  const every = [...document.querySelectorAll("*")];
  const active = "script, img, iframe, object, embed, link, base, form, input, audio, video, foreignObject, animate, set";
  return {
    active: [...document.querySelectorAll(active)].map((element) => element.outerHTML.slice(0, 200)),
    handlers: every.flatMap((element) => [...element.attributes].map((a) => a.name)).filter((name) => /^on/i.test(name)),
    // Links that lead out of the page, or nowhere in it.
    astray: every
      .flatMap((element) => ["href", "xlink:href"].map((name) => element.getAttribute(name)))
      .filter((target) => target !== null && !(target.startsWith("#") && document.getElementById(target.slice(1)))),
    tooWide: document.documentElement.scrollWidth - innerWidth,
    summaryEnd: document.querySelector(".summary").getBoundingClientRect().bottom + scrollY,
    text: document.body.innerText.replace(/\s+/g, " "),
  };
}

async function open(browser, url, { media, ...options }) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const found = { messages: [], requests: [], height: options.viewport.height };
  page.on("console", (message) => found.messages.push(message.text()));
  page.on("pageerror", (error) => found.messages.push(String(error)));
  page.on("dialog", (dialog) => { found.messages.push(dialog.message()); dialog.dismiss(); });
  context.on("request", (request) => { if (request.url() !== url) found.requests.push(request.url()); });
  if (media) await page.emulateMedia({ media });
  await page.goto(url);
  Object.assign(found, await page.evaluate(inspect));
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  found.violations = violations.map(({ id, impact, nodes }) => ({ id, impact, at: nodes.map((node) => node.target.join(" ")) }));
  await context.close();
  return found;
}

const [executablePath, asked] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath, args: FLAGS });
const results = {};
for (const [page, modes] of Object.entries(JSON.parse(asked))) {
  const opened = modes.map(async (mode) => [mode, await open(browser, pathToFileURL(page).href, MODES[mode])]);
  results[page] = Object.fromEntries(await Promise.all(opened));
}
await browser.close();
console.log(JSON.stringify(results));
