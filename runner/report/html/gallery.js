// Pictures: enlarged by click, Enter or Space; the arrow keys lead through the gallery, Escape leaves.
(() => {
  const dialog = document.createElement("dialog");
  dialog.id = "picture-dialog";
  dialog.setAttribute("aria-label", "Enlarged picture");
  dialog.innerHTML = `<button type="button" class="action close">Close</button><img alt=""><p class="note"></p>
    <p class="turn"><button type="button" class="action" data-step="-1">← Previous</button><span role="status"></span>
    <button type="button" class="action" data-step="1">Next →</button></p>`;
  document.body.append(dialog);
  const image = dialog.querySelector("img"), text = dialog.querySelector("p"), place = dialog.querySelector("span");
  let pictures = [], index = 0;

  function show(to) {
    index = (to + pictures.length) % pictures.length;
    const shown = pictures[index].querySelector("img");
    image.src = shown.src;
    image.alt = shown.alt;
    text.textContent = shown.alt;
    place.textContent = `${index + 1} of ${pictures.length}`;
  }

  document.addEventListener("click", (event) => {
    const picture = event.target.closest(".picture");
    if (!picture) return;
    pictures = [...picture.closest(".gallery").querySelectorAll(".picture")];
    show(pictures.indexOf(picture));
    dialog.showModal();
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog || event.target.closest(".close")) dialog.close();
    else if (event.target.dataset.step) show(index + +event.target.dataset.step);
  });
  dialog.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) show(index + step);
  });
  // The picture that was shown last has the focus, so that the keys go on from there.
  dialog.addEventListener("close", () => pictures[index]?.focus());
})();
