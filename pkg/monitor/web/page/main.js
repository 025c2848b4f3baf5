// @ts-check
import { Cards } from './cards.js';
import { byId, setAttribute, setText, show } from './dom.js';
import { FilmView } from './film.js';
import { clock, count, duration } from './format.js';
import { GatewayView } from './gateway.js';
import { History } from './history.js';
import { Lists } from './lists.js';
import { Live, OLD_AFTER } from './live.js';
import { StripeView } from './stripe.js';
/** @import { Cluster } from './types.d.ts' */

const NO_BREAK = '\u00a0';

/** A screen reader is told at most this often, in ms. */
const TELL_EVERY = 3000;

const history = new History();
const views = [new FilmView(), new Cards(), new StripeView(), new GatewayView(), new Lists()];

/** The newest picture, and whether it is drawn. @type {Cluster|undefined} */
let newest;
let drawn = true;

/** What a screen reader knows, and what it is to be told. */
let known = new Map();
/** @type {string[]} */
let news = [];
let told = -Infinity;

/** @param {Cluster} cluster */
function take(cluster) {
  newest = cluster;
  history.add(cluster);
  listen(cluster);
  if (!drawn) return;
  drawn = false;
  requestAnimationFrame(draw); // not at all while nobody looks
}

function draw() {
  drawn = true;
  if (!newest) return;
  for (const view of views) view.update(newest, history);
  headline(newest);
  show(byId('page'), true);
}

/** @param {Cluster} cluster */
function headline(cluster) {
  const cards = cluster.cards ?? [];
  /** @param {string} state */
  const of = (state) => cards.filter((c) => c.state === state).length;
  const parts = ['working', 'idle', 'unavailable'].filter((state) => of(state) > 0)
    .map((state) => `${of(state)}${NO_BREAK}${state}`);
  setText(byId('name'), cluster.name);
  setText(byId('summary'), [count(cards.length, 'card'), ...parts].join(' · '));
  const title = [...(of('unavailable') > 0 ? [`${of('unavailable')} unavailable`] : []), cluster.name, 'Rozobox'];
  if (document.title !== title.join(' – ')) document.title = title.join(' – ');
}

/**
 * listen notes what a screen reader is told: what goes away and comes back, not
 * which card works right now.
 * @param {Cluster} cluster
 */
function listen(cluster) {
  const now = new Map();
  for (const c of cluster.cards ?? []) {
    const up = c.state === 'unavailable' ? 'unavailable' : 'available';
    now.set(c.id, ['in', 'unknown'].includes(c.sync) ? up : `${up}, ${c.sync}`);
  }
  if (cluster.gateway) now.set('The cluster', cluster.gateway.health);
  for (const [who, how] of now) {
    if (known.has(who) && known.get(who) !== how) news.push(`${who} is ${how}`);
  }
  known = now;
}

/** @param {number|undefined} age of what is shown, in ms */
function tell(age) {
  const old = age === undefined || age > OLD_AFTER;
  const before = document.documentElement.dataset.live;
  const after = age === undefined ? 'waiting' : String(!old);
  if (before !== after) {
    document.documentElement.dataset.live = after;
    if (age !== undefined && before !== 'waiting') {
      news.push(old ? 'The connection is lost' : 'The connection is back');
    }
  }
  setText(byId('link-word'), age === undefined ? 'connecting' : old ? 'connection lost' : 'live');
  show(byId('old'), old && age !== undefined);
  if (old && age !== undefined) {
    setText(byId('old-since'), `${clock(new Date(Date.now() - age))}, ${duration(age / 1000)} ago`);
  }
  announce();
}

function announce() {
  if (news.length === 0 || performance.now() - told < TELL_EVERY) return;
  told = performance.now();
  setText(byId('announce'), `${news.join('. ')}.`);
  news = [];
}

setAttribute(document.documentElement, 'data-live', 'waiting');
new Live('v1/live', take, tell).start();
