// @ts-check
// The stripe: where the chunks of one block stand, and who gave it.
import { byId, columns, h, icon, list, sayOrHide, setAttribute, setIcon, setText, show } from './dom.js';
import { bytes, chunkName, duration, latency, stateClass } from './format.js';
/** @import { Cluster, Stripe, StripeChunk } from './types.d.ts' */

/** No column is narrower than this, in pixels. */
const NARROWEST = 150;

/**
 * One chunk index: its home, and the spares that stand in for it.
 * @typedef {object} Place
 * @property {StripeChunk[]} chunks
 * @property {Map<string, string>} states of the cards
 * @property {number} slowest seconds, of all chunks
 * @property {Stripe} stripe
 */

/** StripeView is the part of the page that a teacher points at. */
export class StripeView {
  #what = byId('stripe-what');
  #none = byId('stripe-none');
  #places = list(byId('stripe'), (/** @type {Place} */ p) => chunkName(p.chunks[0]), makePlace);
  #arrange = columns(byId('stripe'), NARROWEST);

  /** @param {Cluster} cluster */
  update(cluster) {
    const stripe = cluster.stripe;
    show(this.#none, !stripe);
    show(this.#what, Boolean(stripe));
    show(byId('stripe'), Boolean(stripe));
    const places = stripe ? placesOf(stripe, cluster) : [];
    this.#places(places);
    this.#arrange(places.length);
    if (stripe) setText(this.#what, describe(stripe, Date.parse(cluster.time)));
  }
}

/** @param {Stripe} stripe @param {number} now */
function describe(stripe, now) {
  const parts = [`Volume ${stripe.volume}, block ${stripe.block} at ${bytes(stripe.offset)}`];
  if (stripe.version) parts.push(`version ${stripe.version}`);
  else parts.push('never written');
  if (stripe.zeroes) parts.push('reads as zeroes');
  if (stripe.read) {
    const ago = (now - Date.parse(stripe.read)) / 1000;
    const from = stripe.memory ? ", from the gateway's memory" : '';
    parts.push((ago < 1 ? 'read just now' : `read ${duration(ago)} ago`) + from);
  }
  parts.push(`any ${stripe.data_chunks} of ${stripe.data_chunks + stripe.parity_chunks} give it back`);
  return `${parts.join(' · ')}.`;
}

/** @param {Stripe} stripe @param {Cluster} cluster @returns {Place[]} */
function placesOf(stripe, cluster) {
  const chunks = stripe.chunks ?? [];
  const states = new Map((cluster.cards ?? []).map((c) => [c.id, c.state]));
  const slowest = Math.max(...chunks.map((c) => c.seconds ?? 0));
  /** @type {Map<number, StripeChunk[]>} */
  const byIndex = new Map();
  for (const c of chunks) byIndex.set(c.index, [...(byIndex.get(c.index) ?? []), c]);
  return [...byIndex.values()].map((of) => ({ chunks: of, states, slowest, stripe }));
}

function makePlace() {
  const name = h('h3', { class: 'place-name' });
  const kind = h('span', { class: 'place-kind' });
  const chunks = h('ul', { class: 'place-chunks' });
  const setChunks = list(chunks,
    (/** @type {{chunk: StripeChunk, place: Place}} */ c) => c.chunk.node, makeChunk);
  const element = h('li', { class: 'place' }, h('div', { class: 'place-head' }, name, kind), chunks);
  return {
    element,
    /** @param {Place} place */
    update(place) {
      const first = place.chunks[0];
      setAttribute(element, 'data-kind', first.parity ? 'parity' : 'data');
      setText(name, chunkName(first));
      setText(kind, first.parity ? 'parity' : 'data');
      setChunks(place.chunks.map((chunk) => ({ chunk, place })));
    },
  };
}

function makeChunk() {
  const sign = icon('idle');
  const node = h('span', { class: 'chunk-node' });
  const spare = h('span', { class: 'chunk-spare' }, 'spare');
  const state = h('span', { class: 'chunk-state' });
  const answer = h('span', { class: 'chunk-answer' });
  const hedged = h('span', { class: 'chunk-hedged' }, icon('hedge'), 'hedged');
  const time = h('span', { class: 'chunk-time' });
  const bar = h('span', { class: 'chunk-bar', 'aria-hidden': 'true' }, time);
  const why = h('p', { class: 'chunk-why' });
  const element = h('li', { class: 'stripe-chunk' },
    h('p', { class: 'chunk-card' }, sign, node, spare),
    h('p', { class: 'chunk-words' }, state, answer, hedged), bar, why);
  return {
    element,
    /** @param {{chunk: StripeChunk, place: Place}} of */
    update({ chunk, place }) {
      const card = stateClass(place.states.get(chunk.node) ?? '');
      setAttribute(element, 'data-state', card);
      setAttribute(element, 'data-used', String(Boolean(chunk.used)));
      setAttribute(element, 'data-chunk', chunk.state === 'present' ? 'present' : 'missing');
      setIcon(sign, card);
      setText(node, chunk.node);
      show(spare, Boolean(chunk.spare));
      setText(state, stateOf(chunk, place.stripe.version));
      sayOrHide(answer, place.stripe.read && answerOf(chunk));
      show(hedged, Boolean(chunk.hedged));
      show(bar, Boolean(chunk.seconds));
      time.style.width = `${((chunk.seconds ?? 0) / (place.slowest || 1)) * 100}%`;
      sayOrHide(why, chunk.why);
    },
  };
}

/** @param {StripeChunk} chunk @param {string} version of the block */
function stateOf(chunk, version) {
  const other = chunk.version && chunk.version !== version;
  return other ? `${chunk.state}, version ${chunk.version}` : chunk.state;
}

/** @param {StripeChunk} chunk */
function answerOf(chunk) {
  if (!chunk.asked) return 'not asked';
  if (!chunk.seconds) return 'asked, no answer';
  return `${latency(chunk.seconds)}${chunk.used ? ', used' : ', not used'}`;
}
