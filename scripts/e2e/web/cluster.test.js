// @ts-check
// The page of a real gateway at $PAGE. $LOAD, $KILL, $START, $KILL_GATEWAY and
// $START_GATEWAY are commands that work on its cluster; $KILL is of $NODE.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { after, before, describe, it } from 'node:test';
import { fits, isReadable, launch, open, shoot } from './browser.js';
/** @import { Browser, Page } from 'playwright-core' */

/** @param {string} name */
function given(name) {
  const value = process.env[name];
  assert.ok(value, `$${name} is not set`);
  return value;
}

/**
 * run runs one of the commands to its end.
 * @param {string} name
 * @returns {Promise<void>}
 */
const run = (name) => new Promise((resolve, reject) => {
  const child = spawn('bash', ['-c', given(name)], { stdio: ['ignore', 'ignore', 'inherit'] });
  child.on('error', reject);
  child.on('exit', (code) => (code === 0 ? resolve() : reject(new Error(`${name} ended with ${code}`))));
});

/** @param {Page} page @param {string} state */
const cardIn = (page, state) => page.locator('.card').filter({
  has: page.getByRole('heading', { name: given('NODE'), exact: true }),
}).filter({ has: page.locator('.state').getByText(state, { exact: true }) });

describe('a real cluster', { concurrency: false }, () => {
  /** @type {Browser} */
  let browser;
  before(async () => { browser = await launch(); });
  after(() => browser.close());

  for (const look of [400, 1600].flatMap((width) => [false, true].map((dark) => ({ width, dark })))) {
    it(`is shown at ${look.width} pixels, ${look.dark ? 'dark' : 'light'}`, async () => {
      const { page, errors } = await open(browser, given('PAGE'), look);
      await page.locator('.card').nth(7).waitFor();
      assert.equal(await page.locator('.card').count(), 8);
      await page.locator('.health').getByText('healthy').waitFor();
      await fits(page);
      await isReadable(page);
      await shoot(page, `cluster-${look.width}-${look.dark ? 'dark' : 'light'}`);
      assert.deepEqual(errors, []);
      await page.context().close();
    });
  }

  it('turns yellow, red and back as it happens', async () => {
    const { page, errors } = await open(browser, given('PAGE'), { width: 1600 });
    await page.locator('.card').nth(7).waitFor();
    const load = run('LOAD');
    await cardIn(page, 'working').waitFor({ timeout: 10000 });
    await load;
    await shoot(page, 'cluster-working');
    const killed = performance.now();
    await run('KILL');
    await cardIn(page, 'unavailable').waitFor({ timeout: 5000 });
    console.log(`red ${Math.round(performance.now() - killed)} ms after the kill`);
    const [r, g, b] = await cardIn(page, 'unavailable').locator('.band').evaluate((e) =>
      (getComputedStyle(e).backgroundColor.match(/\d+/g) ?? []).map(Number));
    assert.ok(r > 2 * g && r > 2 * b, 'unavailable is red');
    await page.getByRole('status').getByText(`${given('NODE')} is unavailable`).waitFor({ timeout: 5000 });
    await shoot(page, 'cluster-killed');
    await run('START');
    await page.locator('.card[data-state="unavailable"]').waitFor({ state: 'detached', timeout: 30000 });
    await shoot(page, 'cluster-back');
    assert.deepEqual(errors, []);
    await page.context().close();
  });

  it('may lose its gateway, and get it back', async () => {
    const { page } = await open(browser, given('PAGE'), { width: 400 });
    await page.locator('.card').nth(7).waitFor();
    await run('KILL_GATEWAY');
    await page.getByText('Connection lost.').waitFor({ timeout: 5000 });
    await shoot(page, 'cluster-lost');
    await run('START_GATEWAY');
    await page.getByText('live', { exact: true }).waitFor({ timeout: 30000 });
    await page.context().close();
  });
});
