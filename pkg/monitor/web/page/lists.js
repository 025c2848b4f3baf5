// @ts-check
// Volumes, jobs and events: what comes as lists.
import { byId, h, icon, list, sayOrHide, setAttribute, setIcon, setText, show } from './dom.js';
import { bytes, clock, count, duration, percent, rate } from './format.js';
/** @import { Cluster, Event, Job, Volume } from './types.d.ts' */

/** Events drawn at most: what somebody scrolls through. */
const MAX_EVENTS = 100;

const LEVELS = new Map([['info', 'info'], ['warn', 'warn'], ['error', 'unavailable']]);

/** Lists is the part of the page with what comes as lists. */
export class Lists {
  #volumes = list(byId('volumes'), (/** @type {Volume} */ v) => v.name, makeVolume);
  #jobs = list(byId('jobs'), (/** @type {Job} */ j) => `${j.kind} ${j.volume} ${j.node ?? ''}`, makeJob);
  #events = list(byId('events'), keyOf, makeEvent);

  /** @param {Cluster} cluster */
  update(cluster) {
    this.#volumes(cluster.volumes ?? []);
    this.#jobs(cluster.jobs ?? []);
    this.#events((cluster.events ?? []).slice(-MAX_EVENTS).reverse());
    show(byId('volumes-none'), !cluster.volumes?.length);
    show(byId('jobs-none'), !cluster.jobs?.length);
    show(byId('events-none'), !cluster.events?.length);
  }
}

/** @param {Event} e */
const keyOf = (e) => [e.time, e.node, e.volume, e.text].join(' ');

function makeVolume() {
  const name = h('h3');
  const state = h('span', { class: 'volume-state' });
  const shape = h('p', { class: 'quiet' });
  const protection = h('span');
  const sign = icon('idle');
  const why = h('p', { class: 'why' });
  const alarm = h('p', { class: 'protection' }, sign, protection);
  const element = h('li', { class: 'volume' }, h('div', { class: 'volume-head' }, name, state), shape, alarm, why);
  return {
    element,
    /** @param {Volume} v */
    update(v) {
      setText(name, v.name);
      setText(state, v.state);
      setAttribute(state, 'data-serving', String(v.state === 'serving'));
      setText(shape, `${bytes(v.size_bytes)}, ${bytes(v.stored_bytes)} on the cards, ` +
        `${v.data_chunks} + ${v.parity_chunks} chunks for ${bytes(v.block_size_bytes)}`);
      const under = v.under_protected_blocks;
      setAttribute(alarm, 'data-state', under > 0 ? 'warn' : 'idle');
      setIcon(sign, under > 0 ? 'warn' : 'idle');
      setText(protection, under > 0 ? `${count(under, 'block')} under-protected` : 'all blocks fully protected');
      sayOrHide(why, v.why);
    },
  };
}

function makeJob() {
  const what = h('span', { class: 'job-what' });
  const done = h('span', { class: 'job-done' });
  const bar = h('progress', { max: '1' });
  const pace = h('p', { class: 'quiet' });
  return {
    element: h('li', { class: 'job' }, h('p', { class: 'job-head' }, what, done), bar, pace),
    /** @param {Job} job */
    update(job) {
      const of = [job.node, job.volume].filter(Boolean).join(', volume ');
      setText(what, `${job.kind} of ${of}`);
      setText(done, percent(job.done));
      bar.value = Math.min(1, Math.max(0, job.done));
      setAttribute(bar, 'aria-label', `${job.kind} of ${of}`);
      setText(pace, paceOf(job));
    },
  };
}

/** @param {Job} job */
function paceOf(job) {
  if (job.paused) return 'paused';
  const left = job.remaining_seconds < 0 ? 'time remaining not known' :
    `${duration(job.remaining_seconds)} remaining`;
  return `${rate(job.bytes_per_second)}, ${left}`;
}

function makeEvent() {
  const at = h('time');
  const sign = icon('info');
  const level = h('span', { class: 'event-level' });
  const where = h('span', { class: 'event-where' });
  const text = h('span', { class: 'event-text' });
  const element = h('li', { class: 'event' }, at, sign, h('p', {}, level, where, text));
  return {
    element,
    /** @param {Event} e */
    update(e) {
      const date = new Date(e.time);
      setText(at, clock(date));
      setAttribute(at, 'datetime', e.time);
      setAttribute(element, 'data-level', LEVELS.has(e.level) ? e.level : 'info');
      setIcon(sign, LEVELS.get(e.level) ?? 'info');
      sayOrHide(level, e.level === 'info' ? undefined : e.level);
      sayOrHide(where, [e.node, e.volume].filter(Boolean).join(', '));
      setText(text, e.text);
    },
  };
}
