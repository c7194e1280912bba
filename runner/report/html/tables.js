// Tables: sorted by their headings, filtered by text; a long table shows its other lines on demand.
(() => {
  const FEW = 8;

  for (const holder of document.querySelectorAll(".table")) {
    const table = holder.querySelector("table"), body = table.tBodies[0];
    const template = body.querySelector("template");
    const count = body.rows.length + (template ? template.content.childElementCount : 0);
    if (count < 2) continue;
    const state = { lines: null, headings: [...table.tHead.rows[0].cells], holder, body, template, count };
    state.headings.forEach((heading, column) => addSort(state, heading, column));
    if (count > FEW) addTools(state);
  }

  // All lines in their first order.
  function all(state) {
    if (!state.lines) {
      if (state.template) {
        state.body.append(state.template.content);
        state.template.remove();
        state.holder.querySelector(".more")?.remove();
        state.show?.remove();
      }
      state.lines = [...state.body.rows];
      document.dispatchEvent(new CustomEvent("lines", { detail: state.body }));
    }
    return state.lines;
  }

  function addSort(state, heading, column) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    heading.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const lines = all(state);
      const numeric = lines.some((line) => line.cells[column].dataset.v !== undefined);
      const orders = numeric ? ["descending", "ascending", "none"] : ["ascending", "descending", "none"];
      const order = orders[(orders.indexOf(heading.getAttribute("aria-sort")) + 1) % 3];
      state.headings.forEach((other) => other.setAttribute("aria-sort", "none"));
      heading.setAttribute("aria-sort", order);
      const sorted = order === "none" ? lines : sortedBy(lines, column, numeric, order === "ascending" ? 1 : -1);
      state.body.append(...sorted);
    });
  }

  // Lines without a value come last in either order.
  function sortedBy(lines, column, numeric, sign) {
    const key = (line) => {
      const cell = line.cells[column];
      if (!numeric) return cell.textContent;
      return cell.dataset.v === undefined ? null : +cell.dataset.v;
    };
    const keyed = lines.map((line) => [key(line), line]);
    const compare = numeric ? (a, b) => a - b : new Intl.Collator(undefined, { numeric: true }).compare;
    keyed.sort(([a], [b]) => {
      const missing = (a === null || a === "") - (b === null || b === "");
      return missing || (a === null ? 0 : sign * compare(a, b));
    });
    return keyed.map(([, line]) => line);
  }

  // A word is looked for inside texts, and as the beginning of numbers.
  function matches(line, word) {
    return [...line.cells].some((cell) => {
      const text = cell.textContent.trim().toLowerCase();
      return cell.classList.contains("text") ? text.includes(word) : text.startsWith(word);
    });
  }

  function addTools(state) {
    const tools = document.createElement("div");
    tools.className = "tools";
    const label = document.createElement("label"), input = document.createElement("input");
    input.type = "search";
    label.append("Filter ", input);
    const shown = document.createElement("span");
    shown.setAttribute("role", "status");
    shown.textContent = `${state.count} lines`;
    tools.append(label, shown);
    if (state.template) {
      state.show = document.createElement("button");
      state.show.type = "button";
      state.show.className = "action";
      state.show.textContent = `Show all ${state.count} lines`;
      state.show.addEventListener("click", () => { input.focus(); all(state); });
      tools.append(state.show);
    }
    let waiting;
    input.addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(() => {
        const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
        let matching = 0;
        for (const line of all(state)) {
          line.hidden = !words.every((word) => matches(line, word));
          matching += !line.hidden;
        }
        shown.textContent = words.length ? `${matching} of ${state.count} lines` : `${state.count} lines`;
      }, state.count > 500 ? 200 : 0);
    });
    state.holder.prepend(tools);
  }
})();
