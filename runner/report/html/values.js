// Numbers: each opens the rows of results that it rests on. Within a table the arrow keys lead from number to number.
(() => {
  let data;
  const dialog = document.createElement("dialog");
  dialog.id = "rows-dialog";
  dialog.setAttribute("aria-labelledby", "rows-title");
  document.body.append(dialog);
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });

  const buttons = (body) => [...body.querySelectorAll("td button")];
  const visible = (body) => buttons(body).filter((button) => !button.closest("tr").hidden);
  // One number of each table is in the order of the tab key.
  function enter(body) {
    const own = buttons(body);
    own.forEach((button) => { button.tabIndex = -1; });
    if (own.length) own[0].tabIndex = 0;
  }
  document.querySelectorAll(".table tbody").forEach(enter);
  document.addEventListener("lines", (event) => enter(event.detail));

  document.addEventListener("keydown", (event) => {
    const from = event.target.closest?.("td button");
    const step = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[event.key];
    if (!from || !step || !from.dataset.s) return;
    event.preventDefault();
    const to = step[0] ? vertical(from, step[0]) : horizontal(from, step[1]);
    if (!to) return;
    buttons(from.closest("tbody")).forEach((button) => { button.tabIndex = -1; });
    to.tabIndex = 0;
    to.focus();
  });
  function horizontal(from, step) {
    const own = visible(from.closest("tbody"));
    return own[own.indexOf(from) + step];
  }
  function vertical(from, step) {
    const column = from.closest("td").cellIndex;
    const sibling = step > 0 ? "nextElementSibling" : "previousElementSibling";
    let line = from.closest("tr")[sibling];
    while (line && (line.hidden || !line.cells?.[column]?.querySelector("button"))) line = line[sibling];
    return line?.cells[column].querySelector("button");
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("td button");
    if (button?.dataset.s) show(button);
  });

  function element(tag, text, attributes = {}) {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  }

  function indexes(ranges) {
    return ranges.split(",").flatMap((range) => {
      const [first, last = first] = range.split("-").map(Number);
      return Array.from({ length: last - first + 1 }, (_, i) => first + i);
    });
  }

  function show(button) {
    data ??= JSON.parse(document.getElementById("rows").textContent);
    const rows = indexes(data.sets[+button.dataset.s]), metric = +button.dataset.m;
    const table = button.closest("table"), heading = table.tHead.rows[0].cells[button.closest("td").cellIndex];
    const where = [...new Set(rows.map((row) => data.outputs[data.output[row] ?? 0]))];
    const close = element("button", "Close", { type: "button", class: "action close" });
    close.addEventListener("click", () => dialog.close());
    dialog.replaceChildren(
      close,
      element("h2", `${heading.textContent}: ${button.textContent}`, { id: "rows-title" }),
      element("p", `${rows.length === 1 ? "It is one row" : `It rests on ${rows.length} rows`} of `
        + `${where.map((out) => `${out}/results/*.parquet`).join(" and ")}, by fingerprint`
        + `${data.metrics[metric].includes("/") ? "; the values are in metrics/*.parquet beside it" : ""}.`),
      tableOf(rows, metric),
    );
    dialog.showModal();
  }

  function tableOf(rows, metric) {
    const wide = element("div", undefined, { class: "wide", tabindex: "0", role: "region", "aria-label": "Rows" });
    const table = element("table"), head = table.createTHead().insertRow(), body = table.createTBody();
    const columns = ["fingerprint", "category", "trained on", "support", "seed", data.metrics[metric]];
    columns.forEach((name, i) => head.append(element("th", name, { scope: "col", class: i < 4 ? "text" : "" })));
    const MOST = 500;
    for (const row of rows.slice(0, MOST)) {
      const line = body.insertRow();
      const fingerprint = data.fingerprints.slice(12 * row, 12 * row + 12).trim();
      const texts = [fingerprint, data.texts[data.category[row]], data.texts[data.arm[row]],
        data.texts[data.support[row]], data.seed[row], data.values[metric][row]];
      texts.forEach((text, i) => line.append(element("td", text ?? "–", { class: i < 4 ? "text" : "" })));
    }
    wide.append(table);
    if (rows.length > MOST) wide.append(element("p", `and ${rows.length - MOST} more`));
    return wide;
  }
})();
