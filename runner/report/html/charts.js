// Charts: drawn when they come near the window, the others while the browser is idle, and all before printing.
(() => {
  const figures = [...document.querySelectorAll("figure.chart")];
  if (!figures.length) return;
  const config = JSON.parse(document.getElementById("chart-config").textContent);
  // Texts and axes take the colour of the page around them, in the dark and in print.
  const ink = "currentColor";
  for (const name of ["axis", "legend", "header", "title"]) {
    config[name] = { ...config[name], labelColor: ink, titleColor: ink, color: ink };
  }
  Object.assign(config.axis, { domainColor: ink, tickColor: ink, gridColor: ink, domainOpacity: .5, tickOpacity: .5, gridOpacity: .13 });
  Object.assign(config, { background: null, text: { color: ink }, aria: false });

  function start() {
    if (window.vegaEmbed) return;
    const script = document.createElement("script");
    script.textContent = document.getElementById("drawing").textContent;
    document.head.append(script);
  }

  function specification(figure) {
    const spec = JSON.parse(figure.querySelector("script").textContent);
    const room = figure.parentElement.clientWidth;
    // A single view shrinks to a narrow window; several views beside each other are scrolled.
    if (typeof spec.width === "number" && spec.width + 90 > room) {
      spec.width = room;
      spec.autosize = { type: "fit-x", contains: "padding" };
      figure.dataset.fitted = room;
    }
    return spec;
  }

  async function draw(figure) {
    if (figure.dataset.drawn) return;
    figure.dataset.drawn = "begun";
    start();
    const place = figure.querySelector(".drawn");
    await vegaEmbed(place, specification(figure), { actions: false, renderer: "svg", config, tooltip: tip });
    place.style.minHeight = "";
    // The description of the whole stands for its hundreds of marks.
    place.querySelector("svg").setAttribute("aria-hidden", "true");
    place.classList.remove("vega-embed");
    figure.dataset.drawn = "done";
  }

  const near = new IntersectionObserver(
    (seen) => seen.filter((s) => s.isIntersecting).forEach((s) => draw(s.target)), { rootMargin: "400px" });
  figures.forEach((figure) => near.observe(figure));

  const idle = window.requestIdleCallback || ((work) => setTimeout(work, 50));
  function drawNext() {
    const waiting = figures.find((figure) => !figure.dataset.drawn);
    if (waiting) draw(waiting).finally(() => idle(drawNext));
  }
  addEventListener("load", () => setTimeout(() => idle(drawNext), 500));
  addEventListener("beforeprint", () => figures.forEach(draw));

  let resized;
  addEventListener("resize", () => {
    clearTimeout(resized);
    resized = setTimeout(() => {
      for (const figure of figures.filter((f) => f.dataset.fitted && +f.dataset.fitted !== f.parentElement.clientWidth)) {
        delete figure.dataset.drawn;
        delete figure.dataset.fitted;
        draw(figure);
      }
    }, 250);
  });

  // What is under the pointer, as names and values.
  const box = document.createElement("div");
  box.id = "tip";
  box.hidden = true;
  document.body.append(box);
  function tip(handler, event, item, value) {
    box.hidden = value == null;
    if (box.hidden) return;
    const list = document.createElement("dl");
    for (const [name, text] of Object.entries(value)) {
      for (const [tag, content] of [["dt", name], ["dd", text]]) {
        const element = document.createElement(tag);
        element.textContent = content;
        list.append(element);
      }
    }
    box.replaceChildren(list);
    box.style.left = Math.min(event.clientX + 12, innerWidth - box.offsetWidth - 8) + "px";
    box.style.top = Math.min(event.clientY + 12, innerHeight - box.offsetHeight - 8) + "px";
  }
})();
