// @ts-check
// The browser under test, and what is asked of every page.
import assert from 'node:assert/strict';
import { chromium } from 'playwright-core';
/** @import { Browser, Page } from 'playwright-core' */

/** Nothing but the page's own server is asked for anything. */
const ARGUMENTS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--disable-background-networking'];

export const launch = () =>
  chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ARGUMENTS });

/** @typedef {{width: number, dark?: boolean}} Look */

/**
 * open shows the page. What goes wrong in it is collected in errors.
 * @param {Browser} browser
 * @param {string} url
 * @param {Look} look
 */
export async function open(browser, url, { width, dark = false }) {
  const context = await browser.newContext({
    viewport: { width, height: width < 600 ? 800 : 900 }, colorScheme: dark ? 'dark' : 'light',
    reducedMotion: 'reduce',
  });
  const page = await context.newPage();
  /** @type {string[]} */
  const errors = [];
  page.on('console', (m) => { if (['error', 'warning'].includes(m.type())) errors.push(m.text()); });
  page.on('pageerror', (e) => errors.push(String(e)));
  page.on('request', (r) => { if (!r.url().startsWith(url)) errors.push(`asked for ${r.url()}`); });
  await page.goto(url);
  return { page, errors };
}

/** @param {Page} page @param {string} name */
export async function shoot(page, name) {
  if (process.env.SHOTS) await page.screenshot({ path: `${process.env.SHOTS}/${name}.png`, fullPage: true });
}

/** @param {Page} page */
export async function fits(page) {
  const [content, view] = await page.evaluate(() =>
    [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
  assert.ok(content <= view, `${content} pixels wide in ${view}`);
}

/**
 * isReadable wants all text to stand out from what is behind it: 4.5 to 1.
 * @param {Page} page
 */
export async function isReadable(page) {
  assert.deepEqual(await page.evaluate(faint), []);
}

/** Runs in the page. */
function faint() {
  /** @param {string} text @returns {[number, number, number, number]} */
  const parse = (text) => {
    const n = (text.match(/[\d.]+/g) ?? []).map(Number);
    return [n[0], n[1], n[2], n[3] ?? 1];
  };
  /** @param {number[]} over @param {number[]} under */
  const blend = (over, under) => under.map((u, i) => u + (over[i] - u) * over[3]);
  /** @param {number[]} color */
  const light = (color) => color.slice(0, 3).map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  /** What is painted behind e. @param {Element|null} e @returns {number[]} */
  const behind = (e) => (e ? blend(parse(getComputedStyle(e).backgroundColor), behind(e.parentElement)) : [255, 255, 255]);
  /** @param {Element|null} e @returns {number} */
  const opacity = (e) => (e ? Number(getComputedStyle(e).opacity) * opacity(e.parentElement) : 1);
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const e = node.parentElement;
    const box = e?.getBoundingClientRect();
    if (!e || !node.textContent?.trim() || !e.checkVisibility() || !box || box.width < 2) continue;
    const under = behind(e);
    const color = parse(getComputedStyle(e).color);
    color[3] *= opacity(e);
    const [low, high] = [light(blend(color, under)), light(under)].sort((a, b) => a - b);
    const ratio = (high + 0.05) / (low + 0.05);
    if (ratio < 4.5) found.push(`${node.textContent.trim()}: ${ratio.toFixed(2)}`);
  }
  return found;
}
