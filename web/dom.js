// The few things that all parts of the page do with elements. Text from the chain only ever becomes text.

export const byId = (id) => document.getElementById(id);

/** `el("b", { class: "x", "data-raw": 1 }, "text", child)` */
export function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}

/** How long something that was taken back stays to be seen, struck through. */
export const GONE_MS = 4_000;

/** Strikes an element through, then removes it. */
export function retract(node) {
  node.classList.remove("new");
  node.classList.add("gone");
  node.dataset.removed = "true";
  setTimeout(() => node.remove(), GONE_MS);
}
