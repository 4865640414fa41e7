// Opens pages in a real Chromium as people do (light, dark, on a phone, on paper) and says as JSON what is wrong with them.
//
//   node look.cjs FOLDER PAGE…    PAGE is a file; screenshots go into FOLDER
//
// NODE_PATH leads to playwright-core and axe-core; CHROMIUM is the browser's program.
const fs = require('fs');
const path = require('path');
const { chromium } = require('playwright-core');
const axe = fs.readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');

const ARGUMENTS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync'];
const VIEWS = [
  { view: 'light', colorScheme: 'light', viewport: { width: 1000, height: 900 } },
  { view: 'dark', colorScheme: 'dark', viewport: { width: 1000, height: 900 } },
  { view: 'phone', colorScheme: 'light', viewport: { width: 360, height: 740 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true },
];

async function look(browser, folder, file, options) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const errors = [];
  page.on('console', (message) => { if (['error', 'warning'].includes(message.type())) errors.push(message.text()); });
  page.on('pageerror', (error) => errors.push(String(error)));
  page.on('request', (request) => { if (!/^(file|data):/.test(request.url())) errors.push(`asks for ${request.url()}`); });
  await page.goto(`file://${file}`);
  const name = path.basename(file, '.html');
  await page.screenshot({ path: path.join(folder, `${name}-${options.view}.png`), fullPage: true });
  const seen = await page.evaluate(() => ({
    text: document.body.innerText,
    wide: document.documentElement.scrollWidth,
    window: window.innerWidth,
    hidden: [...document.querySelectorAll('h1,h2,.time,.name')].filter((e) => e.getBoundingClientRect().right > window.innerWidth + 1).length,
  }));
  await page.evaluate((details) => document.querySelectorAll('details').forEach((fold) => { fold.open = details; }), true);
  await page.evaluate(axe);
  const found = await page.evaluate(() => axe.run(document, { resultTypes: ['violations', 'incomplete'] }));
  const about = (rules) => rules.map((rule) => `${rule.id}: ${rule.nodes.slice(0, 3).map((node) => node.html.slice(0, 160)).join(' ;; ')}`);
  const openedWide = await page.evaluate(() => document.documentElement.scrollWidth);
  await context.close();
  return { name, view: options.view, errors, ...seen, openedWide, violations: about(found.violations), unsure: about(found.incomplete) };
}

// On paper there is nothing to unfold: what is folded has to be there.
async function print(browser, folder, file) {
  const page = await browser.newPage();
  await page.goto(`file://${file}`);
  await page.emulateMedia({ media: 'print', colorScheme: 'light' });
  await page.evaluate(() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn))));
  const folded = await page.evaluate(() => [...document.querySelectorAll('details:not([open]) :is(pre, table)')]
    .filter((element) => !element.checkVisibility({ contentVisibilityAuto: true })).length);
  const name = path.basename(file, '.html');
  const pdf = await page.pdf({ path: path.join(folder, `${name}.pdf`), format: 'A4', printBackground: true });
  await page.close();
  return { name, view: 'print', folded, bytes: pdf.length };
}

(async () => {
  const [folder, ...files] = process.argv.slice(2);
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ARGUMENTS, headless: true });
  const seen = [];
  for (const file of files) {
    for (const view of VIEWS) seen.push(await look(browser, folder, file, view));
    seen.push(await print(browser, folder, file));
  }
  await browser.close();
  process.stdout.write(JSON.stringify(seen));
})().catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exit(1);
});
