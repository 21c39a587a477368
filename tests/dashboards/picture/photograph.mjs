// Photographs dashboards: photograph.mjs KEPT.json FOLDER, where KEPT is what tests/dashboards/run --keep wrote. Prints the panels
// without data, and fails where there are some or the page complains.
import { createServer } from 'node:http';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { chromium } from 'playwright-core';

const [kept, folder] = process.argv.slice(2);
const pages = path.join(import.meta.dirname, 'dist');
const types = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css' };
const server = createServer(async (request, response) => {
  const name = path.join(pages, request.url === '/' ? 'index.html' : decodeURIComponent(request.url.split('?')[0]));
  try {
    const body = await readFile(name);
    response.writeHead(200, { 'content-type': types[path.extname(name)] ?? 'application/octet-stream' }).end(body);
  } catch {
    response.writeHead(404).end();
  }
});
await new Promise((ready) => server.listen(0, '127.0.0.1', ready));

const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox', '--force-color-profile=srgb'] });
let failed = false;
for (const [name, one] of Object.entries(JSON.parse(await readFile(kept, 'utf8')))) {
  // As high as the dashboard, since what is out of sight is not drawn; a little smaller than life, for small files.
  const height = 34 * Math.max(...one.dashboard.panels.map(({ gridPos }) => gridPos.y + gridPos.h)) + 200;
  const page = await browser.newPage({ viewport: { width: 1600, height }, deviceScaleFactor: 0.6 });
  const complaints = [];
  page.on('pageerror', (error) => complaints.push(error.stack));
  page.on('console', (message) => message.type() === 'error' && !/\/public\/|favicon/.test(message.location().url) && complaints.push(message.text()));
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  await page.waitForFunction(() => window.draw);
  await page.evaluate((what) => window.draw(what), one);
  await page.waitForSelector('#dashboard').catch((error) => {
    throw new Error([...complaints, error.message].join('\n'));
  });
  const panels = one.dashboard.panels.filter(({ type }) => type === 'timeseries').length;
  const empty = await page.$$eval('[data-empty]', (all) => all.map((element) => element.dataset.empty));
  const lines = one.dashboard.panels.filter(({ type, title }) => type === 'timeseries' && !empty.includes(title)).length;
  await page.waitForFunction((count) => document.querySelectorAll('.u-wrap canvas').length >= count, lines, { timeout: 30000 }).catch(() => complaints.push(`fewer than ${lines} of ${panels} graphs were drawn`));
  await page.waitForTimeout(500);
  await (await page.$('#dashboard')).screenshot({ path: path.join(folder, `${name}.png`) });
  console.log(`${path.join(folder, name)}.png${empty.length ? `; without data: ${empty.join(', ')}` : ''}`);
  for (const complaint of new Set(complaints)) console.error(`  ${name}: ${complaint}`);
  failed ||= complaints.length > 0 || empty.length > 0;
  await page.close();
}
await browser.close();
server.close();
process.exit(failed ? 1 : 0);
