// @ts-check
// Elements, made once and brought up to date in place. All text goes in as
// text: nothing here, and nothing that uses it, makes HTML of a string.

const SVG = 'http://www.w3.org/2000/svg';

/** @typedef {Node | string | null | undefined} Child */

/**
 * h makes an element. Names of attributes are always literals.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, string>} [attributes]
 * @param {...Child} children strings become text
 * @returns {HTMLElementTagNameMap[T]}
 */
export function h(tag, attributes = {}, ...children) {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) e.setAttribute(name, value);
  e.append(...children.filter((c) => c !== null && c !== undefined));
  return e;
}

/**
 * @template {keyof SVGElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, string | number>} [attributes]
 * @param {...Node} children
 * @returns {SVGElementTagNameMap[T]}
 */
export function s(tag, attributes = {}, ...children) {
  const e = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) e.setAttribute(name, String(value));
  e.append(...children);
  return e;
}

/**
 * icon draws one of the signs of index.html; it says nothing by itself.
 * @param {string} name
 */
export function icon(name) {
  return s('svg', { class: 'icon', 'aria-hidden': 'true', viewBox: '0 0 16 16' },
    s('use', { href: `#icon-${name}` }));
}

/**
 * @param {Element} e made by icon
 * @param {string} name
 */
export function setIcon(e, name) {
  const use = e.firstElementChild;
  if (use) setAttribute(use, 'href', `#icon-${name}`);
}

/**
 * setText leaves alone what has not changed, so that selections last and
 * screen readers stay quiet.
 * @param {Node} e
 * @param {string} text
 */
export function setText(e, text) {
  if (e.textContent !== text) e.textContent = text;
}

/**
 * @param {Element} e
 * @param {string} name
 * @param {string} value
 */
export function setAttribute(e, name, value) {
  if (e.getAttribute(name) !== value) e.setAttribute(name, value);
}

/**
 * show hides e unless it has something to say.
 * @param {HTMLElement} e
 * @param {boolean} on
 */
export function show(e, on) {
  if (e.hidden === on) e.hidden = !on;
}

/**
 * sayOrHide shows a text where there is one.
 * @param {HTMLElement} e
 * @param {string | undefined} text
 */
export function sayOrHide(e, text) {
  setText(e, text ?? '');
  show(e, Boolean(text));
}

/**
 * byId finds what index.html must have.
 * @param {string} id
 * @returns {HTMLElement}
 */
export function byId(id) {
  const e = document.getElementById(id);
  if (!e) throw new Error(`index.html has no #${id}`);
  return e;
}

/**
 * columns gives a grid as many columns as there is room for, with all rows
 * alike: 8 cards are 4 by 2, not 5 and 3.
 * @param {HTMLElement} grid
 * @param {number} narrowest pixels
 * @returns {(children: number) => void}
 */
export function columns(grid, narrowest) {
  let children = 0;
  const arrange = () => {
    const room = Math.max(1, Math.floor(grid.clientWidth / narrowest));
    const rows = Math.max(1, Math.ceil(children / room));
    grid.style.setProperty('--columns', String(Math.max(1, Math.ceil(children / rows))));
  };
  new ResizeObserver(arrange).observe(grid);
  return (now) => {
    if (now === children) return;
    children = now;
    arrange();
  };
}

/**
 * list keeps the children of an element in step with a list of things: one
 * child for each key, in their order.
 * @template T
 * @param {Element} parent
 * @param {(item: T) => string} key
 * @param {() => {element: Element, update: (item: T) => void}} make
 * @returns {(items: T[]) => void}
 */
export function list(parent, key, make) {
  /** @type {Map<string, {element: Element, update: (item: T) => void}>} */
  let parts = new Map();
  return (items) => {
    const next = new Map();
    for (const item of items) {
      let k = key(item);
      while (next.has(k)) k += '+'; // two of one name are two
      const part = parts.get(k) ?? make();
      parts.delete(k);
      part.update(item);
      next.set(k, part);
    }
    for (const { element } of parts.values()) element.remove();
    parts = next;
    inOrder(parent, [...next.values()].map((p) => p.element));
  };
}

/**
 * inOrder moves only what is not in its place.
 * @param {Element} parent
 * @param {Element[]} children
 */
function inOrder(parent, children) {
  let at = parent.firstElementChild;
  for (const child of children) {
    if (child === at) at = at.nextElementSibling;
    else parent.insertBefore(child, at);
  }
}
