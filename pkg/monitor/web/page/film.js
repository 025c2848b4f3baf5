// @ts-check
// The film of a demonstration: what is buffered, and whether it ever waited.
import { byId, icon, sayOrHide, setAttribute, setIcon, setText, show } from './dom.js';
import { bytes, count, latency, number, percent, share } from './format.js';
/** @import { Cluster, Film } from './types.d.ts' */

/** A buffer is low below this share of what it may hold. */
const LOW = 0.25;

/** FilmView is the strip above the cards. */
export class FilmView {
  #strip = byId('film');
  #sign = byId('film-state').appendChild(icon('play'));
  #word = byId('film-state').appendChild(document.createElement('span'));
  #meter = byId('film-buffer');
  #place = byId('film-position');

  /** @param {Cluster} cluster */
  update(cluster) {
    const film = cluster.film;
    show(this.#strip, Boolean(film));
    if (film) this.#draw(film);
  }

  /** @param {Film} film */
  #draw(film) {
    const waits = Boolean(film.why) || film.buffer_seconds <= 0;
    setAttribute(this.#strip, 'data-state', waits ? 'waiting' : 'playing');
    setIcon(this.#sign, waits ? 'pause' : 'play');
    setText(this.#word, waits ? 'waiting' : 'playing');
    setText(byId('film-name'), film.name);
    setText(byId('film-rate'), `${number((film.bytes_per_second * 8) / 1e6)} Mbit/s`);
    setText(byId('film-round'), film.round > 1 ? `${percent(film.position)}, round ${film.round}` : percent(film.position));
    this.#place.style.width = `${within(film.position) * 100}%`;
    const full = within(share(film.buffer_seconds, film.buffer_limit_seconds) ?? 0);
    this.#meter.style.width = `${full * 100}%`;
    setAttribute(this.#meter, 'data-low', String(full < LOW));
    setText(byId('film-buffered'), `${film.buffer_seconds.toFixed(1)} s`);
    setText(byId('film-limit'), `of ${number(film.buffer_limit_seconds)} s`);
    setText(byId('film-pause'), latency(film.longest_pause_seconds));
    setText(byId('film-stalled'), film.stalled_seconds > 0 ? latency(film.stalled_seconds) : 'never');
    setAttribute(byId('film-stalled'), 'data-bad', String(film.stalled_seconds > 0));
    setText(byId('film-checked'), film.wrong_bytes > 0 ?
      `${count(film.wrong_bytes, 'byte')} WRONG of ${bytes(film.checked_bytes)}` :
      `${bytes(film.checked_bytes)}, all right`);
    setAttribute(byId('film-checked'), 'data-bad', String(film.wrong_bytes > 0));
    sayOrHide(byId('film-why'), film.why);
  }
}

/** @param {number} n */
const within = (n) => Math.min(1, Math.max(0, n));
