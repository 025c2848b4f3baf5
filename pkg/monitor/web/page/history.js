// @ts-check
/** @import { Cluster, Moment } from './types.d.ts' */

/** What charts show; more would hide what just happened. */
export const WINDOW_SECONDS = 60;

/** A pause that is longer than this is drawn as a gap: four pictures missed. */
export const GAP_SECONDS = 2.5;

/** Moments kept at most, however fast a lesson is played. */
const MAX_MOMENTS = 600;

/** History is the last minute, oldest first. */
export class History {
  /** @type {Moment[]} */
  moments = [];

  /** @param {Cluster} cluster */
  add(cluster) {
    const seconds = Date.parse(cluster.time) / 1000;
    if (Number.isNaN(seconds)) return;
    const last = this.moments.at(-1);
    if (last && seconds === last.seconds) return;
    if (last && seconds < last.seconds) this.moments = []; // a lesson began anew
    this.moments.push({
      seconds,
      cards: new Map((cluster.cards ?? []).map((c) => [c.id, c])),
      gateway: cluster.gateway,
    });
    const from = seconds - WINDOW_SECONDS - GAP_SECONDS;
    const old = this.moments.findIndex((m) => m.seconds >= from);
    this.moments.splice(0, Math.max(old, this.moments.length - MAX_MOMENTS));
  }

  /**
   * largest returns the largest of what pick finds in any moment, at least floor.
   * @param {number} floor
   * @param {(m: Moment) => Iterable<number|undefined>} pick
   */
  largest(floor, pick) {
    let max = floor;
    for (const m of this.moments) for (const n of pick(m)) if (n !== undefined && n > max) max = n;
    return max;
  }
}
