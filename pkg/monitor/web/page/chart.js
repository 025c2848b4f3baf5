// @ts-check
// Curves in SVG. They say nothing that does not stand beside them as a figure,
// so screen readers do not see them.
import { h, s, setAttribute, setText } from './dom.js';
import { GAP_SECONDS, WINDOW_SECONDS } from './history.js';
/** @import { Moment } from './types.d.ts' */

/** The box that curves are drawn in, before it is stretched. */
const WIDTH = 120;
const HEIGHT = 40;

/** @typedef {(m: Moment) => number|undefined} Pick  nothing, where it is not known */
/** @typedef {{x: number, y: number}} Point */

/**
 * runs returns the points of a curve, cut where something is missing.
 * @param {Moment[]} moments
 * @param {Pick} pick
 * @param {(value: number) => number} height 0 to 1
 * @returns {Point[][]}
 */
function runs(moments, pick, height) {
  const now = moments.at(-1)?.seconds ?? 0;
  /** @type {Point[][]} */
  const all = [];
  let before = -Infinity;
  for (const m of moments) {
    const value = pick(m);
    if (value === undefined || now - m.seconds > WINDOW_SECONDS) continue;
    if (m.seconds - before > GAP_SECONDS) all.push([]);
    before = m.seconds;
    all.at(-1)?.push({
      x: WIDTH * (1 - (now - m.seconds) / WINDOW_SECONDS),
      y: Math.min(1, Math.max(0, height(value))),
    });
  }
  return all;
}

/** @param {number} n */
const round = (n) => Math.round(n * 100) / 100;

/**
 * @param {Point[][]} curves
 * @param {(y: number) => number} place
 */
const line = (curves, place) => curves.map((points) =>
  'M' + points.map((p) => `${round(p.x)} ${round(place(p.y))}`).join('L') +
  (points.length === 1 ? 'h0' : '')).join(''); // a point alone is a dot

/**
 * @param {Point[][]} curves
 * @param {(y: number) => number} place
 */
const area = (curves, place) => curves.map((points) => {
  const base = round(place(0));
  const top = points.map((p) => `L${round(p.x)} ${round(place(p.y))}`).join('');
  return `M${round(points[0].x)} ${base}${top}L${round(points[points.length - 1].x)} ${base}Z`;
}).join('');

/**
 * Curve is an area with a line on its edge.
 * @param {string} kind its class
 */
function curve(kind) {
  const fill = s('path', { class: `area ${kind}` });
  const edge = s('path', { class: `line ${kind}` });
  return {
    nodes: [fill, edge],
    /** @param {Point[][]} curves @param {(y: number) => number} place */
    update(curves, place) {
      setAttribute(fill, 'd', area(curves, place));
      setAttribute(edge, 'd', line(curves, place));
    },
  };
}

/**
 * frame is an SVG that takes the size of its place.
 * @param {string} kind its class
 * @param {...Node} nodes
 */
function frame(kind, ...nodes) {
  return s('svg', {
    class: kind, viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', 'aria-hidden': 'true',
  }, ...nodes);
}

/**
 * spark is the small history of one figure.
 * @param {Pick} pick
 */
export function spark(pick) {
  const one = curve('one');
  return {
    element: frame('spark', ...one.nodes),
    /** @param {Moment[]} moments @param {number} low @param {number} high */
    update(moments, low, high) {
      one.update(runs(moments, pick, (v) => (v - low) / (high - low)), (y) => HEIGHT * (1 - 0.96 * y));
    },
  };
}

/**
 * mirror is the small history of what comes in, above the middle, and of what
 * goes out, below it.
 * @param {Pick} above
 * @param {Pick} below
 */
export function mirror(above, below) {
  const up = curve('one');
  const down = curve('two');
  const middle = HEIGHT / 2;
  return {
    element: frame('spark mirror', ...up.nodes, ...down.nodes,
      s('path', { class: 'axis', d: `M0 ${middle}H${WIDTH}` })),
    /** @param {Moment[]} moments @param {number} high */
    update(moments, high) {
      up.update(runs(moments, above, (v) => v / high), (y) => middle * (1 - y));
      down.update(runs(moments, below, (v) => v / high), (y) => middle * (1 + y));
    },
  };
}

/**
 * nice returns a round number that is not below n: 1, 2 or 5 and zeroes.
 * @param {number} n
 */
export function nice(n) {
  const power = 10 ** Math.floor(Math.log10(n));
  return [1, 2, 5, 10].map((step) => step * power).find((round) => round >= n) ?? n;
}

/**
 * niceBinary is what is nice in KiB and MiB.
 * @param {number} n
 */
export const niceBinary = (n) => 2 ** Math.ceil(Math.log2(n));

/**
 * @typedef {object} Scale
 * @property {(value: number) => number} height 0 to 1
 * @property {number[]} marks values that get a line across and a label
 */

/**
 * linear goes from 0 to top.
 * @param {number} top
 * @returns {Scale}
 */
export const linear = (top) => ({ height: (v) => v / top, marks: [0, top / 2, top] });

/**
 * decades gives each power of ten the same room, so that a microsecond and a
 * second are both seen.
 * @param {number} low a power of ten
 * @param {number} high a power of ten
 * @returns {Scale}
 */
export function decades(low, high) {
  const from = Math.log10(low);
  const of = Math.max(1, Math.round(Math.log10(high) - from));
  return {
    height: (v) => (v > 0 ? (Math.log10(v) - from) / of : 0),
    marks: Array.from({ length: of + 1 }, (_, i) => 10 ** (from + i)),
  };
}

/**
 * @typedef {object} Series
 * @property {string} name
 * @property {'one'|'two'} kind the second is dashed
 * @property {Pick} pick
 */

/**
 * chart is the last minute of a few figures, with their names, their newest
 * values and a scale.
 * @param {'areas'|'lines'} kind lines, where 0 is not at the bottom
 * @param {string} title
 * @param {Series[]} series
 * @param {(value: number|undefined) => string} format
 */
export function chart(kind, title, series, format) {
  const curves = series.map((of) => curve(of.kind));
  const grid = s('path', { class: 'grid' });
  const labels = h('div', { class: 'scale', 'aria-hidden': 'true' });
  const values = series.map(() => h('dd'));
  const legend = h('dl', { class: 'legend' }, ...series.map((of, i) =>
    h('div', {}, h('dt', {}, key(of.kind), of.name), values[i])));
  const element = h('figure', { class: `chart ${kind}` },
    h('figcaption', {}, h('span', { class: 'chart-title' }, title), legend),
    h('div', { class: 'plot' }, labels, frame('curves', grid, ...curves.flatMap((c) => c.nodes))));
  return {
    element,
    /** @param {Moment[]} moments @param {Scale} scale */
    update(moments, scale) {
      const place = (/** @type {number} */ y) => HEIGHT * (1 - y);
      series.forEach((of, i) => {
        const last = moments.at(-1);
        curves[i].update(runs(moments, of.pick, scale.height), place);
        setText(values[i], format(last && of.pick(last)));
      });
      setAttribute(grid, 'd', scale.marks.map((v) => `M0 ${round(place(scale.height(v)))}H${WIDTH}`).join(''));
      mark(labels, scale, format);
    },
  };
}

/**
 * mark writes the scale's labels.
 * @param {HTMLElement} labels
 * @param {Scale} scale
 * @param {(value: number) => string} format
 */
function mark(labels, scale, format) {
  while (labels.children.length < scale.marks.length) labels.append(h('span'));
  while (labels.children.length > scale.marks.length) labels.lastElementChild?.remove();
  scale.marks.forEach((value, i) => {
    const label = /** @type {HTMLElement} */ (labels.children[i]);
    setText(label, value === 0 ? '0' : format(value));
    label.style.bottom = `${scale.height(value) * 100}%`;
  });
}

/**
 * key is a piece of the curve that a name belongs to.
 * @param {string} kind
 */
function key(kind) {
  return s('svg', { class: 'key', viewBox: '0 0 24 8', 'aria-hidden': 'true' },
    s('path', { class: `line ${kind}`, d: 'M0 4H24' }));
}
