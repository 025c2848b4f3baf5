// @ts-check
// Pictures of a cluster that looks alive, the same at each run.
/** @import { Card, Cluster, Stripe, StripeChunk } from '../../../pkg/monitor/web/page/types.d.ts' */

const BEGAN = Date.parse('2026-03-14T15:09:26.500Z');
const GIB = 2 ** 30;

/** A number from 0 to 1 that moves smoothly with t. @param {number} t @param {number} of */
const wave = (t, of) =>
  (Math.sin(t / 5 + of * 1.7) + Math.sin(t / 1.7 + of * 3.1) * 0.4 + Math.sin(t * 2.9 + of) * 0.2 + 1.6) / 3.2;

/** @param {number} step two of them are a second */
export const timeOf = (step) => new Date(BEGAN + step * 500).toISOString();

/** @param {number} i @param {number} step @param {boolean} working @returns {Card} */
export function card(i, step, working) {
  const t = step / 2;
  const load = working ? 20 + 12 * wave(t, i) : 0;
  return {
    id: `pi${i + 1}`,
    addr: `192.168.1.${101 + i}:9801`,
    state: working ? 'working' : 'idle',
    sync: 'in',
    used_bytes: (9.2 + (i % 8) * 1.3) * GIB,
    capacity_bytes: 29.7 * GIB,
    reads_per_second: load,
    writes_per_second: working ? 3 * wave(t, i + 9) : 0,
    read_bytes_per_second: load * 16384,
    write_bytes_per_second: 3 * 16384,
    host: {
      cpu: 0.02 + (working ? 0.3 : 0.03) * wave(t, i + 3),
      memory_used_bytes: (0.4 + 0.05 * wave(t / 9, i)) * GIB,
      memory_bytes: 3.7 * GIB,
      celsius: 41 + i + (working ? 9 : 2) * wave(t / 4, i),
      net_in_bytes_per_second: 3e3 + (working ? 9e4 * wave(t, i + 9) : 0),
      net_out_bytes_per_second: 4e3 + load * 17000,
      disk_in_bytes_per_second: working ? 6e4 * wave(t, i + 9) : 0,
      disk_out_bytes_per_second: load * 9000,
    },
  };
}

/** @param {number} step @param {number} nodes @returns {Cluster} */
export function cluster(step, nodes = 8) {
  return {
    time: timeOf(step),
    name: 'demo',
    cards: Array.from({ length: nodes }, (_, i) => card(i, step, i % 2 === 0)),
  };
}

/**
 * lesson is a film in the middle of a lesson: pi3 was pulled, pi4 stands in for
 * it, pi6 is slow, pi7 came back and pi8 was given up.
 * @param {number} step @returns {Cluster}
 */
export function lesson(step) {
  const picture = cluster(step);
  const t = step / 2;
  const cards = [0, 1, 4, 3].reduce((all, i) => {
    all[i] = card(i, step, true);
    return all;
  }, (picture.cards ?? []).map((_, i) => card(i, step, false)));
  Object.assign(cards[2], { state: 'unavailable', sync: 'out', why: 'no answer since 15:09:41', host: undefined,
    reads_per_second: 0, writes_per_second: 0 });
  Object.assign(cards[5], { slow: true, why: 'reads take 180 ms, others 3 ms' });
  Object.assign(cards[6], { state: 'working', sync: 'resyncing', writes_per_second: 40 * wave(t, 1) });
  Object.assign(cards[7], { sync: 'lost', state: 'unavailable', why: 'given up by the operator', host: undefined });
  if (cards[4].host) delete cards[4].host.celsius;
  return { ...picture, cards, ...extras(step, t) };
}

/** @param {number} step @param {number} t */
function extras(step, t) {
  return {
    gateway: {
      id: 'gateway', version: 'v0.4.0', uptime_seconds: 11520 + t, health: 'degraded',
      reads_per_second: 61 * wave(t, 1), writes_per_second: 4.4 * wave(t, 2),
      read_bytes_per_second: 1e6 + 4e6 * wave(t, 1), write_bytes_per_second: 7e5 * wave(t, 2),
      read_p50_seconds: 0.0021 + 0.002 * wave(t, 3), read_p99_seconds: 0.009 + 0.03 * wave(t, 4) ** 4,
      write_p50_seconds: step % 40 < 20 ? 0.0062 + 0.003 * wave(t, 5) : 0,
      write_p99_seconds: step % 40 < 20 ? 0.031 + 0.02 * wave(t, 6) : 0,
      dirty_bytes: Math.round(9e6 * wave(t, 7)), hedged_reads_per_second: 3 * wave(t, 8) ** 3, hedged_reads: 1234 + step,
    },
    volumes: [
      { name: 'demo', state: 'serving', size_bytes: GIB, stored_bytes: 1.31 * GIB, block_size_bytes: 65536,
        data_chunks: 4, parity_chunks: 2, under_protected_blocks: 3120 },
      { name: 'lab', state: 'waiting', why: '2 nodes are missing: pi3, pi8', size_bytes: 64 * GIB,
        stored_bytes: 17.2 * GIB, block_size_bytes: 16384, data_chunks: 4, parity_chunks: 2, under_protected_blocks: 0 },
    ],
    jobs: [
      { kind: 'resync', volume: 'demo', node: 'pi7', done: Math.min(1, 0.42 + step / 1000), bytes_per_second: 11.6e6,
        remaining_seconds: 81 - t / 4 },
      { kind: 'scrub', volume: 'lab', done: 0.071, bytes_per_second: 0, remaining_seconds: -1, paused: true },
    ],
    events: [
      { time: timeOf(-60), level: 'info', text: 'the gateway started' },
      { time: timeOf(-20), level: 'warn', node: 'pi6', text: 'is slow: reads go to others' },
      { time: timeOf(30), level: 'error', node: 'pi3', text: 'is unavailable: connection closed' },
      { time: timeOf(32), level: 'warn', node: 'pi3', volume: 'demo', text: 'is out since version 3.88213; pi4 stands in' },
      { time: timeOf(50), level: 'info', node: 'pi7', volume: 'demo', text: 'resync began: 2.1 GiB to give' },
    ],
    stripe: stripe(step),
    film: {
      name: 'Big Buck Bunny', bytes_per_second: 1e6, position: (t % 596) / 596, round: 2,
      buffer_seconds: 4.4 + 0.5 * wave(t, 3), buffer_limit_seconds: 5, longest_pause_seconds: 0.042,
      stalled_seconds: 0, checked_bytes: 734003200 + step * 5e5, wrong_bytes: 0,
    },
  };
}

/** @param {number} step @returns {Stripe} */
export function stripe(step) {
  const t = step / 2;
  /** @param {number} index @param {string} node @param {Partial<StripeChunk>} more */
  const chunk = (index, node, more) => ({ index, node, parity: index > 3, state: 'present', version: '3.88213', ...more });
  return {
    volume: 'demo', offset: 3120 * 65536, block: 3120, version: '3.88213', data_chunks: 4, parity_chunks: 2,
    read: timeOf(step - 1),
    chunks: [
      chunk(0, 'pi5', { asked: true, used: true, seconds: 0.0019 + 0.001 * wave(t, 1) }),
      chunk(1, 'pi6', { asked: true, seconds: 0.18, version: '3.88213' }),
      chunk(2, 'pi3', { state: 'unavailable', version: undefined, why: 'no answer' }),
      chunk(2, 'pi4', { spare: true, asked: true, used: true, seconds: 0.0027, why: 'pi3 is out since 15:09:42' }),
      chunk(3, 'pi1', { asked: true, used: true, seconds: 0.0033 }),
      chunk(4, 'pi2', { asked: true, used: true, hedged: true, seconds: 0.0041 }),
      chunk(5, 'pi7', { state: 'absent', version: undefined, why: 'is being resynced' }),
    ],
  };
}
