// @ts-check
// The gateway: what it does for its clients.
import { chart, decades, linear, nice, niceBinary } from './chart.js';
import { byId, h, icon, setAttribute, setIcon, setText, show } from './dom.js';
import { bytes, duration, latency, number, perSecond, rate } from './format.js';
/** @import { Cluster, Gateway, Moment } from './types.d.ts' */
/** @import { History } from './history.js' */

/** The least that the charts' tops stand for, so that noise looks small. */
const LEAST_RATE = 1e6; // bytes in a second
const LEAST_DIRTY = 2 ** 20;
const LEAST_HEDGED = 2; // in a second

/** Latencies: from a cached read to a client's patience. */
const FASTEST = 1e-4;
const USUAL = 0.1;

const HEALTHS = new Map([['healthy', 'idle'], ['degraded', 'warn'], ['unavailable', 'unavailable']]);

/** @param {(g: Gateway) => number|undefined} of @returns {(m: Moment) => number|undefined} */
const pick = (of) => (m) => m.gateway && of(m.gateway);

/** A latency of 0 is none: nothing was asked. @param {(g: Gateway) => number} of */
const pickLatency = (of) => pick((g) => of(g) || undefined);

/** GatewayView is the part of the page with the charts. */
export class GatewayView {
  #body = byId('gateway-body');
  #none = byId('gateway-none');
  #badge = makeHealth();
  #figures = makeFigures();
  #throughput = chart('areas', 'Throughput', [
    { name: 'reads', kind: 'one', pick: pick((g) => g.read_bytes_per_second) },
    { name: 'writes', kind: 'two', pick: pick((g) => g.write_bytes_per_second) },
  ], rate);
  #reads = chart('lines', 'Read latency', [
    { name: 'p50', kind: 'one', pick: pickLatency((g) => g.read_p50_seconds) },
    { name: 'p99', kind: 'two', pick: pickLatency((g) => g.read_p99_seconds) },
  ], latency);
  #writes = chart('lines', 'Write latency', [
    { name: 'p50', kind: 'one', pick: pickLatency((g) => g.write_p50_seconds) },
    { name: 'p99', kind: 'two', pick: pickLatency((g) => g.write_p99_seconds) },
  ], latency);
  #dirty = chart('areas', 'Dirty', [
    { name: 'not durable yet', kind: 'one', pick: pick((g) => g.dirty_bytes) },
  ], bytes);
  #hedged = chart('areas', 'Hedged reads', [
    { name: 'per second', kind: 'one', pick: pick((g) => g.hedged_reads_per_second) },
  ], perSecond);

  constructor() {
    byId('gateway-head').append(this.#badge.element);
    this.#body.append(this.#figures.element, h('div', { class: 'charts' },
      this.#throughput.element, this.#reads.element, this.#writes.element,
      this.#dirty.element, this.#hedged.element));
  }

  /** @param {Cluster} cluster @param {History} history */
  update(cluster, history) {
    const g = cluster.gateway;
    show(this.#none, !g);
    show(this.#body, Boolean(g));
    this.#badge.update(g);
    if (!g) return;
    this.#figures.update(g);
    const { moments } = history;
    this.#throughput.update(moments, linear(nice(history.largest(LEAST_RATE, (m) =>
      [m.gateway?.read_bytes_per_second, m.gateway?.write_bytes_per_second]))));
    const scale = decades(FASTEST, 10 ** Math.ceil(Math.log10(history.largest(USUAL, (m) =>
      [m.gateway?.read_p99_seconds, m.gateway?.write_p99_seconds]))));
    this.#reads.update(moments, scale);
    this.#writes.update(moments, scale);
    this.#dirty.update(moments, linear(niceBinary(history.largest(LEAST_DIRTY,
      (m) => [m.gateway?.dirty_bytes]))));
    this.#hedged.update(moments, linear(nice(history.largest(LEAST_HEDGED,
      (m) => [m.gateway?.hedged_reads_per_second]))));
  }
}

/** The gateway's health, as a word with a sign. */
function makeHealth() {
  const sign = icon('idle');
  const word = h('span');
  const element = h('span', { class: 'health' }, sign, word);
  return {
    element,
    /** @param {Gateway|undefined} g */
    update(g) {
      const name = (g && HEALTHS.get(g.health)) ?? 'unknown';
      setAttribute(element, 'data-state', name);
      setIcon(sign, name);
      setText(word, g ? g.health : 'no gateway');
    },
  };
}

function makeFigures() {
  const names = ['Gateway', 'Running for', 'Reads', 'Writes', 'Hedged in all'];
  const values = names.map(() => h('dd'));
  return {
    element: h('dl', { class: 'gateway-figures' }, ...names.map((name, i) =>
      h('div', {}, h('dt', {}, name), values[i]))),
    /** @param {Gateway} g */
    update(g) {
      [`${g.id} ${g.version}`.trim(), duration(g.uptime_seconds), `${perSecond(g.reads_per_second)}/s`,
        `${perSecond(g.writes_per_second)}/s`, number(g.hedged_reads)]
        .forEach((text, i) => setText(values[i], text));
    },
  };
}
