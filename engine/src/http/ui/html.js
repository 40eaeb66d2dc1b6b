// Hides which library draws: the rest of the page knows `html`, `render`, `memo` and five hooks. What comes from outside is only ever
// a text node or an attribute's value; nothing here or elsewhere sets HTML.
import { Component, h as create, render as draw } from "./vendor/preact.js";
import * as hooks from "./vendor/hooks.js";
import htm from "./vendor/htm.js";

/** @typedef {any} View What a component returns. */
/** @typedef {(props: any) => View} Drawing A component. */

/** @type {(strings: TemplateStringsArray, ...values: any[]) => View} */
export const html = /** @type {any} */ (htm).bind(create);
/** @type {(view: View, place: Element) => void} */
export const render = /** @type {any} */ (draw);

/** @type {<T>(initial: T | (() => T)) => [T, (next: T | ((last: T) => T)) => void]} */
export const useState = /** @type {any} */ (hooks).useState;
/** @type {(effect: () => void | (() => void), inputs?: unknown[]) => void} */
export const useEffect = /** @type {any} */ (hooks).useEffect;
/** @type {(effect: () => void | (() => void), inputs?: unknown[]) => void} */
export const useLayoutEffect = /** @type {any} */ (hooks).useLayoutEffect;
/** @type {<T>(initial: T) => { current: T }} */
export const useRef = /** @type {any} */ (hooks).useRef;
/** @type {<T>(make: () => T, inputs: unknown[]) => T} */
export const useMemo = /** @type {any} */ (hooks).useMemo;

/**
 * A component that is drawn again only where a property is another one than before.
 * @param {Drawing} drawing
 * @returns {any}
 */
export function memo(drawing) {
  const Base = /** @type {any} */ (Component);
  return class extends Base {
    /** @param {any} next */
    shouldComponentUpdate(next) {
      const names = Object.keys(next);
      return names.length !== Object.keys(this.props).length || names.some((name) => !Object.is(next[name], this.props[name]));
    }
    /** @param {any} props */
    render(props) {
      return create(/** @type {any} */ (drawing), props);
    }
  };
}
