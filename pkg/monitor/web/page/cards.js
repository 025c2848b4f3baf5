// @ts-check
// The cards, and the row of lights that shows all of them on a small screen.
import { mirror, nice, spark } from './chart.js';
import { byId, columns, h, icon, list, sayOrHide, setAttribute, setIcon, setText, show } from './dom.js';
import { bytes, chunkName, DASH, number, percent, perSecond, rate, share, stateClass } from './format.js';
/** @import { Card, Cluster, Moment, StripeChunk } from './types.d.ts' */
/** @import { History } from './history.js' */

/** Standings that are marked apart; a card that is in needs no mark. */
const SYNCS = ['resyncing', 'out', 'lost'];

/** Temperatures that a curve shows: from a cool room to where boards slow down. */
const COOL = 30;
const HOT = 85;

/** Cards are no narrower than this, in pixels, where the page is wide enough. */
const NARROWEST = 290;

/**
 * What all cards are drawn with.
 * @typedef {object} Scene
 * @property {Moment[]} moments
 * @property {number} chunks the top of all cards' curves of chunks per second
 * @property {number} net
 * @property {number} disk
 * @property {StripeChunk[]} stripe
 */

/** Cards is the part of the page with one box for each card. */
export class Cards {
  #grid = byId('cards');
  #lights = list(byId('lights'), (/** @type {Card} */ c) => c.id, makeLight);
  #cards = list(this.#grid, (/** @type {{card: Card}} */ c) => c.card.id, makeCard);
  #arrange = columns(this.#grid, NARROWEST);

  /** @param {Cluster} cluster @param {History} history */
  update(cluster, history) {
    const cards = cluster.cards ?? [];
    const scene = sceneOf(cluster, history);
    this.#cards(cards.map((card) => ({ card, scene })));
    this.#lights(cards);
    for (const [i, e] of [...this.#grid.children].entries()) setAttribute(e, 'id', `card-${i}`);
    for (const [i, e] of [...byId('lights').children].entries()) {
      setAttribute(/** @type {Element} */ (e.firstElementChild), 'href', `#card-${i}`);
    }
    this.#arrange(cards.length);
  }
}

/**
 * One scale for all cards, so that they can be compared.
 * @param {Cluster} cluster
 * @param {History} history
 * @returns {Scene}
 */
function sceneOf(cluster, history) {
  /** @param {number} floor @param {(c: Card) => (number|undefined)[]} pick */
  const top = (floor, pick) =>
    nice(history.largest(floor, (m) => [...m.cards.values()].flatMap(pick)));
  return {
    moments: history.moments,
    chunks: top(10, (c) => [c.reads_per_second, c.writes_per_second]),
    net: top(1e5, (c) => [c.host?.net_in_bytes_per_second, c.host?.net_out_bytes_per_second]),
    disk: top(1e5, (c) => [c.host?.disk_in_bytes_per_second, c.host?.disk_out_bytes_per_second]),
    stripe: cluster.stripe?.chunks ?? [],
  };
}

/** A light is a link to its card. */
function makeLight() {
  const sign = icon('idle');
  const id = h('span', { class: 'light-id' });
  const word = h('span', { class: 'light-word' });
  const link = h('a', { class: 'light', href: '#cards' }, sign, id, word);
  return {
    element: h('li', {}, link),
    /** @param {Card} card */
    update(card) {
      setAttribute(link, 'data-state', stateClass(card.state));
      setIcon(sign, stateClass(card.state));
      setText(id, card.id);
      setText(word, card.state);
    },
  };
}

function makeCard() {
  let id = '';
  /** @param {(c: Card) => number|undefined} of @returns {(m: Moment) => number|undefined} */
  const pick = (of) => (m) => {
    const card = m.cards.get(id);
    return card && card.state !== 'unavailable' ? of(card) : undefined;
  };
  const band = makeBand();
  const addr = h('span', { class: 'addr' });
  const store = h('span', { class: 'store' });
  const why = h('p', { class: 'why' });
  const figures = makeFigures(pick);
  const flows = makeFlows(pick);
  const element = h('li', { class: 'card' }, band.element,
    h('p', { class: 'where' }, addr, store), why, figures.element, flows.element);
  return {
    element,
    /** @param {{card: Card, scene: Scene}} of */
    update({ card, scene }) {
      id = card.id;
      setAttribute(element, 'data-state', stateClass(card.state));
      setAttribute(element, 'data-sync', SYNCS.includes(card.sync) ? card.sync : '');
      band.update(card, scene.stripe.filter((c) => c.node === card.id));
      setText(addr, card.addr);
      setText(store, card.capacity_bytes > 0 ?
        `${bytes(card.used_bytes)} of ${bytes(card.capacity_bytes)}` : '');
      sayOrHide(why, card.why);
      // A reason takes the place of figures that are not there: the card keeps its size.
      show(figures.element, !(card.why && card.state === 'unavailable'));
      figures.update(card, scene);
      flows.update(scene);
    },
  };
}

/** The band has the colour and the word of the state, and what marks the card. */
function makeBand() {
  const sign = icon('idle');
  const id = h('h3', { class: 'card-id' });
  const word = h('span', { class: 'state' });
  const chunks = h('span', { class: 'chunks' });
  const marks = h('span', { class: 'marks' });
  const setMarks = list(marks, (/** @type {Mark} */ m) => m.word, makeMark);
  const setChunks = list(chunks, (/** @type {StripeChunk} */ c) => String(c.index), makeChunk);
  return {
    element: h('div', { class: 'band' }, sign, id, chunks, marks, word),
    /** @param {Card} card @param {StripeChunk[]} stripe */
    update(card, stripe) {
      setIcon(sign, stateClass(card.state));
      setText(id, card.id);
      setText(word, card.state);
      setChunks(stripe);
      const of = marksOf(card);
      setMarks(of);
      show(marks, of.length > 0);
    },
  };
}

/** @typedef {{word: string, sign: string, title: string}} Mark */

/** @param {Card} card @returns {Mark[]} */
function marksOf(card) {
  const marks = [];
  if (card.sync === 'resyncing') {
    marks.push({ word: 'resyncing', sign: 'resync', title: 'is given what it missed' });
  } else if (card.sync === 'out') {
    marks.push({ word: 'out', sign: 'out', title: 'may have missed writes: not trusted until it is resynced' });
  } else if (card.sync === 'lost') {
    marks.push({ word: 'lost', sign: 'lost', title: 'given up: spares hold its chunks' });
  }
  if (card.slow) marks.push({ word: 'slow', sign: 'slow', title: 'it answers late: reads go to others' });
  if (card.read_only) marks.push({ word: 'read-only', sign: 'lock', title: 'it takes no writes' });
  return marks;
}

function makeMark() {
  const sign = icon('resync');
  const word = h('span');
  const element = h('span', { class: 'mark' }, sign, word);
  return {
    element,
    /** @param {Mark} mark */
    update(mark) {
      setAttribute(element, 'data-mark', mark.word);
      setAttribute(element, 'title', mark.title);
      setIcon(sign, mark.sign);
      setText(word, mark.word);
    },
  };
}

/** The chunk of the stripe below that stands on this card. */
function makeChunk() {
  const name = h('span');
  const more = h('span', { class: 'visually-hidden' });
  const element = h('span', { class: 'chunk-chip' }, name, more);
  return {
    element,
    /** @param {StripeChunk} chunk */
    update(chunk) {
      setAttribute(element, 'data-used', String(Boolean(chunk.used)));
      setAttribute(element, 'title', `chunk ${chunk.index} of the stripe that is shown below`);
      setText(name, chunkName(chunk));
      setText(more, `, chunk of the stripe below${chunk.used ? ', gave it at the last read' : ''}`);
    },
  };
}

/** @typedef {(of: (c: Card) => number|undefined) => (m: Moment) => number|undefined} PickOf */

/**
 * The four figures that are a level: each with its last minute.
 * @param {PickOf} pick
 */
function makeFigures(pick) {
  const cpu = makeFigure('CPU', pick((c) => c.host?.cpu), percent);
  const memory = makeFigure('Memory', pick(memoryOf), percent);
  const card = makeFigure('Card', pick(usageOf), percent);
  const heat = makeFigure('Temp.', pick((c) => c.host?.celsius),
    (n) => (n === undefined ? DASH : `${number(Math.round(n))} °C`));
  return {
    element: h('dl', { class: 'figures' }, cpu.element, memory.element, card.element, heat.element),
    /** @param {Card} c @param {Scene} scene */
    update(c, scene) {
      const up = c.state !== 'unavailable';
      cpu.update(up ? c.host?.cpu : undefined, scene.moments, 0, 1);
      memory.update(up ? memoryOf(c) : undefined, scene.moments, 0, 1);
      card.update(up ? usageOf(c) : undefined, scene.moments, 0, 1);
      heat.update(up ? c.host?.celsius : undefined, scene.moments, COOL, HOT);
    },
  };
}

/** @param {number|undefined} n */
const chunkRate = (n) => (n === undefined ? DASH : `${perSecond(n)}/s`);

/** @param {Card} c */
const memoryOf = (c) => share(c.host?.memory_used_bytes, c.host?.memory_bytes);

/** @param {Card} c */
const usageOf = (c) => share(c.used_bytes, c.capacity_bytes);

/**
 * @param {string} name
 * @param {(m: Moment) => number|undefined} pick
 * @param {(n: number|undefined) => string} format
 */
function makeFigure(name, pick, format) {
  const value = h('dd');
  const curve = spark(pick);
  return {
    element: h('div', { class: 'figure' }, h('dt', {}, name), value, curve.element),
    /** @param {number|undefined} n @param {Moment[]} moments @param {number} low @param {number} high */
    update(n, moments, low, high) {
      setText(value, format(n));
      curve.update(moments, low, high);
    },
  };
}

/**
 * The three that flow: in above the line, out below it.
 * @param {PickOf} pick
 */
function makeFlows(pick) {
  const chunks = makeFlow('Chunks', 'reads', 'writes', chunkRate, pick(
    (c) => c.reads_per_second), pick((c) => c.writes_per_second));
  const net = makeFlow('Net', 'in', 'out', rate, pick(
    (c) => c.host?.net_in_bytes_per_second), pick((c) => c.host?.net_out_bytes_per_second));
  const disk = makeFlow('Disk', 'out', 'in', rate, pick(
    (c) => c.host?.disk_out_bytes_per_second), pick((c) => c.host?.disk_in_bytes_per_second));
  return {
    element: h('dl', { class: 'flows' }, chunks.element, net.element, disk.element),
    /** @param {Scene} scene */
    update(scene) {
      chunks.update(scene.moments, scene.chunks);
      net.update(scene.moments, scene.net);
      disk.update(scene.moments, scene.disk);
    },
  };
}

/**
 * @param {string} name
 * @param {string} above what the curve above the middle is
 * @param {string} below
 * @param {(n: number|undefined) => string} format
 * @param {(m: Moment) => number|undefined} pickAbove
 * @param {(m: Moment) => number|undefined} pickBelow
 */
function makeFlow(name, above, below, format, pickAbove, pickBelow) {
  const up = h('span', { class: 'value' });
  const down = h('span', { class: 'value' });
  const curve = mirror(pickAbove, pickBelow);
  return {
    element: h('div', { class: 'flow' }, h('dt', {}, name), curve.element, h('dd', {},
      h('span', { class: 'way one' }, above), up, h('span', { class: 'way two' }, below), down)),
    /** @param {Moment[]} moments @param {number} high */
    update(moments, high) {
      const last = moments.at(-1);
      setText(up, format(last && pickAbove(last)));
      setText(down, format(last && pickBelow(last)));
      curve.update(moments, high);
    },
  };
}
