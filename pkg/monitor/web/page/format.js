// @ts-check
// Numbers and times, as they are read. What is not known is a dash.

export const DASH = '–';

const BINARY = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'];
const DECIMAL = ['B/s', 'kB/s', 'MB/s', 'GB/s', 'TB/s'];

/** @param {number|undefined|null} n @returns {n is number} */
const known = (n) => typeof n === 'number' && Number.isFinite(n);

/**
 * Three digits are enough for a figure that changes twice a second.
 * @param {number|undefined} n
 */
export function number(n) {
  if (!known(n)) return DASH;
  const size = Math.abs(n);
  if (size >= 99.95 || size < 0.005 || Number.isInteger(n)) return String(Math.round(n));
  return n.toFixed(size >= 9.995 ? 1 : 2).replace(/\.?0+$/, '');
}

/**
 * @param {number|undefined} n
 * @param {string[]} units
 * @param {number} step
 */
function scaled(n, units, step) {
  if (!known(n)) return DASH;
  let i = 0;
  while (i < units.length - 1 && Math.abs(n) >= step * 0.9995) {
    n /= step;
    i++;
  }
  // Parts of a byte are noise.
  return `${number(i === 0 ? Math.round(n) : n)} ${units[i]}`;
}

/** @param {number|undefined} n */
export const bytes = (n) => scaled(n, BINARY, 1024);

/** @param {number|undefined} n */
export const rate = (n) => scaled(n, DECIMAL, 1000);

/**
 * Chunks or requests in a second; less than one is still something.
 * @param {number|undefined} n
 */
export function perSecond(n) {
  if (!known(n)) return DASH;
  return n > 0 && n < 10 ? String(Math.max(0.1, Math.round(n * 10) / 10)) : number(Math.round(n));
}

/**
 * Never 0 % of something nor 100 % of what is not all.
 * @param {number|undefined} share 0 to 1
 */
export function percent(share) {
  if (!known(share)) return DASH;
  const n = Math.round(share * 100);
  if (n <= 0 && share > 0) return '<1 %';
  return `${n >= 100 && share < 1 ? 99 : n} %`;
}

/**
 * A part of a whole; unknown where there is no whole.
 * @param {number|undefined} part
 * @param {number|undefined} whole
 */
export function share(part, whole) {
  return known(part) && known(whole) && whole > 0 ? part / whole : undefined;
}

/**
 * How long something took.
 * @param {number|undefined} seconds
 */
export function latency(seconds) {
  if (!known(seconds) || seconds <= 0) return DASH;
  if (seconds < 0.001) return `${number(Math.round(seconds * 1e6))} µs`;
  if (seconds < 0.9995) return `${number(seconds * 1000)} ms`;
  return `${number(seconds)} s`;
}

const SPANS = /** @type {const} */ ([['d', 86400], ['h', 3600], ['min', 60], ['s', 1]]);

/**
 * How long something goes on, in its two largest units.
 * @param {number|undefined} seconds
 */
export function duration(seconds) {
  if (!known(seconds)) return DASH;
  let rest = Math.max(0, Math.round(seconds));
  const parts = [];
  for (const [unit, size] of SPANS) {
    const n = Math.floor(rest / size);
    rest %= size;
    if (n > 0 || parts.length > 0) parts.push(`${n} ${unit}`);
    if (parts.length === 2) break;
  }
  return parts.filter((p) => !p.startsWith('0 ')).join(' ') || '0 s';
}

/**
 * The time of day where the page is read.
 * @param {Date} at
 */
export function clock(at) {
  if (Number.isNaN(at.getTime())) return DASH;
  return [at.getHours(), at.getMinutes(), at.getSeconds()]
    .map((n) => String(n).padStart(2, '0')).join(':');
}

/**
 * @param {number} n
 * @param {string} one
 * @param {string} [many]
 */
export const count = (n, one, many = `${one}s`) => `${n} ${n === 1 ? one : many}`;

const STATES = ['idle', 'working', 'unavailable'];

/**
 * What the style knows of a card's state.
 * @param {string|undefined} state
 */
export const stateClass = (state) => (state && STATES.includes(state) ? state : 'unknown');

/**
 * D0 to D3 and P4, P5: the number is the chunk's index in the stripe.
 * @param {{index: number, parity?: boolean}} chunk
 */
export const chunkName = (chunk) => `${chunk.parity ? 'P' : 'D'}${chunk.index}`;
