// @ts-check
// The page, fed with pictures by webfeed at $FEED.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { fits, isReadable, launch, open, shoot } from './browser.js';
import { cluster, lesson, stripe, timeOf } from './pictures.js';
/** @import { Browser, Page } from 'playwright-core' */
/** @import { Cluster } from '../../../pkg/monitor/web/page/types.d.ts' */

const FEED = process.env.FEED ?? '';
const LOOKS = [...[400, 1600].flatMap((width) => [false, true].map((dark) => ({ width, dark }))),
  { width: 1000, dark: true }];

/** @type {Browser} */
let browser;
before(async () => { browser = await launch(); });
after(() => browser.close());

/** @param {string | Cluster | object} picture */
async function feed(picture) {
  const body = typeof picture === 'string' ? picture : JSON.stringify(picture);
  const answer = await fetch(`${FEED}/feed`, { method: 'POST', body });
  assert.equal(answer.status, 200);
}

/** @param {{width: number, dark?: boolean}} look */
const show = (look) => open(browser, FEED, look);

/**
 * Feeds pictures, none so fast that the page misses it for long.
 * @param {Page} page
 * @param {(step: number) => Cluster} picture
 * @param {number} from
 * @param {number} to
 */
async function play(page, picture, from, to) {
  for (let step = from; step < to; step++) {
    await feed({ ...picture(step), name: `step ${step}` });
    if (step % 4 === 3 || step === to - 1) {
      await page.locator('#name').getByText(`step ${step}`, { exact: true }).waitFor();
    }
  }
}

/** @param {Page} page @param {string} id */
const cardOf = (page, id) => page.locator('.card').filter({ has: page.getByRole('heading', { name: id, exact: true }) });

/** @param {Page} page @param {string} id @returns {Promise<number[]>} red, green, blue of its band */
const colorOf = (page, id) => cardOf(page, id).locator('.band').evaluate((e) =>
  (getComputedStyle(e).backgroundColor.match(/\d+/g) ?? []).map(Number));

describe('a lesson', () => {
  for (const look of LOOKS) {
    it(`is shown at ${look.width} pixels, ${look.dark ? 'dark' : 'light'}`, async () => {
      await feed(lesson(0));
      const { page, errors } = await show(look);
      await play(page, (step) => lesson(2 * step), 1, 64);
      await shoot(page, `lesson-${look.width}-${look.dark ? 'dark' : 'light'}`);
      await fits(page);
      await isReadable(page);
      const text = (await page.locator('main').innerText()).toLowerCase();
      for (const want of [
        'pi3', '192.168.1.103:9801', 'unavailable', 'resyncing', 'lost', 'slow', 'no answer since 15:09:41', '°c',
        'degraded', 'p99', 'dirty', 'hedged', '3120 blocks under-protected', 'resync of pi7, volume demo', 'remaining',
        'd0', 'p5', 'spare', 'pi3 is out since', '4.1 ms, used', '180 ms, not used', 'is slow: reads go to others',
        'big buck bunny', '8 mbit/s', 'all right',
      ]) assert.ok(text.includes(want), `"${want}" is not shown`);
      assert.deepEqual(errors, []);
      await page.context().close();
    });
  }
});

describe('a card', () => {
  it('has the colour and the word of its state', async () => {
    const picture = cluster(0);
    await feed(picture);
    const { page, errors } = await show({ width: 1600 });
    let step = 1;
    /** @param {string} state */
    const turns = async (state) => {
      Object.assign(picture.cards?.[2] ?? {}, { state });
      await feed({ ...picture, time: timeOf(step++) });
      await cardOf(page, 'pi3').locator('.state', { hasText: state }).waitFor({ timeout: 3000 });
      return colorOf(page, 'pi3');
    };
    const [ri, gi, bi] = await turns('idle');
    assert.ok(gi > ri && gi > bi, 'idle is green');
    const [rw, gw, bw] = await turns('working');
    assert.ok(rw > 200 && gw > 150 && bw < 100, 'working is yellow');
    const [ru, gu, bu] = await turns('unavailable');
    assert.ok(ru > 2 * gu && ru > 2 * bu, 'unavailable is red');
    await turns('melted');
    assert.equal(await cardOf(page, 'pi3').getAttribute('data-state'), 'unknown');
    assert.deepEqual(errors, []);
    await page.context().close();
  });

  it('stands beside others, as many as there are', async () => {
    for (const width of [400, 1600]) {
      const { page, errors } = await show({ width });
      for (const nodes of [0, 1, 3, 20]) {
        await feed({ ...cluster(nodes * 200, nodes), name: `of ${nodes}` });
        await page.getByRole('heading', { name: `of ${nodes}`, exact: false }).waitFor();
        assert.equal(await page.locator('.card').count(), nodes);
        await fits(page);
        await shoot(page, `cards-${width}-${nodes}`);
      }
      assert.deepEqual(errors, []);
      await page.context().close();
    }
  });
});

describe('what is hostile', () => {
  const IMG = '<img src=x onerror="window.pwned=1">';
  const SCRIPT = '</script><script>window.pwned=1</script>';

  it('stays text', async () => {
    const hostile = JSON.parse(JSON.stringify(lesson(1)), (_, v) =>
      (typeof v === 'string' && !/^\d{4}-/.test(v) ? `${IMG}${SCRIPT}${v}` : v));
    await feed(hostile);
    const { page, errors } = await show({ width: 400 });
    await page.locator('.card').first().waitFor();
    await feed({ ...hostile, time: timeOf(2), cards: [...hostile.cards, ...hostile.cards] });
    await page.locator('.card').nth(15).waitFor();
    assert.equal(await page.locator('img, main script').count(), 0);
    assert.equal(await page.evaluate(() => 'pwned' in window), false);
    assert.ok((await page.locator('.card-id').first().innerText()).startsWith(IMG));
    await fits(page);
    await shoot(page, 'hostile-400');
    assert.deepEqual(errors, []);
    await page.context().close();
  });

  it('is refused by the policy, too', async () => {
    await feed(cluster(1));
    const { page } = await show({ width: 400 });
    const refused = await page.evaluate((html) => {
      try {
        document.body.innerHTML = html;
        return false;
      } catch {
        return true;
      }
    }, IMG);
    assert.ok(refused, 'innerHTML took a string');
    await page.context().close();
  });

  it('may lack everything, or be no picture at all', async () => {
    await feed({ time: timeOf(0), name: 'bare', cards: null });
    const { page, errors } = await show({ width: 1600 });
    await page.getByRole('heading', { name: 'bare' }).waitFor();
    await feed('{"time": tru');
    await feed('null');
    await feed('[]');
    await feed({ cards: 7, events: 'none' });
    await feed({ time: 'yesterday', name: 'odd', cards: [{ id: 'a' }, {}], stripe: { chunks: null }, jobs: null });
    await feed({ ...lesson(9), name: 'whole' });
    await page.getByRole('heading', { name: 'whole' }).waitFor();
    assert.deepEqual(errors, []);
    await page.context().close();
  });
});

describe('a stream that breaks', () => {
  /** @param {Page} page */
  const isOld = async (page) => {
    await page.getByText('Connection lost.').waitFor({ timeout: 8000 });
    assert.match(await page.locator('main').evaluate((e) => getComputedStyle(e).filter), /grayscale/);
    await page.getByText('connection lost', { exact: true }).waitFor();
  };
  /** @param {Page} page */
  const isLive = async (page) => {
    await page.getByText('live', { exact: true }).waitFor({ timeout: 15000 });
    assert.equal(await page.getByText('Connection lost.').isVisible(), false);
    assert.equal(await page.locator('main').evaluate((e) => getComputedStyle(e).filter), 'none');
  };

  for (const how of ['cut', 'hang']) {
    it(`is told of, and mended: ${how}`, async () => {
      await feed(lesson(1));
      const { page } = await show({ width: 1600 });
      await isLive(page);
      await feed(how);
      await isOld(page);
      await isReadable(page);
      await shoot(page, `old-${how}`);
      await page.waitForTimeout(4000); // longer than a silence is borne, and than a few tries
      await isOld(page);
      await feed(lesson(20));
      await isLive(page);
      await page.context().close();
    });
  }

  it('is waited for at the start', async () => {
    await feed('cut');
    const { page } = await show({ width: 400 });
    await page.getByText('Waiting for the first picture').waitFor();
    assert.equal(await page.locator('main').isVisible(), false);
    await feed(lesson(1));
    await isLive(page);
    assert.equal(await page.getByText('Waiting for the first picture').isVisible(), false);
    await page.context().close();
  });
});

describe('without a mouse, without eyes', () => {
  it('the keyboard reaches what scrolls', async () => {
    await feed(lesson(1));
    const { page } = await show({ width: 1600 });
    await page.locator('.card').first().waitFor();
    const reached = [];
    for (let i = 0; i < 4; i++) {
      await page.keyboard.press('Tab');
      reached.push(await page.evaluate(() => document.activeElement?.textContent?.trim().slice(0, 12)));
    }
    assert.equal(reached[0], 'To the cards');
    assert.equal(await page.evaluate(() => document.querySelector('.scroll')?.matches('[tabindex="0"]')), true);
    await page.context().close();
  });

  it('what goes away and comes back is told, and work is not', async () => {
    const picture = cluster(0);
    await feed(picture);
    const { page } = await show({ width: 1600 });
    await page.locator('.card').first().waitFor();
    const status = page.getByRole('status');
    Object.assign(picture.cards?.[0] ?? {}, { state: 'idle' });
    Object.assign(picture.cards?.[4] ?? {}, { state: 'unavailable' });
    await feed({ ...picture, time: timeOf(1) });
    await status.getByText('pi5 is unavailable.', { exact: true }).waitFor();
    Object.assign(picture.cards?.[4] ?? {}, { state: 'idle', sync: 'resyncing' });
    await feed({ ...picture, time: timeOf(2) });
    await status.getByText('pi5 is available, resyncing.', { exact: true }).waitFor({ timeout: 5000 });
    await page.context().close();
  });
});

describe('figures', () => {
  it('are written as they are read', async () => {
    await feed(cluster(0));
    const { page } = await show({ width: 400 });
    const got = await page.evaluate(async () => {
      // @ts-ignore: a path of the server's
      const f = await import('/format.js');
      return [
        ...[0, 1, 999, 1023, 1024, 1536, 1048575, 64 * 2 ** 30, undefined].map(f.bytes),
        ...[0, 1, 999.7, 12345678].map(f.rate),
        ...[0, 0.04, 0.96, 12.4, 4321].map(f.perSecond),
        ...[0, 0.0001, 0.5, 0.999, 1, undefined].map(f.percent),
        ...[0, 0.00042, 0.0021, 0.042, 0.9999, 3.25].map(f.latency),
        ...[-1, 0, 59, 60, 81, 3600, 11520, 200000].map(f.duration),
        f.count(1, 'card'), f.count(2, 'card'),
      ];
    });
    assert.deepEqual(got, [
      '0 B', '1 B', '999 B', '1023 B', '1 KiB', '1.5 KiB', '1 MiB', '64 GiB', '–',
      '0 B/s', '1 B/s', '1 kB/s', '12.3 MB/s',
      '0', '0.1', '1', '12', '4321',
      '0 %', '<1 %', '50 %', '99 %', '100 %', '–',
      '–', '420 µs', '2.1 ms', '42 ms', '1 s', '3.25 s',
      '0 s', '0 s', '59 s', '1 min', '1 min 21 s', '1 h', '3 h 12 min', '2 d 7 h',
      '1 card', '2 cards',
    ]);
    await page.context().close();
  });

  it('are kept for a minute, and cut where none came', async () => {
    await feed(cluster(0));
    const { page } = await show({ width: 1600 });
    await play(page, cluster, 1, 9);
    await play(page, cluster, 40, 60);
    const d = await cardOf(page, 'pi1').locator('.spark .line').first().getAttribute('d');
    assert.equal(d?.match(/M/g)?.length, 2, 'a pause of 16 s is a gap');
    await play(page, cluster, 60, 140);
    const late = await cardOf(page, 'pi1').locator('.spark .line').first().getAttribute('d');
    assert.equal(late?.match(/M/g)?.length, 1, 'what is older than a minute is gone');
    await play(page, cluster, 1, 9); // a lesson that begins anew
    const anew = await cardOf(page, 'pi1').locator('.spark .line').first().getAttribute('d');
    assert.equal(anew?.match(/M/g)?.length, 1);
    await page.context().close();
  });
});

describe('a stripe', () => {
  it('is marked on the cards that hold it', async () => {
    await feed({ ...cluster(0), stripe: stripe(0) });
    const { page } = await show({ width: 1600 });
    assert.equal(await cardOf(page, 'pi4').locator('.chunk-chip').getAttribute('data-used'), 'true');
    assert.match(await cardOf(page, 'pi2').locator('.chunk-chip').innerText(), /^P4/);
    assert.equal(await cardOf(page, 'pi8').locator('.chunk-chip').count(), 0);
    assert.equal(await page.locator('.place').count(), 6);
    assert.equal(await page.locator('.place').nth(2).locator('.stripe-chunk').count(), 2);
    await page.context().close();
  });
});
