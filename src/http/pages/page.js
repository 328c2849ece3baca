"use strict";
// Spares clicks: everything here is also reached without it.
(() => {
  const form = document.querySelector("form.filter");
  if (form) {
    form.querySelectorAll("select").forEach((s) => s.addEventListener("change", () => form.requestSubmit()));
    document.addEventListener("keydown", (e) => {
      const typing = e.target.closest && e.target.closest("input, select, textarea, dialog");
      if (e.key === "/" && !typing && !e.ctrlKey && !e.metaKey && !e.altKey) {
        e.preventDefault();
        form.elements.q.focus();
      }
    });
  }
  const pictures = [...document.querySelectorAll("a[data-full]")];
  if (!pictures.length || !window.HTMLDialogElement) return;
  const make = (name, props) => Object.assign(document.createElement(name), props);
  const button = (text, label, act) => {
    const b = make("button", { type: "button", textContent: text });
    b.setAttribute("aria-label", label);
    b.addEventListener("click", act);
    return b;
  };
  const box = make("dialog", { className: "lightbox" });
  const image = make("img", { alt: "" });
  const caption = make("a", { className: "caption" });
  let at = 0;
  const show = (n) => {
    at = (n + pictures.length) % pictures.length;
    const link = pictures[at];
    image.src = link.dataset.full;
    image.alt = link.textContent;
    caption.href = link.href;
    caption.textContent = link.textContent;
    box.setAttribute("aria-label", link.textContent);
  };
  const bar = make("div", { className: "bar" });
  bar.append(caption);
  if (pictures.length > 1) {
    bar.append(button("\u2190", "Previous picture", () => show(at - 1)), button("\u2192", "Next picture", () => show(at + 1)));
  }
  bar.append(button("\u2715", "Close", () => box.close()));
  box.append(bar, image);
  box.addEventListener("click", (e) => {
    if (e.target === box || e.target === image) box.close();
  });
  box.addEventListener("keydown", (e) => {
    if (e.key === "ArrowLeft") show(at - 1);
    if (e.key === "ArrowRight") show(at + 1);
  });
  box.addEventListener("close", () => pictures[at].focus());
  document.body.append(box);
  pictures.forEach((link, n) =>
    link.addEventListener("click", (e) => {
      if (e.ctrlKey || e.metaKey || e.shiftKey || e.button) return;
      e.preventDefault();
      show(n);
      box.showModal();
    }),
  );
})();
