// Draws a dashboard's JSON with Grafana's own npm components against a live Prometheus:
//
//   node shot.mjs DASHBOARD.json http://127.0.0.1:9090 OUT.png [theme=light] [from=now-7d] [to=now] [width=1600] [var-customer=cus_1 …]
//
// OUT.png may be "-": nothing is written then. Prints {"empty": panels without data, "errors": what went wrong, "cut": titles that do not fit} and exits with 1 on errors.
// Real: units, thresholds, colours, overrides, transformations, stat, timeseries, table, bar gauge. Stand-ins: the step of
// queries, variables, the layout of the page. It is not Grafana: a picture here is necessary, not sufficient.
// Needs `npm install` in this folder (some 480 MB, git-ignored) and Chromium (CHROMIUM names it when it is not on the path).
import { execSync } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import * as esbuild from 'esbuild';
import puppeteer from 'puppeteer-core';
import UPNG from 'upng-js';

const here = path.dirname(fileURLToPath(import.meta.url));
const built = path.join(here, 'node_modules', '.shot');
const icons = path.join(here, 'node_modules/@grafana/ui/dist/public/img/icons');
const INTER = '/usr/share/fonts/opentype/inter'; // Debian's fonts-inter; another font is drawn without it

const [dashboard, prometheus, out, ...settings] = process.argv.slice(2);
if (!out) {
  console.error('usage: node shot.mjs DASHBOARD.json PROMETHEUS_URL OUT.png [theme=…] [from=…] [to=…] [width=…] [var-NAME=…]');
  process.exit(2);
}
const query = new URLSearchParams(settings.map((setting) => setting.split(/=(.*)/s).slice(0, 2)));
const width = Number(query.get('width') ?? 1600);

/** Bundles the page, unless that of last time is newer than its sources. */
async function bundle() {
  const sources = ['page.tsx', 'panels.tsx', 'data.ts', 'registries.ts'].map((name) => path.join(here, name));
  const bundled = path.join(built, 'page.js');
  const age = (file) => (fs.existsSync(file) ? fs.statSync(file).mtimeMs : 0);
  if (age(bundled) > Math.max(...sources.map(age))) return;
  await esbuild.build({
    entryPoints: [sources[0]],
    outfile: bundled,
    bundle: true,
    minify: true,
    format: 'esm',
    conditions: ['import', 'browser'],
    define: { 'process.env.NODE_ENV': '"production"', global: 'window' },
    loader: { '.ttf': 'empty', '.svg': 'text', '.woff2': 'dataurl', '.png': 'dataurl' },
    logLevel: 'error',
  });
}

const PAGE = `<!doctype html><html><head><link rel=stylesheet href=/page.css>
<script>window.__grafana_public_path__ = "/public/"; window.grafanaBootData = {settings: {}, user: {}, navTree: []};</script>
<style>html {font-size: 14px} body {margin: 0; font-family: Inter, sans-serif}</style></head>
<body><div id=root></div><div id=grafana-portal-container></div><script type=module src=/page.js></script></body></html>`;

/** The file that a request is for, with its content type; undefined for none of ours. */
function file(name) {
  const font = /\/fonts\/inter\/(Inter-\w+)\.woff2/.exec(name);
  if (font) return [path.join(INTER, `${font[1]}.otf`), 'font/otf'];
  if (name === '/page.js') return [path.join(built, 'page.js'), 'text/javascript'];
  if (name === '/page.css') return [path.join(built, 'page.css'), 'text/css'];
  if (name.includes('/img/icons/')) return [path.join(icons, name.split('/img/icons/')[1]), 'image/svg+xml'];
  return undefined;
}

const server = http.createServer((request, response) => {
  const url = new URL(request.url, 'http://localhost');
  if (url.pathname === '/') {
    response.setHeader('content-type', 'text/html');
    response.end(PAGE);
  } else if (url.pathname === '/dashboard.json') {
    response.end(fs.readFileSync(dashboard));
  } else if (url.pathname.startsWith('/api/')) {
    const asked = http.get(prometheus.replace(/\/$/, '') + request.url, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    asked.on('error', (error) => response.writeHead(502).end(JSON.stringify({ status: 'error', error: String(error) })));
  } else {
    const [found, type] = file(url.pathname) ?? [];
    if (!found || !fs.existsSync(found)) return response.writeHead(404).end();
    response.setHeader('content-type', type);
    response.end(fs.readFileSync(found));
  }
});

function chromium() {
  if (process.env.CHROMIUM) return process.env.CHROMIUM;
  return execSync('command -v chromium || command -v chromium-browser || command -v google-chrome').toString().trim();
}

await bundle();
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const browser = await puppeteer.launch({
  executablePath: chromium(),
  args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--font-render-hinting=none', '--hide-scrollbars'],
});
try {
  const page = await browser.newPage();
  const broken = [];
  page.on('pageerror', (error) => broken.push(String(error)));
  await page.setViewport({ width, height: 1200 });
  await page.goto(`http://127.0.0.1:${server.address().port}/?${query}`);
  await page.waitForFunction('window.shot && window.shot.pending === 0', { timeout: 60_000 });
  const { height, empty, errors } = await page.evaluate('window.shot');
  await page.setViewport({ width, height });
  await new Promise((resolve) => setTimeout(resolve, 500)); // charts settle
  const cut = await page.evaluate(() =>
    [...document.querySelectorAll('[data-panel] h2')]
      .filter((one) => one.scrollWidth > one.clientWidth + 1)
      .map((one) => one.textContent)
  );
  if (out !== '-') {
    const shot = UPNG.decode(await page.screenshot());
    fs.writeFileSync(out, Buffer.from(UPNG.encode(UPNG.toRGBA8(shot), shot.width, shot.height, 256)));
  }
  console.log(JSON.stringify({ empty, errors: [...errors, ...broken], cut: [...new Set(cut)] }));
  process.exitCode = errors.length + broken.length ? 1 : 0;
} finally {
  await browser.close();
  server.close();
}
