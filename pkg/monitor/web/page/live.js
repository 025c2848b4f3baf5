// @ts-check
/** @import { Cluster } from './types.d.ts' */

/** Pictures come twice a second: after this, in ms, what is shown is old. */
export const OLD_AFTER = 2000;

/** After this silence, in ms, the connection is given up, even if it looks open. */
const DEAD_AFTER = 5000;

/** How long to wait, in ms, before each new try; then the last one again and again. */
const TRY_AFTER = [250, 500, 1000, 2000];

/** How often, in ms, the age of what is shown is looked at. */
const LOOK_EVERY = 250;

/**
 * Live keeps a stream of pictures open. The browser's own reconnecting gives up
 * for good at the first answer that is not a stream, such as a gateway's that
 * is just starting, and does not see a peer that went silent: so this does it.
 */
export class Live {
  /** @type {EventSource|undefined} */
  #source;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #retry;
  #tries = 0;
  /** When the connection was opened or a picture came, on the page's clock. */
  #heard = 0;
  /** When the last picture came; undefined before the first. @type {number|undefined} */
  #seen;

  /**
   * @param {string} url
   * @param {(cluster: Cluster) => void} show
   * @param {(age: number|undefined) => void} tell is told 4 times a second how
   *   old the last picture is, in ms; undefined before the first
   */
  constructor(url, show, tell) {
    this.url = url;
    this.show = show;
    this.tell = tell;
  }

  start() {
    this.#open();
    setInterval(() => this.#look(), LOOK_EVERY);
    // A phone that wakes up does not wait for a timer that slept.
    document.addEventListener('visibilitychange', () => this.#hurry());
    window.addEventListener('online', () => this.#hurry());
  }

  #open() {
    clearTimeout(this.#retry);
    this.#retry = undefined;
    this.#source?.close();
    const source = new EventSource(this.url);
    this.#source = source;
    this.#heard = performance.now();
    source.onmessage = (m) => this.#take(m.data);
    source.onerror = () => this.#again();
  }

  /** @param {string} text */
  #take(text) {
    const cluster = parse(text);
    if (!cluster) return; // what is shown grows old, and says so
    this.show(cluster);
    this.#heard = this.#seen = performance.now();
    this.#tries = 0;
  }

  #again() {
    this.#source?.close();
    this.#source = undefined;
    if (this.#retry !== undefined) return;
    const wait = TRY_AFTER[Math.min(this.#tries, TRY_AFTER.length - 1)];
    this.#tries++;
    this.#retry = setTimeout(() => this.#open(), wait);
  }

  #look() {
    const now = performance.now();
    if (this.#source && now - this.#heard > DEAD_AFTER) this.#again();
    this.tell(this.#seen === undefined ? undefined : now - this.#seen);
  }

  #hurry() {
    if (document.visibilityState === 'visible' && !this.#source) this.#open();
  }
}

/**
 * parse returns nothing for what is no picture.
 * @param {string} text
 * @returns {Cluster|undefined}
 */
function parse(text) {
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  const isPicture = value && typeof value.name === 'string' &&
    [value.cards, value.volumes, value.jobs, value.events].every((l) => Array.isArray(l ?? []));
  return isPicture ? value : undefined;
}
